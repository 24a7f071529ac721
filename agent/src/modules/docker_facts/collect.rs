//! Gathers the facts and lays them out.

use super::config::{ConfigFile, read_config};
use super::container::Container;
use super::engine::{Engine, OLDEST};
use super::findings::Findings;
use super::host;
use super::module::Params;
use super::mounts::Mounts;
use super::needs;
use super::paths::{DAEMON_JSON, DATA_ROOT, SNAP, SUBGID, SUBUID, UNIT, text_if_exists};
use super::query::{Docker, Silence};
use super::subid::{Choice, Owner, SubidFile, SubidProblem, Wish, choose};
use super::unit::{Flag, argv_of_show, argv_of_unit, conflicts, environment_file, flags};
use super::version;
use super::volumes::Volume;
use super::{named, store};
use crate::accounts;
use crate::modules::programs::find_program;
use crate::modules::{Context, ModuleError};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the service manager and `dockerd --help` may take.
const HOST_TIMEOUT: Duration = Duration::from_secs(10);

/// Kernels from here on have user namespaces for everything that a container needs.
const OLDEST_KERNEL: (u64, u64, u64) = (3, 8, 0);

/// What writes, applies and verifies a rule for labels.
const SELINUX_TOOLS: [&str; 3] = ["matchpathcon", "restorecon", "semanage"];

/// Where units are looked for when the service manager does not answer, the first wins.
const UNIT_DIRECTORIES: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// What the engine said.
pub(super) struct Answers {
    pub(super) engine: Engine,
    pub(super) containers: Vec<Container>,
    pub(super) volumes: Vec<Volume>,
}

/// The engine's unit.
#[derive(Debug, Default)]
pub(super) struct Unit {
    exists: bool,
    active: String,
    enabled: String,
    command: Vec<String>,
}

/// Gathers everything.
///
/// # Errors
/// [`ModuleError`] for what is no fact about Docker: a file that cannot be read, a name service that fails, a
/// cancellation.
pub(super) fn collect(cx: &Context, params: &Params) -> Result<Value, ModuleError> {
    let cli = find_program(cx, "docker");
    let answers = match &cli {
        Some(program) => ask(&Docker::new(cx, program.clone(), params.timeout()))?,
        None => Err(Silence { problem: "no docker command is installed".to_owned(), timed_out: false }),
    };
    let unit = read_unit(cx)?;
    let flags = flags(&unit.command);
    let config = read_config(&config_path(&flags))?;
    let dockerd = find_program(cx, "dockerd");
    let ids = Ids::read(cx, params, answers.as_ref().ok().map(|answers| &answers.engine))?;

    let mut facts = json!({
        "available": answers.is_ok(),
        "problem": answers.as_ref().err().map(|silence| &silence.problem),
        "timed_out": answers.as_ref().err().is_some_and(|silence| silence.timed_out),
        "installed": cli.is_some(),
        "cli": cli,
        "dockerd": {"path": dockerd, "validates": dockerd_validates(cx, dockerd.as_deref())?},
        "snap": Path::new(SNAP).exists() && cli.as_deref().is_some_and(|path| path.starts_with("/snap")),
    });
    let data_root = data_root_path(answers.as_ref().ok().map(|answers| &answers.engine), &config, &flags);
    merge(&mut facts, engine_facts(answers.as_ref().ok().map(|answers| &answers.engine)));
    merge(
        &mut facts,
        findings(cx, params, answers.as_ref().ok(), &Host { config: &config, flags: &flags, ids: &ids })?,
    );
    merge(&mut facts, ids.to_json(&data_root, answers.as_ref().ok().map(|answers| &answers.engine)));
    merge(&mut facts, host_facts(cx, &data_root, &config.path));
    let both: Vec<_> = config.settings.as_ref().map(|settings| conflicts(&flags, settings)).unwrap_or_default();
    merge(
        &mut facts,
        json!({
            "userns_remap": remap_facts(&config, &flags, &ids),
            "daemon_json": config.to_json(),
            "unit": {
                "name": UNIT, "exists": unit.exists, "active": unit.active == "active", "enabled": unit.enabled,
                "command": unit.command,
                "flags": flags.iter().map(|flag|
                    json!({"flag": flag.flag, "directive": flag.directive, "value": flag.value})).collect::<Vec<_>>(),
                "conflicts": both.iter().map(|flag| &flag.directive).collect::<Vec<_>>(),
            },
        }),
    );
    Ok(facts)
}

/// The flags of the engine's unit.
///
/// # Errors
/// A cancellation.
pub(in crate::modules) fn unit_flags(cx: &Context) -> Result<Vec<Flag>, ModuleError> {
    Ok(flags(&read_unit(cx)?.command))
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

/// What the host says without its engine.
struct Host<'a> {
    config: &'a ConfigFile,
    flags: &'a [Flag],
    ids: &'a Ids,
}

/// Everything that a remap means for containers, volumes and the host.
fn findings(cx: &Context, params: &Params, answers: Option<&Answers>, host: &Host<'_>) -> Result<Value, ModuleError> {
    let Some(answers) = answers else { return Ok(Findings::none(params.scan)) };
    let (mounts, engine) = (Mounts::read(), &answers.engine);
    let root = Path::new(engine.data_root());
    let mut findings = Findings::of(answers, &mounts);
    let store = store::judge(engine, host.config, host.flags);
    findings.add_host(store.caveats);
    let named = named::look(Path::new("/"), &[root, Path::new(DATA_ROOT)]);
    findings.add_named(&named, host.ids.choice.as_ref().ok().map(|choice| choice.start), root);
    let mut scan = Value::Null;
    if params.scan {
        let needs = match &host.ids.choice {
            _ if engine.userns() => needs::nothing("the engine is remapped already"),
            Err(problem) => needs::nothing(&problem.to_string()),
            Ok(choice) => {
                let (host, shared) = findings.decided();
                let root = needs::Root { path: root, range: (choice.start, choice.count), host, shared };
                let needs = needs::look(cx, root, &mounts)?;
                findings.add_host(needs.caveats);
                needs.facts
            }
        };
        scan = needs;
    }
    let mut facts = findings.to_json(answers);
    let named: Vec<Value> = named.iter().map(named::Named::to_json).collect();
    merge(&mut facts, json!({"named_in": named, "pin_store": store.pin, "scan": scan}));
    Ok(facts)
}

fn ask(docker: &Docker<'_>) -> Result<Result<Answers, Silence>, ModuleError> {
    let engine = match docker.engine()? {
        Ok(engine) => engine,
        Err(silence) => return Ok(Err(silence)),
    };
    let containers = match docker.containers()? {
        Ok(containers) => containers,
        Err(silence) => return Ok(Err(silence)),
    };
    Ok(docker.volumes()?.map(|volumes| Answers { engine, containers, volumes }))
}

fn engine_facts(engine: Option<&Engine>) -> Value {
    let none = Engine::default();
    let known = engine.is_some();
    let engine = engine.unwrap_or(&none);
    let some = |text: &str| known.then(|| text.to_owned());
    json!({
        "rootless": engine.rootless(),
        "version": some(&engine.version),
        "version_supported": version::parse(&engine.version).is_some_and(|version| version >= OLDEST),
        "id": some(&engine.id),
        "driver": some(&engine.driver),
        "driver_status": engine.driver_status.iter().cloned().collect::<BTreeMap<_, _>>(),
        "image_store": some(engine.image_store()),
        "security_options": engine.security_options,
        "userns": engine.userns(),
        "root_dir": some(&engine.root_dir),
        "live_restore": engine.live_restore,
        "swarm": some(&engine.swarm),
        "swarm_manager": engine.swarm_manager,
        "swarm_node": some(&engine.swarm_node),
        "default_runtime": some(&engine.default_runtime),
        "runtimes": engine.runtimes,
        "cgroup_version": some(&engine.cgroup_version),
        "volume_plugins": engine.volume_plugins,
    })
}

fn host_facts(cx: &Context, data_root: &Path, config: &Path) -> Value {
    let kernel = host::kernel();
    let userns = host::try_user_namespace(cx);
    let (free_mb, free_inodes) = host::room(data_root);
    let (config_free_mb, config_free_inodes) = host::room(config.parent().unwrap_or(config));
    json!({
        "data_root": host::data_root(cx, data_root),
        "free_mb": free_mb,
        "free_inodes": free_inodes,
        "config_free_mb": config_free_mb,
        "config_free_inodes": config_free_inodes,
        "kernel_supported": version::parse(&kernel).is_some_and(|version| version >= OLDEST_KERNEL),
        "kernel": kernel,
        "max_user_namespaces": host::max_user_namespaces(),
        "userns_usable": userns.is_ok(),
        "userns_problem": userns.err(),
        "selinux": host::selinux(),
        "selinux_tools": SELINUX_TOOLS.iter().all(|tool| find_program(cx, tool).is_some()),
    })
}

/// What the ids are, and which range is chosen.
struct Ids {
    user_name: String,
    user: Option<accounts::User>,
    group: Option<accounts::Group>,
    subuid: Option<SubidFile>,
    subgid: Option<SubidFile>,
    choice: Result<Choice, SubidProblem>,
}

impl Ids {
    fn read(cx: &Context, params: &Params, engine: Option<&Engine>) -> Result<Self, ModuleError> {
        let name = params.userns_remap_user.clone();
        let user = accounts::user(cx, &name)?;
        let group = accounts::group(cx, &name)?;
        let read = |path| text_if_exists(Path::new(path)).map(|text| text.as_deref().map(SubidFile::parse));
        let (subuid, subgid) = (read(SUBUID)?, read(SUBGID)?);
        let none = SubidFile::default();
        let wish = Wish {
            owner: Owner { name: &name, uid: user.as_ref().map(|user| user.uid) },
            count: params.subid_count,
            start: params.subid_start,
            in_use: engine.and_then(Engine::map),
        };
        let ids = accounts::ids(cx)?;
        let choice = choose(&wish, subuid.as_ref().unwrap_or(&none), subgid.as_ref().unwrap_or(&none), &ids);
        Ok(Self { user_name: name, user, group, subuid, subgid, choice })
    }

    fn to_json(&self, data_root: &Path, engine: Option<&Engine>) -> Value {
        let remapped_root = self.choice.as_ref().ok().map(|choice| data_root.join(format!("{0}.{0}", choice.start)));
        let as_wanted = engine.is_some_and(|engine| {
            engine.userns() && remapped_root.as_deref().is_some_and(|root| root == Path::new(&engine.root_dir))
        });
        let choice = self.choice.as_ref();
        json!({
            "remapped_root": remapped_root,
            "remapped_as_wanted": as_wanted,
            "user": {
                "name": self.user_name, "exists": self.user.is_some(),
                "uid": self.user.as_ref().map(|user| user.uid), "gid": self.user.as_ref().map(|user| user.gid),
                "home": self.user.as_ref().map(|user| &user.home), "shell": self.user.as_ref().map(|user| &user.shell),
            },
            "group": {
                "name": self.user_name, "exists": self.group.is_some(),
                "gid": self.group.as_ref().map(|group| group.gid),
            },
            "subid": {
                "user": self.user_name,
                "start": choice.ok().map(|choice| choice.start),
                "count": choice.ok().map(|choice| choice.count),
                "why": choice.ok().map(|choice| choice.why.as_str()),
                "problem": choice.err().map(SubidProblem::to_string),
                "overlaps": choice.ok().map(|choice| choice.overlaps.clone()).unwrap_or_default(),
            },
            "subuid": self.file_facts(SUBUID, self.subuid.as_ref()),
            "subgid": self.file_facts(SUBGID, self.subgid.as_ref()),
        })
    }

    fn file_facts(&self, path: &str, file: Option<&SubidFile>) -> Value {
        let none = SubidFile::default();
        let exists = file.is_some();
        let file = file.unwrap_or(&none);
        let owner = Owner { name: &self.user_name, uid: self.user.as_ref().map(|user| user.uid) };
        let merged = match &self.choice {
            Ok(choice) => file.merged(&owner, choice),
            Err(_) => file.text.clone(),
        };
        json!({
            "path": path,
            "exists": exists,
            "text": file.text,
            "lines": file.lines.iter().map(|line|
                json!({"owner": line.owner, "start": line.start, "count": line.count})).collect::<Vec<_>>(),
            "malformed": file.malformed.iter().map(|(number, text)|
                json!({"line": number, "text": text})).collect::<Vec<_>>(),
            "changed": merged != file.text,
            "merged": merged,
        })
    }
}

/// What the engine is told to remap to, and whether that is the user asked about; `default` is moby's word for dockremap.
fn remap_facts(config: &ConfigFile, flags: &[Flag], ids: &Ids) -> Value {
    let flag = flags.iter().find(|flag| flag.directive == "userns-remap").and_then(|flag| flag.value.as_deref());
    let value = flag.or_else(|| config.string("userns-remap")).filter(|value| !value.is_empty());
    let user = value.and_then(|value| value.split(':').next()).unwrap_or_default();
    let user = if user == "default" { "dockremap" } else { user };
    let by_id = ids.user.as_ref().is_some_and(|known| known.uid.to_string() == user);
    json!({
        "value": value,
        "source": value.map(|_| if flag.is_some() { "flag" } else { "file" }),
        "is_user": by_id || (value.is_some() && user == ids.user_name),
    })
}

fn config_path(flags: &[Flag]) -> PathBuf {
    let given = flags.iter().rev().find(|flag| flag.directive == "config-file").and_then(|flag| flag.value.as_ref());
    PathBuf::from(given.map_or(DAEMON_JSON, String::as_str))
}

fn data_root_path(engine: Option<&Engine>, config: &ConfigFile, flags: &[Flag]) -> PathBuf {
    if let Some(engine) = engine {
        return PathBuf::from(engine.data_root());
    }
    let flag = flags.iter().find(|flag| flag.directive == "data-root").and_then(|flag| flag.value.as_deref());
    PathBuf::from(flag.or_else(|| config.string("data-root")).or_else(|| config.string("graph")).unwrap_or(DATA_ROOT))
}

/// Whether a daemon program knows `--validate`.
///
/// # Errors
/// It cannot be run, or the request is cancelled.
pub(in crate::modules) fn dockerd_validates(cx: &Context, dockerd: Option<&Path>) -> Result<bool, ModuleError> {
    let Some(dockerd) = dockerd else { return Ok(false) };
    let help = cx.process([dockerd.as_os_str(), "--help".as_ref()]).timeout(HOST_TIMEOUT).run()?;
    Ok(help.stdout_text().lines().any(|line| line.split_whitespace().any(|word| word == "--validate")))
}

/// Asks the service manager; where it does not answer, reads the unit's files.
fn read_unit(cx: &Context) -> Result<Unit, ModuleError> {
    let properties = "--property=LoadState,ActiveState,UnitFileState,ExecStart,Environment,EnvironmentFiles";
    let shown = match cx.process(["systemctl", "show", properties, UNIT]).timeout(HOST_TIMEOUT).run() {
        Ok(finished) if finished.success() => finished.stdout_text(),
        Ok(_) => String::new(),
        Err(error) if cx.control.ended().is_some() => return Err(error.into()),
        Err(_) => String::new(),
    };
    let values = |name: &str| -> Vec<String> {
        shown.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned).collect()
    };
    let first = |name: &str| values(name).into_iter().next().unwrap_or_default();
    if first("LoadState").is_empty() {
        return Ok(unit_from_files());
    }
    let mut environment = environment_file(&first("Environment").replace(' ', "\n").replace('"', ""));
    for file in values("EnvironmentFiles") {
        let path = file.split(" (").next().unwrap_or_default();
        environment.extend(environment_file(&fs_err::read_to_string(path).unwrap_or_default()));
    }
    Ok(Unit {
        exists: first("LoadState") == "loaded",
        active: first("ActiveState"),
        enabled: first("UnitFileState"),
        command: argv_of_show(values("ExecStart").last().map_or("", String::as_str), &environment),
    })
}

fn unit_from_files() -> Unit {
    let mut text = String::new();
    for directory in UNIT_DIRECTORIES {
        if let Ok(unit) = fs_err::read_to_string(Path::new(directory).join(UNIT)) {
            text = unit;
            break;
        }
    }
    let exists = !text.is_empty();
    for directory in UNIT_DIRECTORIES.iter().rev() {
        let Ok(entries) = fs_err::read_dir(Path::new(directory).join(format!("{UNIT}.d"))) else { continue };
        let mut files: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "conf")) {
            text.push('\n');
            text.push_str(&fs_err::read_to_string(file).unwrap_or_default());
        }
    }
    Unit { exists, command: argv_of_unit(&text, &BTreeMap::new()), ..Unit::default() }
}

//! The validator `docker_daemon_json` of `copy` and `template`: whether the engine would start with these settings. Asked
//! before the file is put in place.

use super::docker_facts::{
    Flag, Owner, SUBGID, SUBUID, SubidFile, UNIT, conflicts, dockerd_validates, text_if_exists, unit_flags,
};
use super::programs::find_program;
use super::{Context, ModuleError};
use crate::accounts;
use crate::json::parse_strict;
use crate::protocol::Mode;
use serde_json::{Map, Value};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long `dockerd --validate` may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Storage drivers whose data can live under a remap.
const REMAPPABLE: [&str; 2] = ["overlay2", "vfs"];

/// What dockerd takes the value `default` for.
const DEFAULT_USER: &str = "dockremap";

/// Says whether the engine would start with `bytes` as its settings; `dest` is where they are to go. In check mode, where
/// the user and its ranges may not be there yet, only the text itself and the unit's flags are judged.
///
/// # Errors
/// [`ModuleError::Failed`] with what is wrong and where.
pub(super) fn validate(cx: &Context, bytes: &[u8], dest: &Path) -> Result<(), ModuleError> {
    let fail = |what: String| ModuleError::failed(format!("{}: {what}", dest.display()));
    let settings = parse(bytes).map_err(|what| ModuleError::failed(format!("{}{what}", dest.display())))?;
    let flags = unit_flags(cx)?;
    let both = conflicts(&flags, &settings);
    if let Some(sentence) = conflict_sentence(&both) {
        return Err(fail(sentence));
    }
    let Some(remap) = remap_of(&settings).map_err(fail)? else {
        return dockerd_says(cx, bytes, dest);
    };
    if cx.mode == Mode::Apply {
        resolve(cx, &remap).map_err(|error| match error {
            ModuleError::Failed(what) => fail(what),
            other => other,
        })?;
    }
    dockerd_says(cx, bytes, dest)
}

/// The settings, or `:line:column: what is wrong`.
fn parse(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
        format!(":{line}: the text is no UTF-8")
    })?;
    match parse_strict(text) {
        Ok(Value::Object(settings)) => Ok(settings),
        Ok(_) => Err(":1:1: the settings are no JSON object".to_owned()),
        Err(error) => {
            let said = error.to_string();
            let bare = said.split(" at line ").next().unwrap_or_default();
            Err(format!(":{}:{}: {bare}", error.line(), error.column()))
        }
    }
}

fn conflict_sentence(both: &[&Flag]) -> Option<String> {
    let first = both.first()?;
    let all: Vec<String> = both.iter().map(|flag| format!("{:?} by {}", flag.directive, flag.flag)).collect();
    Some(format!(
        "the command of {UNIT} sets {} as well, and the engine does not start with a directive in both places; \
         take {:?} out of one of them",
        all.join(", "),
        first.directive
    ))
}

/// The value of `userns-remap`, if remapping is on; refuses what cannot work together with it.
fn remap_of(settings: &Map<String, Value>) -> Result<Option<Remap>, String> {
    let driver = match settings.get("storage-driver") {
        None => None,
        Some(Value::String(driver)) => Some(driver.as_str()).filter(|driver| !driver.is_empty()),
        Some(_) => return Err("\"storage-driver\" must be a string".to_owned()),
    };
    let value = match settings.get("userns-remap") {
        None => return Ok(None),
        Some(Value::String(value)) if value.is_empty() => return Ok(None),
        Some(Value::String(value)) => value,
        Some(_) => return Err("\"userns-remap\" must be a string".to_owned()),
    };
    if let Some(driver) = driver.filter(|driver| !REMAPPABLE.contains(driver)) {
        return Err(format!("\"storage-driver\" is {driver:?}; with \"userns-remap\" only overlay2 can be pinned"));
    }
    let snapshotter = settings.get("features").and_then(|features| features.get("containerd-snapshotter"));
    if snapshotter == Some(&Value::Bool(true)) {
        return Err(
            "\"features\" turns containerd-snapshotter on, which \"userns-remap\" cannot be used with".to_owned()
        );
    }
    Remap::parse(value).map(Some)
}

/// Whom `userns-remap` names (moby, `parseRemappedRoot`).
#[derive(Debug, PartialEq, Eq)]
struct Remap {
    user: Named,
    group: Named,
}

/// A name or a number.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Id(u32),
    Name(String),
}

impl Named {
    /// moby takes for a number what fits 32 bits with sign.
    fn parse(text: &str) -> Self {
        match text.parse::<i32>().ok().and_then(|id| u32::try_from(id).ok()) {
            Some(id) => Self::Id(id),
            None => Self::Name(text.to_owned()),
        }
    }
}

impl Remap {
    fn parse(value: &str) -> Result<Self, String> {
        let mut parts = value.split(':');
        let (user, group) = (parts.next().unwrap_or_default(), parts.next());
        if parts.next().is_some() || user.is_empty() || group == Some("") {
            return Err(format!("\"userns-remap\" is {value:?}; expected user, user:group, uid, uid:gid or default"));
        }
        let user = match Named::parse(user) {
            Named::Name(name) if name == "default" => Named::Name(DEFAULT_USER.to_owned()),
            other => other,
        };
        // Without a group it is the one of the same name, or of the same number.
        let group = group.map_or_else(|| user.clone(), Named::parse);
        Ok(Self { user, group })
    }
}

/// Looks user, group and ranges up as dockerd will.
fn resolve(cx: &Context, remap: &Remap) -> Result<(), ModuleError> {
    let found = match &remap.user {
        Named::Id(uid) => accounts::user_by_id(cx, *uid)?,
        Named::Name(name) => accounts::user(cx, name)?,
    };
    let Some(user) = found else {
        return Err(ModuleError::failed(format!(
            "\"userns-remap\" names the {} which does not exist; create it first",
            described("user", &remap.user)
        )));
    };
    if user.uid == 0 {
        return Err(ModuleError::failed("\"userns-remap\" names root, with which the engine turns remapping off"));
    }
    let group = match &remap.group {
        Named::Id(gid) => accounts::group_by_id(cx, *gid)?,
        Named::Name(name) => accounts::group(cx, name)?,
    };
    if group.is_none() {
        return Err(ModuleError::failed(format!(
            "\"userns-remap\" needs the {} which does not exist; create it first",
            described("group", &remap.group)
        )));
    }
    for path in [SUBUID, SUBGID] {
        let text = text_if_exists(Path::new(path))?;
        range_of(path, text.as_deref(), &Owner { name: &user.name, uid: Some(user.uid) })
            .map_err(ModuleError::failed)?;
    }
    Ok(())
}

fn described(what: &str, named: &Named) -> String {
    match named {
        Named::Id(id) => format!("{what} with id {id},"),
        Named::Name(name) => format!("{what} {name},"),
    }
}

/// Whether a file gives the user ids. The group's name plays no part: subgid is looked up by the user as well.
fn range_of(path: &str, text: Option<&str>, owner: &Owner<'_>) -> Result<(), String> {
    let name = owner.name;
    let Some(text) = text else {
        return Err(format!("{path} does not exist, and the engine does not start without it"));
    };
    let file = SubidFile::parse(text);
    if let Some((number, line)) = file.malformed.first() {
        return Err(format!(
            "{path}:{number}: {line:?} is not user:start:count, and engines before 28 do not start with it"
        ));
    }
    let lines: Vec<_> = file.of(owner).collect();
    let by_name = lines.iter().filter(|line| line.owner == name).count();
    if lines.iter().all(|line| line.count == 0) {
        return Err(format!("{path} holds no range for {name}; add the line {name}:START:65536"));
    }
    if by_name > 0 && by_name < lines.len() {
        return Err(format!(
            "{path} holds ranges for {name} both by name and by uid, which engines before and after 28 read differently; keep one line, by name"
        ));
    }
    Ok(())
}

/// Asks the engine's program itself, where it can be asked: 20.10 cannot. Not in check mode: from 26.0 on, the question
/// alone creates the user that `default` means.
fn dockerd_says(cx: &Context, bytes: &[u8], dest: &Path) -> Result<(), ModuleError> {
    let Some(dockerd) = find_program(cx, "dockerd").filter(|_| cx.mode == Mode::Apply) else { return Ok(()) };
    if !dockerd_validates(cx, Some(&dockerd))? {
        return Ok(());
    }
    let candidate = Candidate::write(&cx.state_dir, bytes)?;
    let argv = [dockerd.as_os_str(), "--validate".as_ref(), "--config-file".as_ref(), candidate.0.as_os_str()];
    let finished = cx.process(argv).timeout(TIMEOUT).run()?;
    if finished.success() {
        return Ok(());
    }
    let said = finished.stderr_text().replace(&*candidate.0.to_string_lossy(), &dest.to_string_lossy());
    Err(ModuleError::failed(format!("{}: dockerd --validate refuses it: {}", dest.display(), said.trim())))
}

/// The settings in a file of their own, readable by nobody else, gone when dropped.
struct Candidate(PathBuf);

impl Candidate {
    fn write(directory: &Path, bytes: &[u8]) -> Result<Self, ModuleError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| ModuleError::failed(format!("no random bytes: {error}")))?;
        let path = directory.join(format!("daemon-{:016x}.json", u64::from_ne_bytes(random)));
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create_new(true);
        fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path)?;
        let candidate = Self(path);
        file.write_all(bytes)?;
        Ok(candidate)
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        // Nothing depends on its going: it lies in our own directory and holds what is put in place anyway.
        let _gone = fs_err::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn remap(settings: Value) -> Result<Option<Remap>, String> {
        remap_of(settings.as_object().unwrap())
    }

    fn name(text: &str) -> Named {
        Named::Name(text.to_owned())
    }

    #[test]
    fn the_value_is_read_as_moby_reads_it() {
        let parsed = |value: &str| Remap::parse(value);
        assert_eq!(parsed("default"), Ok(Remap { user: name("dockremap"), group: name("dockremap") }));
        assert_eq!(parsed("1000"), Ok(Remap { user: Named::Id(1000), group: Named::Id(1000) }));
        assert_eq!(parsed("a:5"), Ok(Remap { user: name("a"), group: Named::Id(5) }));
        assert_eq!(parsed("4294967295"), Ok(Remap { user: name("4294967295"), group: name("4294967295") }));
        for bad in ["a:b:c", ":b", "a:", ""] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_work_with_a_remap_is_refused() {
        assert_eq!(
            remap(json!({"storage-driver": "btrfs"})),
            Ok(None),
            "without a remap the driver is not our business"
        );
        assert_eq!(remap(json!({"userns-remap": ""})), Ok(None));
        assert!(remap(json!({"userns-remap": "u", "storage-driver": "overlay2"})).unwrap().is_some());
        for bad in [
            json!({"userns-remap": "u", "storage-driver": "overlayfs"}),
            json!({"userns-remap": "u", "features": {"containerd-snapshotter": true}}),
            json!({"userns-remap": true}),
            json!({"storage-driver": 1}),
        ] {
            assert!(remap(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn faults_of_the_text_have_line_and_column() {
        assert_eq!(parse(b"{\n  \"a\": 1,\n}").unwrap_err(), ":3:1: trailing comma");
        assert_eq!(parse(b"{\n \"a\": 1,\n \"a\": 2}").unwrap_err(), ":3:4: the key \"a\" is given twice");
        assert_eq!(parse(b"[]").unwrap_err(), ":1:1: the settings are no JSON object");
        assert_eq!(parse(b"{\n\"\xff\"}").unwrap_err(), ":2: the text is no UTF-8");
    }

    #[test]
    fn ranges_must_be_there_for_the_user_and_mean_one_thing() {
        let owner = Owner { name: "u", uid: Some(990) };
        assert_eq!(range_of("/f", Some("a:1:2\nu:100000:65536\n"), &owner), Ok(()));
        assert_eq!(range_of("/f", Some("990:100000:65536\n"), &owner), Ok(()));
        for bad in [None, Some(""), Some("a:1:2\n"), Some("u:1:0\n"), Some("u:1:2\n990:5:6\n"), Some("u:1:2\njunk\n")] {
            assert!(range_of("/f", bad, &owner).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn check_mode_judges_the_text_and_apply_mode_the_host_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let dest = Path::new("/etc/docker/daemon.json");
        let settings = br#"{"userns-remap": "no-such-user-here"}"#;
        validate(&Context::new(Mode::Check, dir.path()), settings, dest).unwrap();
        let error = validate(&Context::new(Mode::Apply, dir.path()), settings, dest).unwrap_err().to_string();
        assert_eq!(
            error,
            "/etc/docker/daemon.json: \"userns-remap\" names the user no-such-user-here, which does not exist; create it first"
        );
        let error =
            validate(&Context::new(Mode::Check, dir.path()), b"{\"a\":1,\"a\":2}", dest).unwrap_err().to_string();
        assert!(error.starts_with("/etc/docker/daemon.json:1:"), "{error}");
        validate(&Context::new(Mode::Apply, dir.path()), b"{\"debug\": false}", dest).unwrap();
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    }
}

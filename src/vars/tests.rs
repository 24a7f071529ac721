//! Variables as a run has them: real files in real directories.

use super::*;
use crate::{
    config::{Place, Source},
    host::Connection,
    inventory,
    playbook::{Inherited, LoopControl, Play, Playbook, Template},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

fn template(value: Value) -> Template {
    Template { value, place: None }
}

fn named(variables: &[(&str, Value)]) -> Vec<(String, Template)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), template(value.clone()))).collect()
}

fn play(vars: Vec<(String, Template)>, vars_files: Vec<Vec<(String, Template)>>) -> Arc<Play> {
    let source = Arc::new(Source { path: "site.yml".to_owned(), text: String::new() });
    Arc::new(Play {
        name: "a play".to_owned(),
        place: Place { source, range: 0..0 },
        hosts: template(json!("all")),
        gather_facts: true,
        vars,
        vars_files,
        inherited: Inherited::default(),
        sections: [Vec::new(), Vec::new(), Vec::new()],
        handlers: Vec::new(),
        rollback: Vec::new(),
        serial: Vec::new(),
        max_fail_percentage: None,
        any_errors_fatal: false,
        order: "inventory".to_owned(),
        rollout: None,
    })
}

fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    fs_err::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs_err::write(path, text).expect("written");
}

/// A world of files: an inventory `hosts` in `inv/` and a playbook directory `book/`.
struct Files {
    root: tempfile::TempDir,
}

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        fs_err::create_dir_all(root.path().join("book")).expect("made");
        for (name, text) in files {
            write(root.path(), name, text);
        }
        Self { root }
    }

    fn world(&self, play: &Arc<Play>, extra: Vec<(String, Template)>) -> Arc<World> {
        let source = self.root.path().join("inv/hosts").display().to_string();
        let inventory = inventory::load(&[source]).expect("an inventory");
        let dir = self.root.path().join("book");
        let playbook = Playbook { path: "site.yml".to_owned(), dir, plays: vec![Arc::clone(play)] };
        World::new(&inventory, &playbook, extra, &Options::default()).expect("a world")
    }
}

fn known(scope: &Scope, expression: &str) -> Value {
    scope.expression(expression, None).expect("no error").known().expect("known")
}

const LOOP: &str = "item";

fn control() -> LoopControl {
    LoopControl { loop_var: LOOP.to_owned(), index_var: Some("at".to_owned()), label: None, pause: Duration::ZERO }
}

/// Puts `v`, with the layer's name as its value, into every layer that is asked for.
fn layered(layers: &[Layer]) -> Value {
    let has = |layer: Layer| layers.contains(&layer);
    let line = |layer: Layer| if has(layer) { format!("v: {layer:?}\n") } else { "w: 1\n".to_owned() };
    let ini = |layer: Layer| if has(layer) { format!("v='{layer:?}'") } else { "w=1".to_owned() };
    let hosts = format!(
        "[g]\nh {}\n[all:vars]\n{}\n[g:vars]\n{}\n",
        ini(Layer::InventoryHost),
        ini(Layer::InventoryAll),
        ini(Layer::InventoryGroup)
    );
    let files = Files::new(&[
        ("inv/hosts", &hosts),
        ("inv/group_vars/all.yml", &line(Layer::InventoryGroupVarsAll)),
        ("inv/group_vars/g", &line(Layer::InventoryGroupVars)),
        (
            "inv/host_vars/h.json",
            &if has(Layer::InventoryHostVars) { r#"{"v": "InventoryHostVars"}"#.to_owned() } else { "{}".to_owned() },
        ),
        ("book/group_vars/all/main.yaml", &line(Layer::PlaybookGroupVarsAll)),
        ("book/group_vars/g.yml", &line(Layer::PlaybookGroupVars)),
        ("book/host_vars/h/main.yml", &line(Layer::PlaybookHostVars)),
    ]);
    let one = |layer: Layer| if has(layer) { named(&[("v", json!(format!("{layer:?}")))]) } else { Vec::new() };
    let play = play(one(Layer::Play), vec![one(Layer::VarsFiles)]);
    let world = files.world(&play, one(Layer::Extra));
    if has(Layer::Facts) {
        world.gathered("h", json!({"v": "Facts"}).as_object().expect("a map"));
    }
    if has(Layer::SetFact) {
        world.register("h", "v", &Variable::Data(json!("SetFact")));
    }
    let mut scope = world.scope(&play, "h");
    if has(Layer::Task) {
        scope = scope.add(Layer::Task, VarMap::of_templates(&one(Layer::Task)));
    }
    if has(Layer::Loop) {
        let control = LoopControl { loop_var: "v".to_owned(), ..control() };
        scope = scope.item(&control, json!("Loop"), 0, 1);
    }
    if has(Layer::Local) {
        scope = scope.with("v", Variable::Data(json!("Local")));
    }
    known(&scope, "v | default('none')")
}

/// Every layer that a user can put `v` into.
fn user_layers() -> Vec<Layer> {
    TABLE.iter().map(|(layer, _)| *layer).filter(|layer| *layer != Layer::Magic).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_highest_layer_wins(layers in prop::sample::subsequence(user_layers(), 0..=17)) {
        let expected = layers.iter().max().map_or_else(|| "none".to_owned(), |layer| format!("{layer:?}"));
        prop_assert_eq!(layered(&layers), json!(expected));
    }
}

#[test]
fn each_layer_beats_the_one_below() {
    for pair in user_layers().windows(2) {
        assert_eq!(layered(pair), json!(format!("{:?}", pair[1])));
    }
}

#[test]
fn groups_lie_by_depth_then_priority_then_name() {
    let files = Files::new(&[(
        "inv/hosts",
        "[b]\nh\n[a]\nh\n[parent:children]\na\n[parent:vars]\nv=parent\nonly=parent\n[a:vars]\nv=a\nw=a\n[b:vars]\nv=b\nw=b\n",
    )]);
    let play = play(Vec::new(), Vec::new());
    let world = files.world(&play, Vec::new());
    let scope = world.scope(&play, "h");
    // `a` lies one deeper than `b`.
    assert_eq!(known(&scope, "[v, w, only]"), json!(["a", "a", "parent"]));
}

#[test]
fn magic_variables_tell_the_run() {
    let files = Files::new(&[("inv/hosts", "[web]\nw1.example.org\nw2\n[db]\nd1\n[prod:children]\nweb\ndb\n")]);
    let play = play(Vec::new(), Vec::new());
    let world = files.world(&play, Vec::new());
    let hosts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let batch = Batch {
        all: hosts(&["w1.example.org", "w2", "d1"]),
        active: hosts(&["w1.example.org", "w2"]),
        batch: hosts(&["w2"]),
    };
    world.set_batch(&play, &batch);
    let scope = world.scope(&play, "w1.example.org");
    for (expression, expected) in [
        ("inventory_hostname", json!("w1.example.org")),
        ("inventory_hostname_short", json!("w1")),
        ("group_names", json!(["prod", "web"])),
        ("groups.web", json!(["w1.example.org", "w2"])),
        ("groups['all']", json!(["w1.example.org", "w2", "d1"])),
        ("groups.ungrouped", json!([])),
        ("ansible_play_hosts_all | length", json!(3)),
        ("ansible_play_hosts", json!(["w1.example.org", "w2"])),
        ("ansible_play_batch", json!(["w2"])),
        ("ansible_check_mode", json!(false)),
        ("ansible_play_name", json!("a play")),
        ("hostvars['d1'].group_names", json!(["db", "prod"])),
        ("hostvars['d1']['inventory_hostname']", json!("d1")),
        ("groups['web'] | map('extract', hostvars, 'inventory_hostname_short') | list", json!(["w1", "w2"])),
        ("vars['inventory_hostname']", json!("w1.example.org")),
    ] {
        assert_eq!(known(&scope, expression), expected, "{expression}");
    }
    assert!(known(&scope, "playbook_dir").as_str().expect("a text").ends_with("/book"));
    assert!(known(&scope, "inventory_dir").as_str().expect("a text").ends_with("/inv"));
}

#[test]
fn facts_are_data_and_have_two_names() {
    let files = Files::new(&[("inv/hosts", "h\n")]);
    let play = play(Vec::new(), Vec::new());
    let world = files.world(&play, Vec::new());
    let before = world.scope(&play, "h");
    let facts = json!({"ansible_kernel": "6.1", "ansible_motd": "{{ 1 + 1 }}"});
    world.gathered("h", facts.as_object().expect("a map"));
    let scope = world.scope(&play, "h");
    assert_eq!(known(&scope, "[ansible_kernel, ansible_facts.kernel]"), json!(["6.1", "6.1"]));
    assert_eq!(known(&scope, "ansible_motd"), json!("{{ 1 + 1 }}"));
    // A scope is a snapshot.
    assert_eq!(known(&before, "ansible_kernel is defined"), json!(false));
}

#[test]
fn results_and_facts_replace_each_other() {
    let files = Files::new(&[("inv/hosts", "h\n")]);
    let play = play(Vec::new(), Vec::new());
    let world = files.world(&play, Vec::new());
    world.register("h", "x", &Variable::Unknown { because: "`x` was not run".to_owned() });
    let unknown = world.scope(&play, "h").expression("x.rc", None).expect("no error");
    assert_eq!(unknown, Rendered::Unknown { because: "`x` was not run".to_owned() });
    world.set_facts("h", &BTreeMap::from([("x".to_owned(), Variable::Data(json!("{{ raw }}")))]));
    assert_eq!(known(&world.scope(&play, "h"), "x"), json!("{{ raw }}"));
}

#[test]
fn loops_have_their_variables() {
    let files = Files::new(&[("inv/hosts", "h\n")]);
    let play = play(named(&[("item", json!("outer"))]), Vec::new());
    let world = files.world(&play, named(&[("item", json!("extra"))]));
    let scope = world.scope(&play, "h").item(&control(), json!({"name": "{{ raw }}"}), 1, 3);
    assert_eq!(known(&scope, "item.name"), json!("{{ raw }}"));
    assert_eq!(
        known(&scope, "[at, ansible_loop.first, ansible_loop.last, ansible_loop.revindex]"),
        json!([1, false, false, 2])
    );
}

#[test]
fn origins_name_layer_and_place() {
    let files = Files::new(&[("inv/hosts", "h v=1\n"), ("book/group_vars/all.yml", "w: 2\n")]);
    let play = play(Vec::new(), Vec::new());
    let world = files.world(&play, Vec::new());
    let scope = world.scope(&play, "h");
    let origin = scope.origin("w").expect("there");
    assert_eq!(origin.layer, Layer::PlaybookGroupVarsAll);
    assert!(origin.place.expect("a place").to_string().ends_with("group_vars/all.yml:1:4"));
    let place = scope.origin("v").expect("there").place.expect("a place").to_string();
    assert!(place.ends_with("inv/hosts:1:5"), "{place}");
}

#[test]
fn mistakes_in_files_of_variables_come_together() {
    let files = Files::new(&[
        ("inv/hosts", "h\n"),
        ("inv/group_vars/all.yml", "- a list\n"),
        ("book/host_vars/h.yml", "a: [1\n"),
    ]);
    let source = files.root.path().join("inv/hosts").display().to_string();
    let inventory = inventory::load(&[source]).expect("an inventory");
    let playbook = Playbook { path: "site.yml".to_owned(), dir: files.root.path().join("book"), plays: Vec::new() };
    let problems = World::new(&inventory, &playbook, Vec::new(), &Options::default()).err().expect("mistakes");
    assert_eq!(problems.0.len(), 2, "{problems}");
}

#[test]
fn connection_variables_win_over_the_command_line() {
    let files = Files::new(&[(
        "inv/hosts",
        "a ansible_host='10.0.0.{{ n }}' n=7 ansible_port=2222 ansible_user=ops rollgate_state_dir=/x/{{inventory_hostname}}\n\
             b:22 ansible_ssh_common_args='-o UserKnownHostsFile=/k -J bastion' ansible_python_interpreter=/usr/bin/python3\n\
             c ansible_connection=local ansible_become=yes ansible_become_user=app\n\
             d ansible_port=none\ne ansible_password=x\n",
    )]);
    let play = play(Vec::new(), Vec::new());
    let world = files.world(&play, Vec::new());
    let defaults = ConnectionDefaults { user: Some("root".to_owned()), ..ConnectionDefaults::default() };
    let of = |host: &str| target(&world.scope(&play, host), &defaults);
    let a = of("a").expect("a target");
    assert_eq!((a.address.as_str(), a.port, a.user.as_deref()), ("10.0.0.7", Some(2222), Some("ops")));
    assert_eq!(a.state_dir.as_deref(), Some("/x/a"));
    let b = of("b").expect("a target");
    assert_eq!((b.port, b.user.as_deref()), (Some(22), Some("root")));
    assert_eq!(b.ssh_options.get("userknownhostsfile").map(String::as_str), Some("/k"));
    assert_eq!(b.ssh_options.get("proxyjump").map(String::as_str), Some("bastion"));
    assert_eq!(of("c").expect("a target").connection, Connection::Local);
    let r#become = become_variables(&world.scope(&play, "c")).expect("no error");
    assert_eq!(r#become, BecomeVariables { on: Some(true), user: Some("app".to_owned()) });
    assert_eq!(of("localhost").expect("a target").connection, Connection::Local);
    let error = of("d").expect_err("no port");
    assert!(error.place.expect("a place").to_string().ends_with("hosts:4:16"), "{}", error.message);
    assert!(of("e").is_err());
}

#[test]
fn lookups_read_the_controller() {
    let files = Files::new(&[
        ("inv/hosts", "h n=3\n"),
        ("book/files/motd", "  hello {{ n }}\n\n"),
        ("book/files/b.conf", "b"),
        ("book/files/a.conf", "a"),
        ("book/templates/t.j2", "n={{ n }}\n"),
    ]);
    let play = play(named(&[("text", json!("{{ lookup('file', 'motd') }}"))]), Vec::new());
    let world = files.world(&play, Vec::new());
    let scope = world.scope(&play, "h");
    for (expression, expected) in [
        ("lookup('file', 'motd')", json!("  hello {{ n }}")),
        ("lookup('file', 'motd', lstrip=true)", json!("hello {{ n }}")),
        ("text", json!("  hello {{ n }}")),
        ("lookup('template', 't.j2')", json!("n=3\n")),
        ("lookup('env', 'ROLLGATE_NO_SUCH_VARIABLE', default='d')", json!("d")),
        ("lookup('pipe', 'cat files/a.conf; pwd >/dev/null')", json!("a")),
        ("lookup('lines', 'printf \"x\\\\ny\"', wantlist=true)", json!(["x", "y"])),
        ("query('fileglob', '*.conf') | map('basename') | list", json!(["a.conf", "b.conf"])),
        ("lookup('first_found', ['zzz', 'b.conf']) | basename", json!("b.conf")),
        ("lookup('file', 'zzz', errors='ignore') is none", json!(true)),
        ("lookup('ansible.builtin.vars', 'n')", json!(3)),
    ] {
        assert_eq!(known(&scope, expression), expected, "{expression}");
    }
    for wrong in ["lookup('file', 'zzz')", "lookup('fil', 'motd')", "lookup('pipe', 'exit 3')", "lookup('vars', 'zzz')"]
    {
        assert!(scope.expression(wrong, None).is_err(), "{wrong}");
    }
}

/// The runbook's templates on a host of which docker_facts has found this.
fn rendered(docker: serde_json::Value, name: &str, more: &[(&str, serde_json::Value)]) -> String {
    let files = Files::new(&[("inv/hosts", "h\n")]);
    let play = play(Vec::new(), Vec::new());
    let world = files.world(&play, Vec::new());
    let site = [("userns_remap_user", json!("dockremap")), ("pin_storage_driver", json!("overlay2"))];
    let facts: BTreeMap<String, Variable> = [("engine", json!({"docker": docker}))]
        .into_iter()
        .chain(site)
        .chain(more.iter().cloned())
        .map(|(name, value)| (name.to_owned(), Variable::Data(value)))
        .collect();
    world.set_facts("h", &facts);
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let text = world.scope(&play, "h").template_file(&templates.join(name)).expect("renders");
    text.known().expect("known").clone()
}

fn found() -> serde_json::Value {
    json!({
        "userns_remap": {"value": "", "is_user": false},
        "remapped_as_wanted": false, "userns": false, "pin_store": false, "live_restore": false,
        "daemon_json": {"parsed": {"z": 1, "log-opts": {"b": "1", "a": "2"}, "a": [1.5]}, "indent": 2},
        "subuid": {"merged": "app:100000:65536\ndockremap:165536:65536\n"},
    })
}

#[test]
fn the_runbooks_templates_keep_what_they_find() {
    let expected = "{\n  \"z\": 1,\n  \"log-opts\": {\n    \"b\": \"1\",\n    \"a\": \"2\"\n  },\n  \"a\": [\n    1.5\n  ],\n  \"userns-remap\": \"dockremap\",\n  \"storage-driver\": \"overlay2\"\n}\n";
    assert_eq!(rendered(found(), "daemon.json.j2", &[]), expected);
    assert_eq!(rendered(found(), "subuid.j2", &[]), "app:100000:65536\ndockremap:165536:65536\n");
}

#[test]
fn the_runbook_pins_the_store_and_gives_live_restore_back_in_the_end() {
    let settings = |docker: &serde_json::Value, name: &str, more: &[(&str, serde_json::Value)]| {
        serde_json::from_str::<serde_json::Value>(&rendered(docker.clone(), name, more)).expect("JSON")
    };
    let mut docker = found();
    docker["pin_store"] = json!(true);
    docker["live_restore"] = json!(true);
    docker["daemon_json"]["parsed"] = json!({"live-restore": true, "features": {"buildkit": true}});
    let off = settings(&docker, "live-restore.json.j2", &[]);
    assert_eq!(off, json!({"live-restore": false, "features": {"buildkit": true}}));
    let remapped = settings(&docker, "daemon.json.j2", &[]);
    assert_eq!(remapped["features"], json!({"buildkit": true, "containerd-snapshotter": false}));
    assert_eq!((&remapped["live-restore"], &remapped["userns-remap"]), (&json!(false), &json!("dockremap")));
    let back = settings(&docker, "daemon.json.j2", &[("live_restore_back", json!(true))]);
    assert_eq!((&back["live-restore"], &back["userns-remap"]), (&json!(true), &json!("dockremap")));
    // A second run finds it remapped, and leaves live-restore alone.
    docker["userns"] = json!(true);
    assert_eq!(settings(&docker, "daemon.json.j2", &[])["live-restore"], true);
}

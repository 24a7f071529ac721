//! Sources, their mistakes, and the law of patterns.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn loaded(name: &str, text: &str) -> Result<Inventory, crate::config::Diagnostics> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(name);
    fs_err::write(&path, text).expect("written");
    load(&[path.display().to_string()])
}

/// Each mistake as `line:column message`.
fn mistakes(name: &str, text: &str) -> Vec<String> {
    let problems = loaded(name, text).expect_err("mistakes");
    let told = |problem: &crate::config::Diagnostic| {
        let place = problem.place.as_ref().map(ToString::to_string).unwrap_or_default();
        let place: Vec<&str> = place.rsplitn(3, ':').collect();
        format!("{}:{} {}", place[1], place[0], problem.message)
    };
    problems.0.iter().map(told).collect()
}

#[test]
fn all_mistakes_of_an_ini_come_together() {
    let text = "[web]\nweb[3:1]\nok key\nweb1:ssh\na 'open\n[web:child]\n[dbs:vars]\nx=1\n[all:children]\nwebb\n[web:vars]\nnonsense\n";
    assert_eq!(
        mistakes("hosts", text),
        [
            "2:1 the range `[3:1]` ends before it begins",
            "3:4 `key` is no variable",
            "4:1 `ssh` in `web1:ssh` is no port",
            "5:1 the quote ' is not closed",
            "6:2 unknown kind of section `child`",
            "12:1 `nonsense` is no variable",
            "7:2 there is no group `dbs`",
            "10:1 there is no group `webb`",
        ]
    );
    let problems = loaded("hosts", text).expect_err("mistakes");
    assert_eq!(
        problems.0[7].help.as_deref().map(|help| help.contains("`web`")),
        Some(true),
        "{:?}",
        problems.0[7].help
    );
}

#[test]
fn all_mistakes_of_a_yaml_come_together() {
    let text = "web:\n  host:\n    a:\n  vars: [1]\ndb: text\nall:\n  hosts: [a, b]\n  children:\n    x:\n      children:\n        all:\n";
    assert_eq!(
        mistakes("hosts.yml", text),
        [
            "2:3 a group has no `host`",
            "4:9 variables must be a mapping",
            "5:5 group `db` must be a mapping",
            "7:10 hosts must be a mapping of hosts",
            "9:5 group `x` would contain itself",
        ]
    );
}

#[test]
fn sources_that_are_none_are_told() {
    let problems = load(&["/no/such/inventory".to_owned(), "a:b:c,".to_owned()]).expect_err("mistakes");
    assert_eq!(problems.0.len(), 2);
    assert!(problems.0[0].help.as_deref().expect("help").contains("comma"), "{problems}");
    assert!(loaded("x.toml", "").is_err());
    assert!(loaded("x.yml", "plugin: amazon.aws.aws_ec2\n").is_err());
}

#[test]
fn yaml_needs_no_telling_name() {
    for text in [
        "---\nall:\n  hosts:\n    h1:\n",
        "# first\nweb:   # a group\n  hosts:\n    h1: {x: 1}\n",
        "{\"web\": {\"hosts\": {\"h1\": {}}}}",
    ] {
        let inventory = loaded("hosts", text).expect("an inventory");
        assert!(inventory.host("h1").is_some(), "{text}");
    }
    assert!(loaded("hosts", "h1\nh2:2222\n").expect("an inventory").host("h2").is_some());
}

#[test]
fn programs_print_inventories() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("inventory.sh");
    let json = r#"{"web": {"hosts": ["h1", "h2"], "vars": {"n": 1}}, "prod": {"children": ["web"]}, "db": ["d1"], "_meta": {"hostvars": {"h1": {"ansible_host": "10.0.0.1"}}}}"#;
    fs_err::write(&path, format!("#!/bin/sh\n[ \"$1\" = --list ] && echo '{json}'\n")).expect("written");
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let inventory = load(&[path.display().to_string()]).expect("an inventory");
    assert_eq!(inventory.hosts_of("prod"), ["h1", "h2"]);
    assert_eq!(inventory.host("h1").expect("there").vars[0].0, "ansible_host");
    fs_err::write(&path, "#!/bin/sh\nexit 3\n").expect("written");
    let problems = load(&[path.display().to_string()]).expect_err("it failed");
    assert!(problems.0[0].message.contains("exit status: 3"), "{problems}");
}

fn fleet() -> Inventory {
    let text = "[web]\nw1\nw2\nw3\n[db]\nd1\nw3\n[prod:children]\nweb\n[lone]\nx1\n";
    loaded("hosts", text).expect("an inventory")
}

#[test]
fn unknown_names_are_told_with_the_nearest() {
    let inventory = fleet();
    match inventory.select("web:prdo") {
        Err(SelectError::Unknown { pattern, nearest }) => {
            assert_eq!((pattern.as_str(), nearest.as_deref()), ("prdo", Some("prod")));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(inventory.select("~("), Err(SelectError::Malformed { .. })));
    assert!(matches!(inventory.select("web[99999999999999999999]"), Err(SelectError::Malformed { .. })));
}

#[test]
fn limits_come_from_files_too() {
    let inventory = fleet();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("limit");
    fs_err::write(&path, "w2\n\nd1\n").expect("written");
    let hosts = inventory.select("all").expect("hosts");
    let limit = |limit: &str| inventory.limit(&hosts, limit);
    assert_eq!(limit(&format!("@{}", path.display())).expect("hosts"), ["d1", "w2"]);
    assert_eq!(limit("web,!w1").expect("hosts"), ["w3", "w2"]);
    assert!(matches!(limit("@/no/such"), Err(SelectError::File { .. })));
}

#[test]
fn globs_are_those_of_python() {
    for (pattern, name, matches) in [
        ("*", "", true),
        ("a*c", "abbc", true),
        ("a*c", "abb", false),
        ("a?c", "abc", true),
        ("[!a]x", "bx", true),
        ("[!a]x", "ax", false),
        ("[]]", "]", true),
        ("[a-c]*[0-9]", "b-7", true),
        ("[a", "[a", true),
        ("w[1", "w1", false),
        ("**a", "aa", true),
    ] {
        assert_eq!(glob_matches(pattern, name), matches, "{pattern} {name}");
    }
}

/// One part of a pattern and the hosts that it names.
fn part() -> impl Strategy<Value = (&'static str, Vec<&'static str>)> {
    prop_oneof![
        Just(("all", vec!["w1", "w2", "w3", "d1", "x1"])),
        Just(("web", vec!["w1", "w2", "w3"])),
        Just(("prod", vec!["w1", "w2", "w3"])),
        Just(("db", vec!["d1", "w3"])),
        Just(("w2", vec!["w2"])),
        Just(("x*", vec!["x1"])),
        Just(("~[wd]1", vec!["w1", "d1"])),
        Just(("web[0:1]", vec!["w1", "w2"])),
        Just(("db[-1]", vec!["w3"])),
    ]
}

proptest! {
    /// Plain parts unite, then `&` keeps, then `!` removes, whatever the order in which they are written.
    #[test]
    fn patterns_are_an_algebra_of_sets(parts in prop::collection::vec((prop_oneof![Just(""), Just("&"), Just("!")], part()), 1..5)) {
        let pattern: Vec<String> = parts.iter().map(|(sign, (name, _))| format!("{sign}{name}")).collect();
        let of = |wanted: &'static str| parts.iter().filter(move |(sign, _)| *sign == wanted).map(|(_, (_, hosts))| hosts);
        let mut expected: BTreeSet<&str> = of("").flatten().copied().collect();
        if of("").next().is_none() {
            expected = ["w1", "w2", "w3", "d1", "x1"].into_iter().collect();
        }
        for kept in of("&") {
            expected.retain(|host| kept.contains(host));
        }
        for removed in of("!") {
            expected.retain(|host| !removed.contains(host));
        }
        let selected = fleet().select(&pattern.join(",")).expect("hosts");
        prop_assert_eq!(selected.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);
        prop_assert_eq!(selected.len(), selected.iter().collect::<BTreeSet<_>>().len());
    }

    #[test]
    fn no_pattern_panics(pattern in "[a-z0-9\\[\\]:,!&~*.?-]{0,20}") {
        let _selected = fleet().select(&pattern);
    }

    #[test]
    fn no_ini_panics(text in "[a-z0-9\\[\\]:=#'\" \n;.\\\\-]{0,80}") {
        let _inventory = loaded("hosts", &text);
    }
}

//! Whole inventories against what ansible-core 2.19 made of them (`tests/data/inventory.json`): groups and their hosts in
//! order, every host's variables, and what patterns select.

use super::*;
use crate::inventory;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Where rollgate says that a pattern is wrong and Ansible goes on with what is left.
const REFUSED: [&str; 3] = ["nothere", "web:nothere", "!web1,web:&prod"];

fn set(name: &str) -> (inventory::Inventory, Value) {
    let data: Value = serde_json::from_str(include_str!("../../tests/data/inventory.json")).expect("JSON");
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/inventory");
    let expected = data[name].clone();
    let sources: Vec<String> = expected["sources"]
        .as_array()
        .expect("sources")
        .iter()
        .map(|source| source.as_str().expect("a text"))
        .map(|source| if source.contains(',') { source.to_owned() } else { base.join(source).display().to_string() })
        .collect();
    (inventory::load(&sources).expect("an inventory"), expected)
}

/// A host's variables without those that rollgate itself adds.
fn variables(scope: &Scope) -> Value {
    let mut found = Map::new();
    for (name, origin) in scope.origins() {
        if origin.layer < Layer::Extra {
            let value = scope.expression(&format!("vars['{name}']"), None).expect("no error").known().expect("known");
            found.insert(name, value);
        }
    }
    Value::Object(found)
}

#[test]
fn inventories_mean_what_they_mean_to_ansible() {
    for name in ["hosts.ini", "mixed", "both", "inline"] {
        let (inventory, expected) = set(name);
        let groups: Map<String, Value> =
            inventory.groups().map(|group| (group.name.clone(), json!(inventory.hosts_of(&group.name)))).collect();
        assert_eq!(Value::Object(groups), expected["groups"], "{name}: groups");
        let world = World::of_inventory(&inventory).expect("a world");
        for (host, expected_vars) in expected["hosts"].as_object().expect("hosts") {
            let scope = world.host_scope(host).expect("a host");
            assert_eq!(variables(&scope), *expected_vars, "{name}: {host}");
            let written: Map<String, Value> =
                scope.written().into_iter().map(|(name, (value, _))| (name, value)).collect();
            assert_eq!(Value::Object(written), *expected_vars, "{name}: {host}");
            let names = scope.expression("group_names", None).expect("no error").known().expect("known");
            assert_eq!(names, expected["group_names"][host], "{name}: {host}");
        }
    }
}

#[test]
fn patterns_select_what_they_select_for_ansible() {
    for name in ["hosts.ini", "mixed", "both", "inline"] {
        let (inventory, expected) = set(name);
        for (pattern, hosts) in expected["patterns"].as_object().expect("patterns") {
            let selected = inventory.select(pattern);
            if hosts.is_null() || REFUSED.contains(&pattern.as_str()) {
                assert!(selected.is_err(), "{name}: {pattern}: {selected:?}");
            } else {
                assert_eq!(json!(selected.expect("hosts")), *hosts, "{name}: {pattern}");
            }
        }
    }
}

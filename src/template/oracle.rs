//! Expressions and templates against what ansible-core 2.19 made of them (`tests/data/ansible-expressions.json`).

use super::*;
use crate::playbook::Template;
use serde_json::{Value as Json, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

struct Table(BTreeMap<String, Found>);

impl Variables for Table {
    fn find(&self, name: &str) -> Option<Found> {
        self.0.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn directories(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn of_host(&self, _: &str) -> Option<Arc<dyn Variables>> {
        None
    }

    fn hosts(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Where rollgate differs on purpose or by its engine; docs/ansible-differences.md says so. `None`: an error here.
fn differences() -> BTreeMap<&'static str, Option<Json>> {
    BTreeMap::from([
        // The engine groups by names only, has no attributes of Python's numbers, and no `%` for texts.
        ("{{ names | groupby(0) | list | length }}", None),
        ("{{ n.real }}", None),
        ("{{ '%s' % s }}", None),
    ])
}

fn evaluated(variables: &Arc<Table>, kind: &str, text: &str) -> Option<Json> {
    let context = Context::new(Arc::clone(variables) as Arc<dyn Variables>);
    let template = Template { value: json!(text), place: None };
    if kind == "condition" {
        condition(&context, &template).ok().and_then(Rendered::known).map(Json::Bool)
    } else {
        render(&context, &template).ok().and_then(Rendered::known)
    }
}

/// The cases, and the variables that they read.
fn table() -> (Json, Arc<Table>) {
    let text = include_str!("../../tests/data/ansible-expressions.json");
    let data: Json = serde_json::from_str(text).expect("JSON");
    let variables = data["vars"].as_object().expect("variables").iter();
    let table = variables.map(|(name, value)| (name.clone(), Found::Node(Node::new(value, None)))).collect();
    (data, Arc::new(Table(table)))
}

/// Files in `tests/data/files` against what the `template` module of ansible-core 2.19 wrote (`tests/data/files.json`).
#[test]
fn template_files_are_what_ansible_writes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/files");
    let expected: BTreeMap<String, String> =
        serde_json::from_str(include_str!("../../tests/data/files.json")).expect("JSON");
    let (_, table) = table();
    let mut wrong = Vec::new();
    for (name, expected) in expected {
        let context = Context::new(Arc::clone(&table) as Arc<dyn Variables>);
        match render_file(&context, &directory.join(&name), &FileOptions::default()) {
            Ok(text) if text == expected => {}
            other => wrong.push(format!("{name}\n  Ansible: {expected:?}\n  here:    {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn expressions_mean_what_they_mean_to_ansible() {
    let (data, table) = table();
    let mut differences = differences();
    let mut wrong = Vec::new();
    for case in data["cases"].as_array().expect("cases") {
        let (kind, text) = (case["kind"].as_str().expect("a kind"), case["text"].as_str().expect("a text"));
        let expected = differences.remove(text).unwrap_or_else(|| case.get("value").cloned());
        let got = evaluated(&table, kind, text);
        if got != expected {
            wrong.push(format!("{kind} {text:?}\n  Ansible: {expected:?}\n  here:    {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(differences.is_empty(), "not in the table: {differences:?}");
}

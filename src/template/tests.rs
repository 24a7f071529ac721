//! Rendering as a playbook sees it, with variables from a small table.

use super::*;
use crate::{
    config::{Diagnostic, Place, Source, parse_yaml},
    playbook::Template,
};
use serde_json::{Value as Json, json};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// Variables of one host, written as YAML; `host_data` is what came from a host, `secret_future` is unknown.
struct Table(BTreeMap<String, Found>);

fn table(yaml: &str) -> Arc<Table> {
    let source = Arc::new(Source { path: "vars.yml".to_owned(), text: yaml.to_owned() });
    let document = parse_yaml(source).expect("variables");
    let mut found: BTreeMap<String, Found> = document
        .root
        .as_map()
        .unwrap_or_default()
        .iter()
        .map(|entry| (entry.key.clone(), Found::Node(Node::new(&entry.value.value(), Some(&entry.value.place)))))
        .collect();
    found.insert("host_data".to_owned(), Found::Value(from_json(&json!({"text": "{{ 1 + 1 }}"}))));
    found.insert("future".to_owned(), Found::Unknown("`future` was not run".to_owned()));
    Arc::new(Table(found))
}

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

    fn of_host(&self, host: &str) -> Option<Arc<dyn Variables>> {
        let other = format!("name: {host}\nabout: \"I am {{{{ name }}}}\"\nback: \"{{{{ hostvars['b'].back }}}}\"\n");
        matches!(host, "a" | "b").then(|| table(&other) as Arc<dyn Variables>)
    }

    fn hosts(&self) -> Vec<String> {
        vec!["a".to_owned(), "b".to_owned()]
    }
}

/// A template written on a line of its own in a playbook.
fn written(yaml: &str) -> Template {
    let source = Arc::new(Source { path: "site.yml".to_owned(), text: yaml.to_owned() });
    let document = parse_yaml(source).expect("a template");
    let value = document.root.get("msg").expect("msg");
    Template { value: value.value(), place: Some(value.place.clone()) }
}

fn rendered(vars: &str, yaml: &str) -> Result<Rendered<Json>, Diagnostic> {
    render(&Context::new(table(vars)), &written(yaml))
}

fn known(vars: &str, yaml: &str) -> Json {
    rendered(vars, yaml).expect("renders").known().expect("known")
}

fn wrong(vars: &str, yaml: &str) -> (String, String, Option<String>) {
    let diagnostic = rendered(vars, yaml).expect_err("an error");
    let place = diagnostic.place.as_ref().map(ToString::to_string).unwrap_or_default();
    (diagnostic.message, place, diagnostic.help)
}

fn condition_of(vars: &str, expression: &str) -> Result<Rendered<bool>, Diagnostic> {
    condition(&Context::new(table(vars)), &Template { value: json!(expression), place: None })
}

#[test]
fn one_expression_keeps_its_type() {
    assert_eq!(known("n: 3", "msg: '{{ n }}'"), json!(3));
    assert_eq!(known("l: [1, '{{ n }}']\nn: 2", "msg: '{{ l }}'"), json!([1, 2]));
    assert_eq!(known("n: 3", "msg: 'n is {{ n }}'"), json!("n is 3"));
    assert_eq!(known("n: 3", "msg: {a: '{{ n }}', b: ['{{ n + 1 }}']}"), json!({"a": 3, "b": [4]}));
}

#[test]
fn only_what_is_read_is_rendered() {
    let vars = "m: {good: '{{ 1 }}', bad: '{{ nothing }}'}";
    assert_eq!(known(vars, "msg: '{{ m.good }}'"), json!(1));
    assert!(wrong(vars, "msg: '{{ m }}'").0.contains("undefined variable `nothing`"));
}

#[test]
fn data_is_never_rendered() {
    assert_eq!(known("", "msg: '{{ host_data.text }}'"), json!("{{ 1 + 1 }}"));
    assert_eq!(known("v: '{{ host_data.text }}'", "msg: 'x {{ v }}'"), json!("x {{ 1 + 1 }}"));
    assert_eq!(known("", "msg: \"{{ '{' ~ '{ 1 }}' }}\""), json!("{{ 1 }}"));
}

#[test]
fn unknown_spreads() {
    let because = Rendered::Unknown { because: "`future` was not run".to_owned() };
    assert_eq!(rendered("v: '{{ future.stdout }}'", "msg: 'x {{ v }}'").expect("no error"), because);
    assert_eq!(
        condition_of("", "future.rc == 0").expect("no error"),
        Rendered::Unknown { because: "`future` was not run".to_owned() }
    );
    assert_eq!(condition_of("", "false and future.rc == 0").expect("no error"), Rendered::Known(false));
}

#[test]
fn undefined_names_are_told_with_their_place() {
    let (message, place, help) = wrong("docker_version: 29", "msg: 'v {{ docker_verson }}'");
    assert_eq!(message, "undefined variable `docker_verson`");
    assert_eq!(place, "site.yml:1:12");
    assert_eq!(help.as_deref(), Some("Did you mean `docker_version`?"));
    let (message, place, help) = wrong("a: {name: 1}", "msg: |\n  first\n  second {{ a.nam }}\n");
    assert_eq!(message, "`a` has no `nam`");
    assert_eq!(place, "site.yml:3:13");
    assert_eq!(help.as_deref(), Some("Did you mean `name`?"));
    let (message, place, help) = wrong("a: 'x{{ b }}'\nb: '{{ c }}'", "msg: '{{ a }}'");
    assert_eq!(message, "undefined variable `c`");
    assert_eq!(place, "vars.yml:2:8");
    let help = help.expect("help");
    assert!(help.contains("`b`") && help.contains("`a`"), "{help}");
}

#[test]
fn undefined_values_have_defaults() {
    assert_eq!(known("a: {}", "msg: \"{{ a.b.c | default('x') }}\""), json!("x"));
    assert_eq!(known("", "msg: \"{{ a['b'].c | default('x') }}\""), json!("x"));
    assert_eq!(known("a: '{{ nothing }}'", "msg: \"{{ a | default('x') }}\""), json!("x"));
    assert_eq!(condition_of("", "a.b is defined").expect("no error"), Rendered::Known(false));
    assert_eq!(condition_of("a: '{{ nothing }}'", "a is not defined").expect("no error"), Rendered::Known(true));
}

#[test]
fn circles_are_named() {
    let (message, _, _) = wrong("a: '{{ b }}'\nb: '{{ c }}'\nc: '{{ a }}'", "msg: '{{ a }}'");
    assert_eq!(message, "variable `a` refers to itself: a → b → c → a");
    let (message, _, _) = wrong("a: {x: '{{ a.x }}'}", "msg: '{{ a.x }}'");
    assert!(message.contains("refers to itself"), "{message}");
    let (message, _, _) = wrong("", "msg: \"{{ hostvars['a'].back }}\"");
    assert!(message.contains("hostvars['b'].back → hostvars['b'].back"), "{message}");
}

#[test]
fn other_hosts_render_their_own_variables() {
    assert_eq!(known("name: me", "msg: \"{{ hostvars['b'].about }}\""), json!("I am b"));
    assert_eq!(known("", "msg: \"{{ hostvars | list }}\""), json!(["a", "b"]));
    assert_eq!(known("", "msg: \"{{ hostvars.zzz.about | default('none') }}\""), json!("none"));
}

#[test]
fn conditions_are_booleans() {
    assert_eq!(condition_of("x: 1", "x == 1").expect("no error"), Rendered::Known(true));
    let diagnostic = condition_of("x: text", "x").expect_err("a string");
    assert_eq!(diagnostic.message, "the condition is a string (text), not true or false");
    assert!(condition_of("x: [1]", "x").is_err());
    assert_eq!(condition_of("x: [1]", "x | length > 0").expect("no error"), Rendered::Known(true));
    assert_eq!(condition_of("x: 1\ncond: x == 1", "{{ cond }}").expect("no error"), Rendered::Known(true));
    assert_eq!(condition_of("x: true", "{{ x }}").expect("no error"), Rendered::Known(true));
    // A text from a host is no expression, nor one that a template made.
    assert!(condition_of("", "{{ host_data.text }}").is_err());
    assert!(condition_of("made: \"{{ 'x == ' ~ 1 }}\"\nx: 1", "{{ made }}").is_err());
    assert!(condition_of("", "").is_err());
    assert!(condition_of("", "nothing").is_err());
}

#[test]
fn omit_leaves_out() {
    assert_eq!(known("", "msg: {a: 1, b: '{{ nothing | default(omit) }}'}"), json!({"a": 1}));
    assert!(rendered("", "msg: '{{ omit }}'").is_err());
    let optional = render_optional(&Context::new(table("")), &written("msg: '{{ omit }}'"));
    assert_eq!(optional.expect("no error"), Rendered::Known(None));
}

#[test]
fn runaway_templates_end() {
    let (message, _, _) = wrong(
        "",
        "msg: '{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(99) %}{% endfor %}{% endfor %}{% endfor %}'",
    );
    assert_eq!(message, "the template runs too long");
    let deep: String = (0..200).map(|n| format!("v{n}: '{{{{ v{} }}}}'\n", n + 1)).collect();
    assert!(wrong(&deep, "msg: '{{ v0 }}'").0.contains("deep"));
}

#[test]
fn template_files_find_their_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs_err::write(&path, text).expect("written");
        path
    };
    file("part.j2", "part {{ n }}\n");
    let main =
        file("main.j2", "{% if n %}\nyes {{ 'a\\tb' }}\n{% endif %}\n{% include 'part.j2' %}\nlast {{ none }}\n");
    let context = Context::new(table("n: 1"));
    let text = render_file(&context, &main, &FileOptions::default()).expect("renders");
    assert_eq!(text, "yes a\tb\npart 1last \n");
    let bad = file("bad.j2", "one\n\n  {{ missing_thing }}\n");
    match render_file(&context, &bad, &FileOptions::default()) {
        Err(Failure::Error { diagnostic, .. }) => {
            assert_eq!(diagnostic.message, "undefined variable `missing_thing`");
            assert!(diagnostic.place.as_ref().map(Place::to_string).expect("a place").ends_with("bad.j2:3:6"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rendering_leaves_nothing_behind() {
    let variables = table("m: {a: '{{ n }}', l: ['{{ m.a }}']}\nn: 1\ncycle: '{{ cycle }}'");
    for text in
        ["{{ m }}", "{{ hostvars['a'].about }}", "{{ vars }}", "{{ cycle }}", "{{ m.l | map('string') | list }}"]
    {
        let context = Context::new(Arc::clone(&variables) as Arc<dyn Variables>);
        let _rendered = render(&context, &Template { value: json!(text), place: None });
    }
    assert_eq!(Arc::strong_count(&variables), 1);
}

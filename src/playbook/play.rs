//! Plays.

use super::{
    files::find_file,
    keywords::PLAY,
    program::{Inherited, Play, Size, Template},
    reader::{Loader, is_template},
    rollout::Role as SizeRole,
    task::Role,
};
use crate::config::{Entry, Kind, Node, load_yaml};
use serde_json::Value;
use std::sync::Arc;

const ORDERS: [(&str, &str); 5] = [
    ("inventory", "inventory"),
    ("reverse_inventory", "reverse_inventory"),
    ("sorted", "sorted"),
    ("reverse_sorted", "reverse_sorted"),
    ("shuffle", "shuffle"),
];

impl Loader {
    /// One play.
    pub(super) fn play(&mut self, node: &Node) -> Option<Arc<Play>> {
        let entries = self.keywords(node, &node.place, &PLAY)?;
        let hosts = self.hosts(node);
        let inherited = self.inherited(entries, &Inherited::default());
        let mut play = Play {
            name: String::new(),
            place: node.place.clone(),
            hosts: hosts.unwrap_or(Template { value: Value::Null, place: None }),
            gather_facts: true,
            vars: Vec::new(),
            vars_files: Vec::new(),
            inherited,
            sections: Default::default(),
            handlers: Vec::new(),
            rollback: Vec::new(),
            serial: Vec::new(),
            max_fail_percentage: None,
            any_errors_fatal: false,
            order: "inventory".into(),
            rollout: None,
        };
        play.name = play.hosts.value.as_str().unwrap_or_default().to_owned();
        for entry in entries {
            self.play_keyword(entry, &mut play);
        }
        self.play_tasks(node, &mut play);
        self.play_batches(node, &mut play);
        self.loop_var_rules(&play);
        Some(Arc::new(play))
    }

    fn play_keyword(&mut self, entry: &Entry, play: &mut Play) {
        match entry.key.as_str() {
            "name" => {
                if let Some(name) = self.text(entry) {
                    self.check_templates(&entry.value);
                    play.name = name;
                }
            }
            "gather_facts" => play.gather_facts = self.boolean(entry).unwrap_or(true),
            "vars" => play.vars = self.variables(&entry.value, "`vars`"),
            "vars_files" => play.vars_files = self.vars_files(entry),
            "any_errors_fatal" => play.any_errors_fatal = self.boolean(entry).unwrap_or(false),
            "max_fail_percentage" => play.max_fail_percentage = self.percentage(entry),
            "order" => play.order = self.choice(entry, &ORDERS, &[]).unwrap_or("inventory").to_owned(),
            "strategy" => {
                let linear = [("linear", ()), ("ansible.builtin.linear", ())];
                self.choice(entry, &linear, &["free", "host_pinned", "debug", "ansible.builtin.free"]);
            }
            _ => {}
        }
    }

    /// Task lists in the order they run in; handlers last, because tasks notify them.
    fn play_tasks(&mut self, node: &Node, play: &mut Play) {
        self.notifies.clear();
        let around = play.inherited.clone();
        for (section, name) in ["pre_tasks", "tasks", "post_tasks"].into_iter().enumerate() {
            if let Some(entry) = node.entry(name) {
                play.sections[section] = self.tasks(entry, &around, Role::Task);
            }
        }
        if let Some(entry) = node.entry("handlers") {
            play.handlers = self.tasks(entry, &around, Role::Handler);
            self.unique_handlers(entry);
        }
        self.check_notified(node.entry("handlers"));
        if let Some(entry) = node.entry("rollback") {
            if entry.value.as_map().is_some() {
                self.error(&entry.value.place, "the play's `rollback` is a list of tasks", "expected a list").help =
                    Some("the speed of a rollback stands in `rollout: rollback:`".into());
            } else {
                play.rollback = self.tasks(entry, &Inherited { run_once: false, ..around }, Role::Rollback);
            }
            if node.get("rollout").is_none() {
                self.error(&entry.key_place, "`rollback` does nothing without `rollout`", "never used");
            }
        }
    }

    fn play_batches(&mut self, node: &Node, play: &mut Play) {
        let serial = node.entry("serial");
        if let Some(stanza) = node.entry("rollout") {
            play.rollout = self.rollout(stanza, serial);
        } else if let Some(entry) = serial {
            let sizes = self.sizes(entry, SizeRole::Serial);
            let all = matches!(sizes.as_slice(), [Size::Percent(percent)] if *percent >= 100.0);
            play.serial = if all { Vec::new() } else { sizes };
        }
    }

    /// The pattern, as one text; a list is joined by commas.
    fn hosts(&mut self, node: &Node) -> Option<Template> {
        let Some(entry) = node.entry("hosts") else {
            self.error(&node.place, "this play has no hosts", "`hosts` is missing").help =
                Some("for example hosts: all".into());
            return None;
        };
        let patterns = self.texts(entry, false);
        for (pattern, place) in &patterns {
            if is_template(pattern) {
                super::syntax::template(pattern, place, &mut self.problems);
            }
        }
        if patterns.iter().all(|(pattern, _)| pattern.trim().is_empty()) {
            self.expected(entry, "a pattern of hosts").help = Some("for example hosts: all".into());
            return None;
        }
        let joined = patterns.into_iter().map(|(pattern, _)| pattern).collect::<Vec<_>>().join(",");
        Some(Template { value: Value::String(joined), place: Some(entry.value.place.clone()) })
    }

    /// `max_fail_percentage`: 0 to 100.
    fn percentage(&mut self, entry: &Entry) -> Option<f64> {
        let number = match &entry.value.kind {
            Kind::Scalar(Value::Number(number)) => number.as_f64(),
            Kind::Scalar(Value::String(text)) => text.trim().trim_end_matches('%').trim().parse().ok(),
            _ => None,
        };
        let fits = number.filter(|percent| (0.0..=100.0).contains(percent));
        if fits.is_none() {
            self.expected(entry, "a percentage from 0 to 100");
        }
        fits
    }

    /// Files of variables; one that is missing is an error (Ansible ignores it). Of a list in the list, the first there is.
    fn vars_files(&mut self, entry: &Entry) -> Vec<Vec<(String, Template)>> {
        let nodes = match &entry.value.kind {
            Kind::List(items) => items.as_slice(),
            Kind::Scalar(Value::Null) => &[],
            _ => std::slice::from_ref(&entry.value),
        };
        nodes.iter().filter_map(|node| self.vars_file(node)).collect()
    }

    fn vars_file(&mut self, node: &Node) -> Option<Vec<(String, Template)>> {
        let alternatives = node.as_list().unwrap_or(std::slice::from_ref(node));
        let mut names = Vec::new();
        for alternative in alternatives {
            let Some(name) = alternative.as_str() else {
                let message = format!("`vars_files` takes paths, found {}", alternative.describe());
                self.error(&alternative.place, message, "expected a path");
                return None;
            };
            if is_template(name) {
                self.unbuilt(&alternative.place, "a template in `vars_files`", "write the path");
                return None;
            }
            names.push(name);
        }
        let Some(path) = names.iter().find_map(|name| find_file(&self.dir, "vars", name)) else {
            let message = format!("the file `{}` is not there", names.join("` or `"));
            let help = format!("it was looked for in {0}/vars and {0}", self.dir.display());
            self.error(&node.place, message, "not found").help = Some(help);
            return None;
        };
        match load_yaml(&path) {
            Ok(document) => Some(self.variables(&document.root, "a file of variables")),
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        }
    }

    /// A loop's variable must not hide a variable of the play.
    fn loop_var_rules(&mut self, play: &Play) {
        for task in play.sections.iter().flatten().chain(&play.handlers).chain(&play.rollback) {
            let name = &task.loop_control.loop_var;
            if task.r#loop.is_some() && play.vars.iter().any(|(variable, _)| variable == name) {
                self.error(
                    &task.place,
                    format!("the loop of `{}` hides the play's variable `{name}`", task.name),
                    "this task",
                )
                .help = Some("name the item otherwise with loop_control: loop_var".into());
            }
        }
    }
}

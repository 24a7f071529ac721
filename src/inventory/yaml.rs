//! YAML inventories.

use super::{address, model::Inventory};
use crate::{
    config::{Diagnostic, Diagnostics, Entry, Node, Place, did_you_mean},
    playbook::Template,
};
use serde_json::Value;

/// Reads a YAML source into an inventory. Every mistake is noted; the rest is read.
pub(super) fn read(root: &Node, inventory: &mut Inventory, problems: &mut Diagnostics) {
    let Some(groups) = root.as_map() else {
        if !root.is_null() {
            problem(problems, &root.place, "an inventory must be a mapping of groups", &described(root), None);
        }
        return;
    };
    if let Some(plugin) = groups.iter().find(|entry| entry.key == "plugin") {
        let help = "List the hosts, or let an executable print them as JSON.".to_owned();
        problem(problems, &plugin.key_place, "inventory plugins are not supported", "not read", Some(help));
        return;
    }
    let mut reader = Reader { inventory, problems };
    for entry in groups {
        reader.group(entry, 0);
    }
}

/// Groups within groups, written one in the other: how deep.
const DEEPEST: usize = 32;

struct Reader<'a> {
    inventory: &'a mut Inventory,
    problems: &'a mut Diagnostics,
}

fn problem(problems: &mut Diagnostics, place: &Place, message: impl Into<String>, label: &str, help: Option<String>) {
    problems.0.push(Diagnostic { message: message.into(), place: Some(place.clone()), label: label.to_owned(), help });
}

fn described(node: &Node) -> String {
    format!("this is {}", node.describe())
}

impl Reader<'_> {
    fn group(&mut self, entry: &Entry, depth: usize) {
        let name = entry.key.as_str();
        if depth >= DEEPEST {
            problem(self.problems, &entry.key_place, "groups lie too deep within each other", "not read", None);
            return;
        }
        self.inventory.group_mut(name, Some(&entry.key_place));
        let Some(keys) = entry.value.as_map() else {
            if !entry.value.is_null() {
                let help = "A group has hosts, children and vars.".to_owned();
                let message = format!("group `{name}` must be a mapping");
                problem(self.problems, &entry.value.place, message, &described(&entry.value), Some(help));
            }
            return;
        };
        for key in keys {
            match key.key.as_str() {
                _ if key.value.is_null() => {}
                "hosts" => self.hosts(name, &key.value),
                "vars" => {
                    let vars = self.variables(&key.value);
                    self.inventory.group_mut(name, None).vars.extend(vars);
                }
                "children" => self.children(name, &key.value, depth),
                other => {
                    let help = did_you_mean(other, ["hosts", "children", "vars"]);
                    let message = format!("a group has no `{other}`");
                    problem(self.problems, &key.key_place, message, "must be hosts, children or vars", help);
                }
            }
        }
    }

    fn children(&mut self, parent: &str, node: &Node, depth: usize) {
        if let Some(name) = node.as_str() {
            self.join(parent, name, &node.place);
            return;
        }
        let Some(entries) = node.as_map() else {
            let help = "Write each group as a key: `web:`.".to_owned();
            problem(self.problems, &node.place, "children must be a mapping of groups", &described(node), Some(help));
            return;
        };
        for entry in entries {
            self.group(entry, depth + 1);
            self.join(parent, &entry.key, &entry.key_place);
        }
    }

    fn join(&mut self, parent: &str, child: &str, place: &Place) {
        self.inventory.group_mut(child, Some(place));
        if !self.inventory.add_child(parent, child) {
            problem(self.problems, place, format!("group `{child}` would contain itself"), "closes a circle", None);
        }
    }

    fn hosts(&mut self, group: &str, node: &Node) {
        if let Some(name) = node.as_str() {
            self.host(group, name, &node.place, &[]);
            return;
        }
        let Some(entries) = node.as_map() else {
            let help = "Write each host as a key: `web1:`.".to_owned();
            problem(self.problems, &node.place, "hosts must be a mapping of hosts", &described(node), Some(help));
            return;
        };
        for entry in entries {
            let vars = if entry.value.is_null() { Vec::new() } else { self.variables(&entry.value) };
            self.host(group, &entry.key, &entry.key_place, &vars);
        }
    }

    fn host(&mut self, group: &str, name: &str, place: &Place, vars: &[(String, Template)]) {
        match address::parse(name) {
            Err(message) => problem(self.problems, place, message, "no host", None),
            Ok((names, port)) => {
                for name in names {
                    let host = self.inventory.host_mut(&name, Some(place));
                    host.vars.extend(port.map(|port| {
                        ("ansible_port".to_owned(), Template { value: Value::from(port), place: Some(place.clone()) })
                    }));
                    host.vars.extend(vars.iter().cloned());
                    self.inventory.add_host(group, &name);
                }
            }
        }
    }

    fn variables(&mut self, node: &Node) -> Vec<(String, Template)> {
        let Some(entries) = node.as_map() else {
            problem(self.problems, &node.place, "variables must be a mapping", &described(node), None);
            return Vec::new();
        };
        entries
            .iter()
            .map(|entry| {
                let place = Some(entry.value.place.clone());
                (entry.key.clone(), Template { value: entry.value.value(), place })
            })
            .collect()
    }
}

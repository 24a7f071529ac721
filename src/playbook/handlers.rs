//! Handlers: names are unique, and who is notified must exist (ansible.md point 18).

use super::reader::{Loader, is_template};
use crate::config::{Entry, Node, Place, did_you_mean};
use std::collections::HashMap;

impl Loader {
    /// Names of handlers are unique. Ansible (2.19, tried) takes two with one name in one list, and never runs the second.
    pub(super) fn unique_handlers(&mut self, handlers: &Entry) {
        let mut seen: HashMap<&str, &Place> = HashMap::new();
        for handler in handlers.value.as_list().unwrap_or_default() {
            let Some(name) = handler.get("name") else { continue };
            let Some(text) = name.as_str() else { continue };
            if let Some(first) = seen.insert(text, &name.place) {
                let help = format!("the first is at {first}; give each its own name, they may listen to one topic");
                let message = format!("two handlers are named `{text}`");
                self.error(&name.place, message, "only the first would ever run").help = Some(help);
            }
        }
    }

    /// Checks that what was notified exists, among handlers that did not load as well.
    pub(super) fn check_notified(&mut self, handlers: Option<&Entry>) {
        let notified = std::mem::take(&mut self.notifies);
        let written = handlers.and_then(|entry| entry.value.as_list()).unwrap_or_default();
        let mut names: Vec<&str> = Vec::new();
        for handler in written {
            names.extend(handler.get("name").and_then(Node::as_str));
            if let Some(listen) = handler.get("listen") {
                names.extend(listen.as_list().unwrap_or(std::slice::from_ref(listen)).iter().filter_map(Node::as_str));
            }
        }
        let any_template = names.iter().any(|name| is_template(name));
        for (name, place) in notified {
            if is_template(&name) || any_template || names.contains(&name.as_str()) {
                continue;
            }
            let help = did_you_mean(&name, names.iter().copied()).unwrap_or_else(|| {
                if names.is_empty() {
                    "the play has no `handlers`".into()
                } else {
                    format!("the play's handlers are {}", names.join(", "))
                }
            });
            self.error(&place, format!("there is no handler named `{name}`"), "unknown handler").help = Some(help);
        }
    }
}

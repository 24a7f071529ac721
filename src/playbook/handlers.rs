//! Handlers: who is notified must exist, and of two with one name the last is meant (ansible.md point 18).

use super::{
    program::Task,
    reader::{Loader, is_template},
};
use crate::config::{Entry, Node, did_you_mean};
use std::{collections::HashSet, sync::Arc};

impl Loader {
    /// Of handlers with the same name keeps the last.
    pub(super) fn resolve_handlers(&mut self, handlers: Vec<Arc<Task>>) -> Vec<Arc<Task>> {
        let mut later: HashSet<String> = HashSet::new();
        let mut kept: Vec<Arc<Task>> = Vec::new();
        for handler in handlers.into_iter().rev() {
            if later.insert(handler.name.clone()) {
                kept.push(handler);
            } else if !handler.listen.is_empty() {
                let message = format!("another handler further down is also named `{}`", handler.name);
                self.error(&handler.place, message, "only the last of a name is run").help =
                    Some("give each its own name; they may listen to the same topic".into());
            }
        }
        kept.reverse();
        kept
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

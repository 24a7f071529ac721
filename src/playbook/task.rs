//! Tasks and handlers: keywords, the one module, and what of both does not go together.

use super::{
    action::short_name,
    keywords::{BLOCK, INHERITED, LOOP_CONTROL, TASK},
    program::{Action, Inherited, LoopControl, Task, Template, Until},
    reader::{Loader, has_template, is_template},
};
use crate::config::{Entry, Kind, Node, Place, did_you_mean};
use rollgate_agent::modules::spec;
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// Which list a task stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// pre_tasks, tasks, post_tasks.
    Task,
    /// handlers.
    Handler,
    /// A task's `undo:`.
    Undo,
    /// The play's `rollback:`.
    Rollback,
}

impl Role {
    /// The list's name.
    pub(super) fn list(self) -> &'static str {
        match self {
            Self::Task => "tasks",
            Self::Handler => "handlers",
            Self::Undo => "undo",
            Self::Rollback => "rollback",
        }
    }

    /// Whether R11 holds: the host must be able to run it without the controller.
    fn bundled(self) -> bool {
        matches!(self, Self::Undo | Self::Rollback)
    }
}

impl Loader {
    /// A list of tasks.
    pub(super) fn tasks(&mut self, entry: &Entry, around: &Inherited, role: Role) -> Vec<Arc<Task>> {
        let Some(items) = self.list_of(entry, "tasks") else { return Vec::new() };
        items.iter().filter_map(|item| self.task(item, around, role)).collect()
    }

    fn task(&mut self, node: &Node, around: &Inherited, role: Role) -> Option<Arc<Task>> {
        let Some(entries) = node.as_map() else {
            let message = format!("a task is a map of keywords, found {}", node.describe());
            self.error(&node.place, message, "expected `name:` and a module");
            return None;
        };
        if let Some(entry) = entries.iter().find(|entry| BLOCK.contains(&entry.key.as_str())) {
            self.unbuilt(&entry.key_place, "`block` with `rescue` and `always`", "write the tasks one after another");
            return None;
        }
        let index = self.next_index;
        self.next_index += 1;
        let inherited = self.inherited(entries, around);
        let (module, action) = self.action_of(node, entries);
        let mut task = Task {
            index,
            name: module.clone().unwrap_or_default(),
            place: node.place.clone(),
            action: Action::Meta("noop".into()),
            inherited,
            vars: Vec::new(),
            when: Vec::new(),
            r#loop: None,
            loop_control: LoopControl { loop_var: "item".into(), index_var: None, label: None, pause: Duration::ZERO },
            register: None,
            notify: Vec::new(),
            listen: Vec::new(),
            changed_when: Vec::new(),
            failed_when: Vec::new(),
            until: None,
            delegate_to_localhost: node.entry("local_action").is_some(),
            critical: false,
            accept_irreversible: false,
            undo: Vec::new(),
        };
        for entry in entries {
            self.task_keyword(entry, &mut task, role);
        }
        self.until(node, &mut task);
        self.loop_rules(node, &task);
        if let Some(action) = &action {
            self.role_rules(node, action, &task, role);
        }
        task.action = action?;
        Some(Arc::new(task))
    }

    fn task_keyword(&mut self, entry: &Entry, task: &mut Task, role: Role) {
        match entry.key.as_str() {
            "name" => {
                if let Some(name) = self.text(entry) {
                    self.check_templates(&entry.value);
                    task.name = name;
                }
            }
            "vars" => task.vars = self.variables(&entry.value, "`vars`"),
            "when" => task.when = self.conditions(entry),
            "loop" => task.r#loop = self.loop_value(entry),
            "with_items" => task.r#loop = self.with_items(entry),
            "loop_control" => self.loop_control(entry, &mut task.loop_control),
            "register" => task.register = self.identifier(entry),
            "notify" => self.notify(entry, task, role),
            "listen" if role == Role::Handler => {
                task.listen = self.texts(entry, false).into_iter().map(|(topic, _)| topic).collect();
            }
            "listen" => {
                self.error(&entry.key_place, "only handlers `listen`", "not a handler").help =
                    Some("move the task below `handlers:`".into());
            }
            "changed_when" => task.changed_when = self.conditions(entry),
            "failed_when" => task.failed_when = self.conditions(entry),
            "delegate_to" => self.delegate_to(entry, task),
            "critical" => task.critical = self.boolean(entry).unwrap_or(false),
            "accept_irreversible" => task.accept_irreversible = self.boolean(entry).unwrap_or(false),
            "undo" if role.bundled() => {
                self.error(
                    &entry.key_place,
                    format!("a task of `{}` has no `undo`", role.list()),
                    "not possible here",
                )
                .help = Some("a rollback is never rolled back".into());
            }
            "undo" => {
                let around = Inherited { tags: Vec::new(), run_once: false, ..task.inherited.clone() };
                task.undo = self.tasks(entry, &around, Role::Undo);
                if entry.value.is_null() || entry.value.as_list().is_some_and(<[_]>::is_empty) {
                    self.expected(entry, "at least one task");
                }
            }
            _ => {}
        }
    }

    /// `loop`: a list, or a template that gives one.
    pub(super) fn loop_value(&mut self, entry: &Entry) -> Option<Template> {
        match &entry.value.kind {
            Kind::List(_) => Some(self.template(&entry.value)),
            Kind::Scalar(Value::String(text)) if is_template(text) => Some(self.template(&entry.value)),
            Kind::Scalar(Value::String(text)) => {
                let help =
                    format!("write {}: \"{{{{ {text} }}}}\" for a variable, or - {text} for a list of one", entry.key);
                self.expected(entry, "a list or a template").help = Some(help);
                None
            }
            _ => {
                self.expected(entry, "a list or a template");
                None
            }
        }
    }

    /// `with_items` flattens one level of lists, which `loop` does not.
    fn with_items(&mut self, entry: &Entry) -> Option<Template> {
        let mut template = match &entry.value.kind {
            // One value is a list of one.
            Kind::Scalar(Value::String(text)) if !is_template(text) => self.template(&entry.value),
            _ => self.loop_value(entry)?,
        };
        template.value = match template.value {
            Value::Array(items) if items.iter().any(|item| item.as_str().is_some_and(is_template)) => {
                self.unbuilt(&entry.value.place, "`with_items` over a list of templates", "use `loop`");
                return None;
            }
            Value::Array(items) => items
                .into_iter()
                .flat_map(|item| match item {
                    Value::Array(inner) => inner,
                    other => vec![other],
                })
                .collect(),
            Value::String(text) => match text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) {
                Some(inner) if !inner.contains("{{") => {
                    Value::String(format!("{{{{ [{}] | flatten(levels=2) }}}}", inner.trim()))
                }
                _ => Value::Array(vec![Value::String(text)]),
            },
            other => other,
        };
        Some(template)
    }

    fn loop_control(&mut self, entry: &Entry, control: &mut LoopControl) {
        let Some(entries) = self.keywords(&entry.value, &entry.key_place, &LOOP_CONTROL) else { return };
        for inner in entries {
            match inner.key.as_str() {
                "loop_var" => control.loop_var = self.identifier(inner).unwrap_or_else(|| "item".into()),
                "index_var" => control.index_var = self.identifier(inner),
                "label" => control.label = Some(self.template(&inner.value)),
                "pause" => control.pause = self.duration(inner).unwrap_or_default(),
                _ => {}
            }
        }
    }

    fn notify(&mut self, entry: &Entry, task: &mut Task, role: Role) {
        if role.bundled() {
            self.error(&entry.key_place, format!("a task of `{}` cannot notify", role.list()), "not possible here")
                .help = Some("a rollback runs the handlers of what it restores by itself".into());
            return;
        }
        for (name, place) in self.texts(entry, false) {
            task.notify.push(name.clone());
            self.notifies.push((name, place));
        }
    }

    fn delegate_to(&mut self, entry: &Entry, task: &mut Task) {
        match self.text(entry).as_deref() {
            Some("localhost" | "127.0.0.1" | "::1") => task.delegate_to_localhost = true,
            Some(_) => self.unbuilt(&entry.value.place, "`delegate_to` another host than localhost", ""),
            None => {}
        }
    }

    /// `until`, `retries`, `delay` (ansible.md point 15).
    fn until(&mut self, node: &Node, task: &mut Task) {
        let conditions = node.entry("until").map(|entry| self.conditions(entry));
        let retries = node.entry("retries").and_then(|entry| self.number(entry, 3));
        let delay = node.entry("delay").and_then(|entry| self.number(entry, 5));
        if conditions.is_none() && node.get("retries").is_none() {
            if let Some(entry) = node.entry("delay") {
                self.error(&entry.key_place, "`delay` does nothing without `until` or `retries`", "never used");
            }
            return;
        }
        let default = |value: u32| Template { value: value.into(), place: None };
        task.until = Some(Until {
            conditions: conditions.unwrap_or_default(),
            retries: retries.unwrap_or_else(|| default(3)),
            delay: delay.unwrap_or_else(|| default(5)),
        });
    }

    /// A number that is not negative, or a template.
    fn number(&mut self, entry: &Entry, example: u32) -> Option<Template> {
        let fits = match &entry.value.kind {
            Kind::Scalar(Value::Number(number)) => number.as_f64().is_some_and(|n| n >= 0.0),
            Kind::Scalar(Value::String(text)) => {
                is_template(text) || text.trim().parse::<f64>().is_ok_and(|n| n >= 0.0)
            }
            _ => false,
        };
        if !fits {
            self.expected(entry, "a number").help = Some(format!("for example {}: {example}", entry.key));
            return None;
        }
        Some(self.template(&entry.value))
    }

    /// What of a loop does not go together.
    fn loop_rules(&mut self, node: &Node, task: &Task) {
        let looped = node.get("loop").is_some() || node.get("with_items").is_some();
        if let (Some(_), Some(second)) = (node.entry("loop"), node.entry("with_items")) {
            self.error(&second.key_place, "`loop` and `with_items` say the same thing", "keep one of them");
        }
        let Some(control) = node.entry("loop_control") else { return };
        if !looped {
            self.error(&control.key_place, "`loop_control` does nothing without `loop`", "never used");
        }
        let own = &task.loop_control;
        let mut clash = |name: &str, with: &str| {
            let place = control.value.entry("loop_var").or_else(|| control.value.entry("index_var"));
            let place = place.map_or(&control.key_place, |entry| &entry.value.place).clone();
            self.error(&place, format!("`{name}` is also {with}"), "taken").help = Some("choose another name".into());
        };
        if own.index_var.as_ref() == Some(&own.loop_var) {
            clash(&own.loop_var, "the `index_var`");
        }
        if task.register.as_ref() == Some(&own.loop_var) {
            clash(&own.loop_var, "the name that the result is registered under");
        }
        if task.vars.iter().any(|(name, _)| *name == own.loop_var) {
            clash(&own.loop_var, "a variable of this task");
        }
    }

    /// R11, and what handlers cannot be.
    fn role_rules(&mut self, node: &Node, action: &Action, task: &Task, role: Role) {
        if role == Role::Handler && matches!(action, Action::Meta(word) if word == "flush_handlers") {
            self.error(&node.place, "a handler cannot flush handlers", "not possible here");
        }
        if !role.bundled() {
            return;
        }
        let list = role.list();
        if !matches!(action, Action::Agent(_)) {
            let message = format!("a task of `{list}` uses modules that run on the host");
            self.error(&node.place, message, "this one needs the controller").help = Some(
                "the host must be able to roll back by itself; use for example command, shell, file, systemd".into(),
            );
        }
        if task.delegate_to_localhost {
            self.error(
                &node.place,
                format!("a task of `{list}` runs on its host only"),
                "`delegate_to` is not possible here",
            );
        }
        for keyword in ["until", "retries", "run_once", "critical", "accept_irreversible"] {
            if let Some(entry) = node.entry(keyword) {
                self.error(&entry.key_place, format!("`{keyword}` has no meaning in `{list}`"), "not possible here");
            }
        }
        if let Some(place) = lookup(node) {
            self.error(&place, format!("a task of `{list}` cannot look things up"), "`lookup` needs the controller")
                .help = Some("look it up in an earlier task and keep it with set_fact".into());
        }
    }

    /// An unknown key of a task: nearly always a module or a keyword misspelt.
    pub(super) fn unknown_key(&mut self, entry: &Entry, modules: &[&str], module: Option<&str>) {
        if TASK.unbuilt.iter().any(|(name, _)| *name == entry.key) {
            self.keyword(entry, &TASK);
            return;
        }
        let keywords = TASK.known.iter().chain(INHERITED).copied();
        let Some(module) = module else {
            let help = did_you_mean(&entry.key, modules.iter().copied().chain(keywords));
            let message = format!("there is no module `{}`", entry.key);
            self.error(&entry.key_place, message, "neither a module nor a keyword").help = help;
            return;
        };
        let params = spec(short_name(module)).map(|spec| spec.params).unwrap_or_default();
        let help = if params.iter().any(|param| param.name == entry.key || param.aliases.contains(&entry.key.as_str()))
        {
            Some(format!("it is a parameter of `{module}`: indent it below the module, or write it below `args:`"))
        } else {
            did_you_mean(&entry.key, keywords)
        };
        self.error(&entry.key_place, format!("`{}` is not a keyword of a task", entry.key), "unknown keyword").help =
            help;
    }
}

/// The place of a string that calls `lookup`, `query` or `q` in a template.
fn lookup(node: &Node) -> Option<Place> {
    match &node.kind {
        Kind::Scalar(Value::String(text)) => {
            let called = ["lookup", "query", "q"].iter().any(|name| {
                text.match_indices(name).any(|(at, _)| {
                    let before = text[..at].chars().next_back();
                    let after = text[at + name.len()..].trim_start();
                    after.starts_with('(')
                        && before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '.' && c != '$')
                })
            });
            (called && has_template(&Value::String(text.clone()))).then(|| node.place.clone())
        }
        Kind::Scalar(_) => None,
        Kind::List(items) => items.iter().find_map(lookup),
        Kind::Map(entries) => entries.iter().find_map(|entry| lookup(&entry.value)),
    }
}

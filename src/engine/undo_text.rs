//! `undo:` and `rollback:` tasks for the reader of a plan: rendered as far as they can be before anything has run (R11).

use super::{
    prepare::module_name,
    txn::items,
    values::{all, named, said, shown, text},
};
use crate::{
    playbook::{Action, Task, Template},
    secrets::looks_secret,
    template::Rendered,
    vars::Scope,
};
use std::sync::Arc;

/// Stands for what is not to be seen.
const HIDDEN: &str = "(hidden)";

/// A line for each task and item that would run, in order: `name [module]: parameters`.
pub(crate) fn lines(tasks: &[Arc<Task>], scope_of: impl Fn(&Task) -> Scope) -> Vec<String> {
    tasks.iter().flat_map(|task| task_lines(task, &scope_of(task))).collect()
}

fn task_lines(task: &Task, scope: &Scope) -> Vec<String> {
    match items(task, scope) {
        Ok(Rendered::Known(scopes)) => scopes.iter().filter_map(|scope| one(task, scope)).collect(),
        Ok(Rendered::Unknown { because }) | Err(because) => {
            vec![format!("{}: for items that are not known yet: {because}", head(task, scope))]
        }
    }
}

/// None where its `when` is false already.
fn one(task: &Task, scope: &Scope) -> Option<String> {
    let mut line = head(task, scope);
    if task.inherited.no_log {
        line = format!("{line}: {HIDDEN}");
    } else {
        let shown = params(task, scope);
        if !shown.is_empty() {
            line = format!("{line}: {}", shown.join(" "));
        }
    }
    match all(scope, &task.when) {
        Ok(Rendered::Known(false)) => return None,
        Ok(Rendered::Known(true)) => {}
        Ok(Rendered::Unknown { because }) | Err(because) => {
            line.push_str(&format!(" (if its `when` holds, which is not known yet: {because})"));
        }
    }
    Some(line)
}

fn head(task: &Task, scope: &Scope) -> String {
    let name = shown(scope, &named(&task.name, Some(task.place.clone())));
    format!("{name} [{}]", module_name(&task.action))
}

fn params(task: &Task, scope: &Scope) -> Vec<String> {
    let Action::Agent(args) = &task.action else { return Vec::new() };
    args.params.iter().filter_map(|(name, template)| param(scope, name, template)).collect()
}

/// None for `omit`.
fn param(scope: &Scope, name: &str, template: &Template) -> Option<String> {
    let value = match scope.render_optional(template) {
        Ok(Rendered::Known(value)) => text(&value?),
        Ok(Rendered::Unknown { because }) => as_written(template, &because),
        Err(error) => as_written(template, &said(&error)),
    };
    let value = if looks_secret(name) { HIDDEN.to_owned() } else { value };
    Some(format!("{name}={value}"))
}

fn as_written(template: &Template, because: &str) -> String {
    format!("{} (not known yet: {because})", text(&template.value))
}

//! How a task's change is undone (rollout.md R9): derived, never declared.

use super::program::{Action, Play, Task};
use crate::config::{Diagnostic, Diagnostics};
use rollgate_agent::modules::{CheckClass, UndoClass, spec};
use serde_json::Value;

/// The class of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reversibility {
    /// From recorded pre-images.
    Exact,
    /// By its `undo:` tasks.
    Tasks,
    /// It may change something and nothing undoes it.
    None,
    /// It changes nothing that needs undoing.
    NotNeeded,
}

/// The class of a task.
pub fn reversibility(task: &Task) -> Reversibility {
    if !task.undo.is_empty() {
        return Reversibility::Tasks;
    }
    if task.inherited.check_mode == Some(true) || never_changes(task) {
        return Reversibility::NotNeeded;
    }
    let on_controller = task.delegate_to_localhost;
    match &task.action {
        // What a delegated task changes is not on the host, whose undo record knows nothing of it.
        Action::Template(_) | Action::CopyFile(_) if on_controller => Reversibility::None,
        Action::Template(_) | Action::CopyFile(_) => Reversibility::Exact,
        Action::Agent(args) => match spec(&args.module).map(|spec| spec.undo) {
            Some(UndoClass::Exact) if on_controller => Reversibility::None,
            Some(UndoClass::Exact) => Reversibility::Exact,
            Some(UndoClass::NotNeeded) => Reversibility::NotNeeded,
            Some(UndoClass::None) | None => Reversibility::None,
        },
        Action::Raw(_) => Reversibility::None,
        Action::Assert { .. }
        | Action::Fail { .. }
        | Action::Debug { .. }
        | Action::SetFact { .. }
        | Action::Meta(_) => Reversibility::NotNeeded,
    }
}

/// Whether the task says `changed_when: false`.
fn never_changes(task: &Task) -> bool {
    task.changed_when.iter().any(|condition| match &condition.value {
        Value::Bool(flag) => !flag,
        Value::String(text) => matches!(text.trim(), "false" | "False"),
        _ => false,
    })
}

/// Tasks that `check_mode: false` would run in a plan although they may change something (R23): a plan error each.
pub fn unplannable(play: &Play) -> Diagnostics {
    let mut problems = Diagnostics::default();
    for task in play.sections.iter().flatten().chain(&play.handlers) {
        let reads = match &task.action {
            Action::Agent(args) => spec(&args.module).is_some_and(|spec| spec.check == CheckClass::ReadOnly),
            Action::Template(_) | Action::CopyFile(_) | Action::Raw(_) => false,
            _ => true,
        };
        if task.inherited.check_mode == Some(false) && !reads && !never_changes(task) {
            let message = format!("`{}` would run for real in a plan", task.name);
            problems.push(
                Diagnostic::new(Some(task.place.clone()), message, "`check_mode: false` without `changed_when: false`")
                    .help("add `changed_when: false` if it changes nothing, or remove `check_mode: false`"),
            );
        }
    }
    problems
}

/// Tasks of a play with `rollout:` whose change nothing undoes and that do not accept it: a plan error each.
pub fn irreversible(play: &Play) -> Diagnostics {
    let mut problems = Diagnostics::default();
    if play.rollout.is_none() {
        return problems;
    }
    for task in play.sections.iter().flatten().chain(&play.handlers) {
        if reversibility(task) == Reversibility::None && !task.accept_irreversible {
            problems.push(
                Diagnostic::new(
                    Some(task.place.clone()),
                    format!("nothing undoes `{}`", task.name),
                    "it may change the host",
                )
                .help("add `undo:` tasks, `changed_when: false` if it changes nothing, or `accept_irreversible: true`"),
            );
        }
    }
    problems
}

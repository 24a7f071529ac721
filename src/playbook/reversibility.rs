//! How a task's change is undone (rollout.md R9): derived, never declared.

use super::program::{Action, Play, Task};
use crate::config::{Diagnostic, Diagnostics};
use rollgate_agent::modules::{UndoClass, spec};
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
    match &task.action {
        Action::Template(_) | Action::CopyFile(_) => Reversibility::Exact,
        Action::Agent(args) => match spec(&args.module).map(|spec| spec.undo) {
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

//! A transaction's records put in order: what each step did, and which parts of a revert are done.

use super::record::{Object, Part, Record, State, path_of};
use crate::protocol::{BundledTask, ModuleCall, RevertedStep, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Everything that the log says.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Steps in the order in which they began.
    pub(super) steps: Vec<Past>,
    /// Parts of a revert that are done.
    pub(super) done: BTreeSet<Part>,
    /// The same, for people, in the order done.
    pub(super) told: Vec<RevertedStep>,
    /// Directories in which a temporary file may have been left.
    pub(super) staged: BTreeSet<PathBuf>,
}

/// What one step did.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) step: Step,
    /// A handler's call, to run again.
    pub(super) again: Option<BundledTask>,
    /// Objects before it, in the order recorded.
    pub(super) before: Vec<Before>,
    /// Objects after it.
    pub(super) after: BTreeMap<Object, State>,
    /// Whether it ended, and then whether it changed something or failed.
    pub(super) end: Option<(bool, bool)>,
}

/// An object before a step.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) object: Object,
    pub(super) state: State,
    pub(super) shared: bool,
    pub(super) intended: Option<String>,
}

impl Past {
    /// Whether it may have changed something: it says so, it failed, or it was cut short.
    pub(super) fn may_have_changed(&self) -> bool {
        self.end.is_none_or(|(changed, failed)| changed || failed)
    }

    /// Whether undoing it puts anything back, so that what it notified has to follow.
    pub(super) fn is_restored(&self) -> bool {
        self.may_have_changed() && (!self.before.is_empty() || !self.step.undo.is_empty())
    }

    /// Whether it recorded anything but units: then its own change is undone, and running it again would make it anew.
    pub(super) fn has_exact_undo(&self) -> bool {
        self.before.iter().any(|before| !matches!(before.object, Object::Unit(_)))
    }
}

impl History {
    pub(super) fn of(records: Vec<Record>) -> Self {
        let mut history = Self::default();
        for record in records {
            history.take(record);
        }
        // One that was about to begin, and did not: there is nothing of it to undo.
        let began = |past: &Past| !past.before.is_empty() || !past.step.undo.is_empty() || past.step.handler.is_some();
        history.steps.retain(began);
        history
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Begin { step, call, environment, timeout_ms } => {
                let (name, no_log) = (step.name.clone(), step.no_log);
                let again = call.map(|call: ModuleCall| BundledTask { name, call, environment, timeout_ms, no_log });
                self.steps.push(Past { step, again, before: Vec::new(), after: BTreeMap::new(), end: None });
            }
            Record::Pre { step, object, state, shared, intended } => {
                if let Object::Path(path) = &object {
                    self.staged.extend(path_of(path).parent().map(Path::to_owned));
                }
                if let Some(past) = self.step(step) {
                    past.before.push(Before { object, state, shared, intended });
                }
            }
            Record::Post { step, object, state } => {
                if let Some(past) = self.step(step) {
                    past.after.insert(object, state);
                }
            }
            Record::End { step, changed, failed } => {
                if let Some(past) = self.step(step) {
                    past.end = Some((changed, failed));
                }
            }
            Record::Staging { directory, .. } => {
                self.staged.insert(path_of(&directory));
            }
            Record::UndoTasks { step, tasks } => {
                if let Some(past) = self.step(step) {
                    past.step.undo = tasks;
                }
            }
            Record::Reverting => {}
            Record::Undone { part, what, changed } => {
                self.told.push(RevertedStep { seq: part.step(), what, changed, failed: None });
                self.done.insert(part);
            }
        }
    }

    fn step(&mut self, seq: u64) -> Option<&mut Past> {
        self.steps.iter_mut().rev().find(|past| past.step.seq == seq)
    }

    /// Every object with its oldest state, and with the last state that we left it in, in the order first recorded.
    pub(super) fn oldest(&self) -> Vec<(&Before, Option<&State>)> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for before in self.steps.iter().flat_map(|past| &past.before) {
            if seen.insert(&before.object) {
                let left = self.steps.iter().rev().find_map(|past| past.after.get(&before.object));
                found.push((before, left));
            }
        }
        found
    }

    /// Handlers that a revert runs again: those that had started and that a restored step notified, each call once, in
    /// definition order (R8).
    pub(super) fn handlers(&self) -> Vec<&Past> {
        let notified: BTreeSet<&str> = self
            .steps
            .iter()
            .filter(|past| past.is_restored())
            .flat_map(|past| past.step.notify.iter().map(String::as_str))
            .collect();
        let mut found: Vec<(usize, &Past)> = Vec::new();
        for past in self.steps.iter().filter(|past| !past.has_exact_undo()) {
            let Some((position, name)) = &past.step.handler else { continue };
            let again = |other: &Past| {
                other.again.as_ref().map(|task| &task.call) == past.again.as_ref().map(|task| &task.call)
            };
            if notified.contains(name.as_str()) && !found.iter().any(|(at, other)| at == position && again(other)) {
                found.push((*position, past));
            }
        }
        found.sort_by_key(|(position, _)| *position);
        found.into_iter().map(|(_, past)| past).collect()
    }
}

impl Part {
    fn step(&self) -> Option<u64> {
        match self {
            Self::Object { step, .. } | Self::Task { step, .. } | Self::Handler { step } => Some(*step),
            Self::Unit { .. } | Self::Rollback { .. } => None,
        }
    }
}

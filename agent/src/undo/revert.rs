//! Undoing a transaction (rollout.md R8): steps in reverse, handlers again, unit states, `rollback:` tasks. Idempotent:
//! each part is written to the log when it is done, and a part cut short is found by looking.

use super::account::Accounts;
use super::history::{History, Past};
use super::log::Log;
use super::object::{Outcome, Place};
use super::record::{Object, Part, Record, State, TxnState, path_of};
use super::rerun::run_bundled;
use super::txn::{KEPT_MS, Transaction};
use super::unit::{UnitState, restore_enablement, systemctl, unit_state};
use super::{Generation, UndoError, now_ms};
use crate::fault;
use crate::protocol::{BundledTask, RevertReport, RevertedStep};
use crate::serve::Control;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// How often a part is tried before it has failed (R8), and how long to wait before each next try.
const WAITS: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(1)];

/// A unit's directories: files changed below them need a daemon-reload.
const UNIT_DIRECTORIES: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// How much of a revert to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Whole,
    /// What can be done before a booting host has started its services: files and accounts, from the last step on, up to
    /// the first `undo:` task. The transaction stays half undone.
    BeforeBoot,
}

/// What a revert needs.
pub struct Revert<'a> {
    /// The agent's state directory.
    pub state_dir: &'a Path,
    /// The transaction.
    pub txn: &'a str,
    /// The account files.
    pub accounts: Accounts,
    /// The request's control; a revert is critical.
    pub control: Control,
    /// How much of it to do.
    pub scope: Scope,
    /// Told of every part as it is done.
    pub progress: &'a dyn Fn(&RevertedStep),
}

/// Undoes a transaction, under the host's lock. A part that fails three times stops it there and is in the report.
///
/// # Errors
/// [`UndoError`] if the record cannot be read or written, or the transaction is superseded by a later generation.
pub fn revert(request: &Revert<'_>) -> Result<RevertReport, UndoError> {
    let transaction = Transaction::open(request.state_dir, request.txn)?;
    let standing = transaction.standing()?;
    let (log, records) = transaction.log()?;
    let history = History::of(records);
    if standing.state == TxnState::Reverted {
        let no_op = history.steps.is_empty();
        return Ok(RevertReport { done: history.told, failed: None, drifted: Vec::new(), no_op });
    }
    if standing.state == TxnState::Kept
        && let Some(since) = changed_since(request.state_dir, &transaction)?
    {
        return Err(UndoError::Fenced(format!(
            "transaction {} of generation {} was kept, and generation {} of run {} has changed this host since",
            request.txn, transaction.manifest.generation, since.generation, since.run
        )));
    }
    transaction.set_standing(TxnState::Reverting, None)?;
    // Temporary files that a killed agent left.
    history.staged.iter().for_each(|directory| crate::files::sweep(directory));
    if history.steps.is_empty() {
        transaction.set_standing(TxnState::Reverted, Some(now_ms() + KEPT_MS))?;
        return Ok(RevertReport { done: Vec::new(), failed: None, drifted: Vec::new(), no_op: true });
    }
    let mut reverting = Reverting {
        request,
        transaction: &transaction,
        history: &history,
        log,
        report: RevertReport { done: Vec::new(), failed: None, drifted: Vec::new(), no_op: false },
        visited: 0,
    };
    reverting.log.append(&[Record::Reverting])?;
    if reverting.run()? {
        transaction.set_standing(TxnState::Reverted, Some(now_ms() + KEPT_MS))?;
    }
    Ok(reverting.report)
}

/// A later run whose change may be in place on this host. One that has recorded no change, or is undone, is none.
fn changed_since(state_dir: &Path, transaction: &Transaction) -> Result<Option<Generation>, UndoError> {
    let own = &transaction.manifest;
    let seen = Generation::read(state_dir)?;
    if seen.generation <= own.generation || seen.run == own.run {
        return Ok(None);
    }
    let mut harmless = BTreeSet::new();
    for other in Transaction::all(state_dir)? {
        let (generation, run) = (other.manifest.generation, other.manifest.run.clone());
        if generation <= own.generation || run == own.run {
            continue;
        }
        let may_stand = match other.standing()?.state {
            TxnState::Reverted => false,
            TxnState::Kept => !History::of(other.log()?.1).steps.is_empty(),
            TxnState::Open | TxnState::Reverting => true,
        };
        if may_stand {
            return Ok(Some(Generation { generation, run }));
        }
        harmless.insert(generation);
    }
    // Of a run whose record has been pruned nobody knows what it did.
    let all_known = (own.generation + 1..=seen.generation).all(|generation| harmless.contains(&generation));
    Ok(if all_known { None } else { Some(seen) })
}

struct Reverting<'a> {
    request: &'a Revert<'a>,
    transaction: &'a Transaction,
    history: &'a History,
    log: Log,
    report: RevertReport,
    /// Parts come to so far, done before or not.
    visited: u64,
}

/// Whether to go on.
type Go = bool;

impl Reverting<'_> {
    fn run(&mut self) -> Result<Go, UndoError> {
        for past in self.history.steps.iter().rev() {
            if !self.objects(past)? || self.must_wait(past) || !self.undo_tasks(past)? {
                return Ok(false);
            }
        }
        self.reload_units();
        if self.request.scope == Scope::BeforeBoot {
            return Ok(false);
        }
        Ok(self.handlers()? && self.units()? && self.rollback_tasks()?)
    }

    fn objects(&mut self, past: &Past) -> Result<Go, UndoError> {
        let place = Place {
            transaction: self.transaction,
            accounts: &self.request.accounts,
            control: &self.request.control,
            state_dir: self.request.state_dir,
        };
        for (index, before) in past.before.iter().enumerate().rev() {
            let part = Part::Object { step: past.step.seq, index };
            let fault = self.visit(1);
            if self.history.done.contains(&part) {
                continue;
            }
            let what = format!("restore {}", before.object);
            let seq = Some(past.step.seq);
            match attempts(&fault, || place.put_back(before, past.after.get(&before.object))) {
                Ok(Outcome::Already) => self.done(part, seq, what, false)?,
                Ok(Outcome::Restored(how)) => self.done(part, seq, format!("{what}{how}"), true)?,
                Ok(Outcome::NotEmpty) => {
                    self.report.drifted.push(before.object.to_string());
                    self.done(part, seq, format!("keep {}: it is not empty", before.object), false)?;
                }
                Ok(Outcome::Differs(how)) => {
                    self.report.drifted.push(format!("{}: {how}", before.object));
                    self.done(part, seq, format!("{what}, but {how}"), true)?;
                }
                Ok(Outcome::Drifted { ours }) => {
                    self.report.drifted.push(before.object.to_string());
                    let ours = ours.map(|ours| format!("; what was there before is in {}", ours.display()));
                    let reason = format!(
                        "drifted: {} is neither as this run left it nor as it was before; it is kept as it is{}",
                        before.object,
                        ours.unwrap_or_default()
                    );
                    return Ok(self.failed(seq, what, reason));
                }
                Err(error) => return Ok(self.failed(seq, what, error.to_string())),
            }
        }
        Ok(true)
    }

    /// Whether a step's `undo:` tasks are still to run, and the host is not up for them yet.
    fn must_wait(&self, past: &Past) -> bool {
        let left = |index| !self.history.done.contains(&Part::Task { step: past.step.seq, index });
        self.request.scope == Scope::BeforeBoot && past.may_have_changed() && (0..past.step.undo.len()).any(left)
    }

    fn undo_tasks(&mut self, past: &Past) -> Result<Go, UndoError> {
        if !past.may_have_changed() {
            return Ok(true);
        }
        for (index, task) in past.step.undo.iter().enumerate() {
            let part = Part::Task { step: past.step.seq, index };
            if !self.task(part, Some(past.step.seq), format!("undo {}", task.name), task)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn handlers(&mut self) -> Result<Go, UndoError> {
        for past in self.history.handlers() {
            let seq = past.step.seq;
            let name = past.step.handler.as_ref().map(|(_, name)| name.as_str()).unwrap_or_default();
            let Some(task) = &past.again else { continue };
            if !self.task(Part::Handler { step: seq }, Some(seq), format!("handler {name}"), task)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn rollback_tasks(&mut self) -> Result<Go, UndoError> {
        for (index, task) in self.transaction.rollback()?.iter().enumerate() {
            if !self.task(Part::Rollback { index }, None, format!("rollback {}", task.name), task)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn task(&mut self, part: Part, seq: Option<u64>, what: String, task: &BundledTask) -> Result<Go, UndoError> {
        let fault = self.visit(1);
        if self.history.done.contains(&part) {
            return Ok(true);
        }
        match attempts(&fault, || run_bundled(task, self.request.state_dir, &self.request.control)) {
            Ok(changed) => {
                self.done(part, seq, what, changed)?;
                Ok(true)
            }
            Err(error) => Ok(self.failed(seq, what, error.to_string())),
        }
    }

    /// Lets systemd read restored unit files, before a handler restarts from them.
    fn reload_units(&mut self) {
        let touched = self.history.steps.iter().flat_map(|past| &past.before).any(|before| match &before.object {
            Object::Path(path) => UNIT_DIRECTORIES.iter().any(|directory| path_of(path).starts_with(directory)),
            _ => false,
        });
        if touched && let Err(error) = systemctl(&["daemon-reload"], &self.request.control) {
            // A host whose files are back goes on: what depends on the reload fails by itself and says so.
            self.tell(RevertedStep {
                seq: None,
                what: "systemctl daemon-reload".to_owned(),
                changed: false,
                failed: Some(error.to_string()),
            });
        }
    }

    /// Puts enablement back unit by unit, then stops and starts together what belongs together.
    fn units(&mut self) -> Result<Go, UndoError> {
        let units: Vec<(String, UnitState)> = self
            .history
            .oldest()
            .into_iter()
            .filter_map(|(before, _)| match (&before.object, &before.state) {
                (Object::Unit(name), State::Unit(state)) => Some((name.clone(), state.clone())),
                _ => None,
            })
            .collect();
        let mut touched = std::collections::BTreeSet::new();
        let control = self.request.control.clone();
        let fault = self.visit(units.len() as u64);
        let result = attempts(&fault, || {
            for (name, before) in &units {
                if restore_enablement(name, before, &control)? {
                    touched.insert(name.clone());
                }
            }
            for run in [false, true] {
                let mut names = Vec::new();
                for (name, before) in &units {
                    if before.runs() == run && unit_state(name, &control)?.runs() != run {
                        names.push(name.as_str());
                    }
                }
                touched.extend(names.iter().map(|name| (*name).to_owned()));
                switch(&names, run, &control)?;
            }
            Ok(())
        });
        if let Err(error) = result {
            return Ok(self.failed(None, "restore units".to_owned(), error.to_string()));
        }
        for (name, before) in units {
            let what = format!("unit {name} {}", before.describe());
            let changed = touched.contains(&name);
            self.done(Part::Unit { name }, None, what, changed)?;
        }
        Ok(true)
    }

    /// Comes to the next parts, as many as are tried as one.
    fn visit(&mut self, parts: u64) -> fault::Undo {
        let first = self.visited + 1;
        self.visited += parts;
        fault::undo(self.request.state_dir, first..=self.visited)
    }

    fn done(&mut self, part: Part, seq: Option<u64>, what: String, changed: bool) -> Result<(), UndoError> {
        self.log.append(&[Record::Undone { part, what: what.clone(), changed }])?;
        self.tell(RevertedStep { seq, what, changed, failed: None });
        Ok(())
    }

    fn failed(&mut self, seq: Option<u64>, what: String, reason: String) -> Go {
        self.report.failed = Some(format!("{what}: {reason}"));
        self.tell(RevertedStep { seq, what, changed: false, failed: Some(reason) });
        false
    }

    fn tell(&mut self, step: RevertedStep) {
        (self.request.progress)(&step);
        self.report.done.push(step);
    }
}

fn switch(names: &[&str], run: bool, control: &Control) -> Result<(), UndoError> {
    if names.is_empty() {
        return Ok(());
    }
    if run {
        // What failed too often before would refuse to start now.
        systemctl(&[&["reset-failed", "--"], names].concat(), control)?;
    }
    systemctl(&[&[if run { "start" } else { "stop" }, "--"], names].concat(), control)
}

fn attempts<T>(fault: &fault::Undo, mut attempt: impl FnMut() -> Result<T, UndoError>) -> Result<T, UndoError> {
    let mut attempt = || fault.around(&mut attempt);
    for wait in WAITS {
        if let Ok(done) = attempt() {
            return Ok(done);
        }
        std::thread::sleep(wait);
    }
    attempt()
}

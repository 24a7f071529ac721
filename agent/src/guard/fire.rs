//! Firing: fencing the host, reverting it and comparing, with everything on record.

use super::clock::Now;
use super::hung;
use super::record::{Guard, GuardLock};
use crate::protocol::{GuardCause, GuardFired, GuardReport, GuardState, RevertReport, RevertedStep};
use crate::serve::Control;
use crate::undo::{Accounts, Generation, Revert, Scope, Transaction, TxnState, UndoError, now_ms, revert, verify};
use std::path::Path;
use std::time::Duration;

/// Waits before each next try where the record itself cannot be written (a full disk, say).
const WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];

/// What came of an attempt to fire.
#[derive(Debug)]
pub(super) enum Shot {
    /// There is nothing to do: confirmed, reverted, or extended meanwhile.
    Held(Box<GuardReport>),
    /// It has reverted, or failed to.
    Done(Box<GuardReport>),
}

/// A shot about to be fired.
pub(super) struct Fire<'a> {
    pub(super) state_dir: &'a Path,
    pub(super) transaction: &'a Transaction,
    /// What the guard has read before.
    pub(super) known: Option<&'a Guard>,
    /// Somebody on the host wants it whether or not the deadline has passed.
    pub(super) by_hand: bool,
    /// Everything, or what may be done before the host has booted.
    pub(super) scope: Scope,
    pub(super) progress: &'a dyn Fn(&RevertedStep),
}

impl Fire<'_> {
    /// Waits for the host's lock, decides, and reverts.
    pub(super) fn fire(&self) -> Result<Shot, UndoError> {
        let patience = self.known.map_or(0, |known| known.record.revert_budget_ms);
        let patience = Duration::from_millis(patience).max(hung::LEAST);
        let is_step = || Ok(self.transaction.standing()?.state == TxnState::Open);
        let _host = hung::take_lock(self.state_dir, patience, is_step)?;
        let dir = &self.transaction.dir;
        let mut guard = {
            let _lock = GuardLock::take(dir)?;
            let now = Now::read()?;
            let mut guard = Guard::load(dir, self.known).ok_or_else(|| self.no_guard())?;
            if !self.may_fire(&mut guard, &now)? {
                return Ok(Shot::Held(Box::new(guard.report(self.transaction, &now))));
            }
            let cause = if self.by_hand { GuardCause::Operator } else { guard.cause(&now) };
            let earlier = guard.record.fired.take();
            let cause = earlier.as_ref().map_or(cause, |fired| fired.cause);
            let begun_ms = earlier.map_or_else(now_ms, |fired| fired.begun_ms);
            guard.record.fired = Some(GuardFired::begun(cause, begun_ms));
            guard.record.enter(GuardState::Reverting);
            guard.record.save(dir)?;
            guard
        };
        self.fence()?;
        let outcome = self.revert();
        if self.scope == Scope::BeforeBoot {
            // The other part tries again what did not work so early.
            outcome?;
            return Ok(Shot::Done(Box::new(guard.report(self.transaction, &Now::read()?))));
        }
        self.settle(&mut guard, outcome);
        let _lock = GuardLock::take(dir)?;
        retried(|| guard.record.save(dir))?;
        Ok(Shot::Done(Box::new(guard.report(self.transaction, &Now::read()?))))
    }

    /// Decides under both locks, and settles what others have decided meanwhile.
    fn may_fire(&self, guard: &mut Guard, now: &Now) -> Result<bool, UndoError> {
        let dir = &self.transaction.dir;
        let standing = self.transaction.standing()?.state;
        let settled = match standing {
            TxnState::Kept if guard.record.is_live() => Some(GuardState::Confirmed),
            TxnState::Reverted if guard.record.state == GuardState::Armed => Some(GuardState::Reverted),
            _ => None,
        };
        if let Some(state) = settled {
            guard.record.enter(state);
            guard.record.save(dir)?;
        }
        if self.by_hand {
            return Ok(standing != TxnState::Reverted);
        }
        guard.allow_reboot(dir, now)?;
        Ok(match guard.record.state {
            GuardState::Armed => guard.is_late(now),
            GuardState::Reverting => true,
            GuardState::Confirmed | GuardState::Reverted | GuardState::RevertedByGuard | GuardState::RevertFailed => {
                false
            }
        })
    }

    /// Raises the generation, so that a sleeping controller is refused (S9). The run stays: it is its own change.
    fn fence(&self) -> Result<(), UndoError> {
        let manifest = &self.transaction.manifest;
        retried(|| {
            let seen = Generation::read(self.state_dir)?;
            if seen.generation > manifest.generation {
                return Ok(());
            }
            Generation::admit(self.state_dir, manifest.generation.saturating_add(1), &manifest.run)
        })
    }

    fn revert(&self) -> Result<RevertReport, UndoError> {
        retried(|| {
            revert(&Revert {
                state_dir: self.state_dir,
                txn: &self.transaction.manifest.txn,
                accounts: Accounts::default(),
                control: Control::default().critical(),
                scope: self.scope,
                progress: self.progress,
            })
        })
    }

    fn settle(&self, guard: &mut Guard, outcome: Result<RevertReport, UndoError>) {
        let mut state = GuardState::RevertFailed;
        if let Some(fired) = &mut guard.record.fired {
            match outcome {
                Ok(report) => {
                    let accounts = Accounts::default();
                    match verify(self.state_dir, &self.transaction.manifest.txn, &accounts, &Control::default()) {
                        Ok(verified) => {
                            if report.failed.is_none() && verified.different.is_empty() {
                                state = GuardState::RevertedByGuard;
                            }
                            fired.verify = Some(verified);
                        }
                        Err(error) => fired.error = Some(error.to_string()),
                    }
                    fired.revert = Some(report);
                }
                Err(error) => fired.error = Some(error.to_string()),
            }
            fired.ended_ms = Some(now_ms());
        }
        guard.record.enter(state);
    }

    fn no_guard(&self) -> UndoError {
        UndoError::Other(format!("transaction {} has no guard", self.transaction.manifest.txn))
    }
}

fn retried<T>(mut attempt: impl FnMut() -> Result<T, UndoError>) -> Result<T, UndoError> {
    for wait in WAITS {
        match attempt() {
            Err(UndoError::Io(_) | UndoError::File(_)) => std::thread::sleep(wait),
            other => return other,
        }
    }
    attempt()
}

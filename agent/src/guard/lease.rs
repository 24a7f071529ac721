//! What a controller asks of a guard: arm, extend, confirm, cancel, status.

use super::clock::Now;
use super::form;
use super::record::{Deadline, Guard, GuardLock, GuardRecord};
use super::{GuardError, ensure_running, units};
use crate::protocol::{GuardArm, GuardCause, GuardForm, GuardReport, GuardState};
use crate::serve::Control;
use crate::undo::{HostLock, Transaction, TxnState, UndoError, is_txn_id};
use std::path::Path;
use std::time::Duration;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// The agent's state directory.
    pub state_dir: &'a Path,
    /// The agent executable, which a guard runs.
    pub agent: &'a Path,
    /// The run of the channel; none for root on the host itself, who needs no nonce.
    pub run: Option<&'a str>,
}

impl Holder<'_> {
    pub(super) fn transaction(&self, txn: &str) -> Result<Transaction, GuardError> {
        let transaction = Transaction::open(self.state_dir, txn)?;
        let owner = &transaction.manifest.run;
        match self.run {
            Some(run) if run != owner => {
                Err(GuardError::Refused(format!("transaction {txn} is of run {owner}; run {run} is refused")))
            }
            _ => Ok(transaction),
        }
    }
}

/// Arms the guard of an open transaction, and returns when something watches its deadline. Under the host's lock.
///
/// # Errors
/// [`GuardError`].
pub fn arm(holder: &Holder<'_>, arm: &GuardArm) -> Result<GuardReport, GuardError> {
    let transaction = holder.transaction(&arm.txn)?;
    let dir = &transaction.dir;
    if !is_txn_id(&arm.nonce) || arm.timeout_ms == 0 {
        return Err(GuardError::Unarmed("a nonce is 32 hexadecimal digits, and a timeout more than 0".to_owned()));
    }
    if transaction.standing()?.state != TxnState::Open {
        return Err(GuardError::Refused(format!("transaction {} is no longer open", arm.txn)));
    }
    if Guard::load(dir, None).is_some() {
        return extend(holder, &arm.txn, &arm.nonce);
    }
    let chosen = form::choose(holder);
    {
        let now = Now::read()?;
        let _lock = GuardLock::take(dir)?;
        // First the deadline: without a record there is no guard yet.
        Deadline::after(&now, arm.timeout_ms.saturating_add(arm.delay_ms)).save(dir)?;
        GuardRecord::armed(arm, chosen.form, chosen.weak).save(dir)?;
    }
    watch(holder, &transaction)?;
    look(&transaction)
}

/// Starts the guard; by a process of its own where systemd does not start it.
fn watch(holder: &Holder<'_>, transaction: &Transaction) -> Result<(), GuardError> {
    let Err(error) = ensure_running(holder, transaction) else { return Ok(()) };
    let Some(mut guard) = Guard::load(&transaction.dir, None) else { return Err(error) };
    if guard.record.form == GuardForm::Process {
        return Err(error);
    }
    {
        let _lock = GuardLock::take(&transaction.dir)?;
        (guard.record.form, guard.record.weak) = (GuardForm::Process, Some(error.to_string()));
        guard.record.save(&transaction.dir)?;
    }
    ensure_running(holder, transaction)
}

/// Moves the deadline. Needs the guard's lock only.
///
/// # Errors
/// [`GuardError::Lost`] when it is too late.
pub fn extend(holder: &Holder<'_>, txn: &str, nonce: &str) -> Result<GuardReport, GuardError> {
    let transaction = holder.transaction(txn)?;
    let now = Now::read()?;
    let report = {
        let _lock = GuardLock::take(&transaction.dir)?;
        let mut guard = admitted(holder, &transaction, Some(nonce), &now)?;
        if guard.record.state == GuardState::Armed {
            guard.renew(&transaction.dir, &now)?;
        }
        guard.report(&transaction, &now)
    };
    if report.state == GuardState::Armed {
        ensure_running(holder, &transaction)?;
    }
    Ok(report)
}

/// Keeps the change. Without a nonce only for root on the host itself.
///
/// # Errors
/// [`GuardError::Lost`] when it is too late.
pub fn confirm(
    holder: &Holder<'_>,
    txn: &str,
    nonce: Option<&str>,
    control: &Control,
) -> Result<GuardReport, GuardError> {
    let transaction = holder.transaction(txn)?;
    loop {
        // Who has lost is told so at once, not when the revert has let go of the host's lock.
        let host = HostLock::take_now(holder.state_dir)?;
        let now = Now::read()?;
        let lock = GuardLock::take(&transaction.dir)?;
        let mut guard = admitted(holder, &transaction, nonce, &now)?;
        if guard.record.state == GuardState::Confirmed {
            return Ok(guard.report(&transaction, &now));
        }
        if host.is_some() {
            transaction.confirm()?;
            guard.record.enter(GuardState::Confirmed);
            guard.record.save(&transaction.dir)?;
            return Ok(guard.report(&transaction, &now));
        }
        if control.ended().is_some() {
            return Err(GuardError::Refused("another request still holds this host's lock".to_owned()));
        }
        drop(lock);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends the lease now; the guard reverts.
///
/// # Errors
/// [`GuardError`].
pub fn cancel(holder: &Holder<'_>, txn: &str, nonce: &str) -> Result<GuardReport, GuardError> {
    let transaction = holder.transaction(txn)?;
    let now = Now::read()?;
    let report = {
        let _lock = GuardLock::take(&transaction.dir)?;
        let mut guard = admitted(holder, &transaction, Some(nonce), &now)?;
        if guard.record.state != GuardState::Armed {
            return Err(GuardError::Refused(format!("transaction {txn} is confirmed; it is undone by a revert")));
        }
        guard.record.ended_by = Some(GuardCause::Cancelled);
        guard.record.save(&transaction.dir)?;
        guard.report(&transaction, &now)
    };
    ensure_running(holder, &transaction)?;
    Ok(report)
}

/// The guards of a host: one transaction's, or all. Starts one that is not watched any more.
///
/// # Errors
/// [`UndoError`].
pub fn status(holder: &Holder<'_>, txn: Option<&str>) -> Result<Vec<GuardReport>, GuardError> {
    let transactions = match txn {
        None => Transaction::all(holder.state_dir)?,
        Some(txn) => match Transaction::open(holder.state_dir, txn) {
            Ok(transaction) => vec![transaction],
            Err(UndoError::NoTransaction(_)) => Vec::new(),
            Err(error) => return Err(error.into()),
        },
    };
    let now = Now::read()?;
    let mut reports = Vec::new();
    for transaction in transactions {
        if let Some(guard) = Guard::load(&transaction.dir, None) {
            // What cannot be started now, the next contact tries again.
            let _tried = ensure_running(holder, &transaction);
            reports.push(guard.report(&transaction, &now));
        }
    }
    Ok(reports)
}

/// Starts the guards that are not watched any more; what cannot be started now, the next contact tries again.
pub fn revive(holder: &Holder<'_>) {
    for transaction in Transaction::all(holder.state_dir).unwrap_or_default() {
        let _tried = ensure_running(holder, &transaction);
    }
}

/// Refuses a step of a transaction whose guard is no longer armed.
///
/// # Errors
/// [`UndoError::Fenced`].
pub fn still_armed(transaction: &Transaction) -> Result<(), UndoError> {
    let Some(guard) = Guard::load(&transaction.dir, None) else { return Ok(()) };
    if guard.record.state == GuardState::Armed && !guard.is_late(&Now::read()?) {
        return Ok(());
    }
    Err(UndoError::Fenced(format!("the guard of transaction {} is no longer armed", transaction.manifest.txn)))
}

/// Refuses to keep what nobody has confirmed.
///
/// # Errors
/// [`UndoError::Fenced`].
pub fn forbid_keeping(transaction: &Transaction) -> Result<(), UndoError> {
    match Guard::load(&transaction.dir, None) {
        Some(guard) if guard.record.is_live() => {
            let txn = &transaction.manifest.txn;
            Err(UndoError::Fenced(format!("the change of transaction {txn} has not been confirmed")))
        }
        _ => Ok(()),
    }
}

/// After a revert that was not the guard's: it has nothing to do any more. Under the host's lock.
///
/// # Errors
/// [`UndoError`].
pub fn settle_reverted(transaction: &Transaction) -> Result<(), UndoError> {
    let had_failed = {
        let _lock = GuardLock::take(&transaction.dir)?;
        let Some(mut guard) = Guard::load(&transaction.dir, None) else { return Ok(()) };
        if transaction.standing()?.state != TxnState::Reverted || guard.record.state == GuardState::RevertedByGuard {
            return Ok(());
        }
        let had_failed = guard.record.state == GuardState::RevertFailed && guard.record.form == GuardForm::Systemd;
        guard.record.enter(GuardState::Reverted);
        guard.record.save(&transaction.dir)?;
        had_failed
    };
    if had_failed {
        units::forget_failure(&transaction.manifest.txn);
    }
    Ok(())
}

pub(super) fn look(transaction: &Transaction) -> Result<GuardReport, GuardError> {
    let guard = Guard::load(&transaction.dir, None);
    let guard = guard.ok_or_else(|| no_guard(&transaction.manifest.txn))?;
    Ok(guard.report(transaction, &Now::read()?))
}

fn no_guard(txn: &str) -> GuardError {
    GuardError::Refused(format!("transaction {txn} has no guard"))
}

/// The guard, if it is armed and in time, or confirmed already, and the nonce is its own. Under the guard's lock.
fn admitted(
    holder: &Holder<'_>,
    transaction: &Transaction,
    nonce: Option<&str>,
    now: &Now,
) -> Result<Guard, GuardError> {
    let txn = &transaction.manifest.txn;
    let mut guard = Guard::load(&transaction.dir, None).ok_or_else(|| no_guard(txn))?;
    let known = nonce.map_or(holder.run.is_none(), |nonce| guard.record.knows(nonce));
    if !known {
        return Err(GuardError::Refused(format!("the guard of transaction {txn} was armed with another nonce")));
    }
    let lost = |what: &str| Err(GuardError::Lost(format!("the guard of transaction {txn} {what}")));
    match guard.record.state {
        GuardState::Confirmed => return Ok(guard),
        GuardState::Reverting => return lost("has fired; it is reverting this host"),
        GuardState::RevertedByGuard => return lost("has fired; it has reverted this host"),
        GuardState::RevertFailed => return lost("has fired; it could not put everything back"),
        GuardState::Reverted => return lost("has nothing to keep: this host has been reverted"),
        GuardState::Armed => {}
    }
    guard.allow_reboot(&transaction.dir, now)?;
    match transaction.standing()?.state {
        // Kept, and cut short before the guard's record said so.
        TxnState::Kept => guard.record.enter(GuardState::Confirmed),
        TxnState::Open if !guard.is_late(now) => {}
        TxnState::Open => return lost("was not confirmed before its deadline; it reverts this host"),
        TxnState::Reverting => return lost("has nothing to keep: this host is being reverted"),
        TxnState::Reverted => return lost("has nothing to keep: this host has been reverted"),
    }
    Ok(guard)
}

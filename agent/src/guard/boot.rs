//! After a reboot: what was armed and not confirmed is reverted, and a revert that was under way goes on, in two parts.
//! Before the host's services start, what needs none of them; when it is up, the rest, by each transaction's own guard.

use super::clock::Now;
use super::fire::Fire;
use super::record::{Guard, GuardLock};
use super::units;
use crate::protocol::{GuardState, RevertedStep};
use crate::serve::Control;
use crate::undo::{Scope, Transaction, TxnState, UndoError, hold_half_way};
use std::path::Path;

/// Puts back what can be put back before services start. `told` gets a line for everything done and everything that
/// went wrong; one transaction's trouble stops no other.
///
/// # Errors
/// [`UndoError`] if the state directory cannot be read.
pub fn boot(state_dir: &Path, told: &dyn Fn(&str)) -> Result<(), UndoError> {
    each(state_dir, told, |transaction| {
        transaction.check_private()?;
        let reverted = revert_if_due(state_dir, transaction, told);
        for unit in hold_half_way(state_dir, transaction, &Control::default())? {
            told(&format!("transaction {}: {unit} may not start: its data is half way", transaction.manifest.txn));
        }
        reverted
    })
}

fn revert_if_due(state_dir: &Path, transaction: &Transaction, told: &dyn Fn(&str)) -> Result<(), UndoError> {
    let now = Now::read()?;
    let guard = {
        let _lock = GuardLock::take(&transaction.dir)?;
        let known = Guard::load(&transaction.dir, None);
        if transaction.standing()?.state == TxnState::Reverting {
            let guard = Guard::resumed(known);
            guard.record.save(&transaction.dir)?;
            guard
        } else {
            let Some(mut guard) = known else { return Ok(()) };
            guard.allow_reboot(&transaction.dir, &now)?;
            guard
        }
    };
    let is_due =
        guard.record.state == GuardState::Reverting || (guard.record.state == GuardState::Armed && guard.is_late(&now));
    if !is_due {
        return Ok(());
    }
    let txn = &transaction.manifest.txn;
    let tell = |step: &RevertedStep| told(&line(txn, step));
    let scope = Scope::BeforeBoot;
    Fire { state_dir, transaction, known: Some(&guard), by_hand: false, scope, progress: &tell }.fire().map(|_| ())
}

/// Starts the guards of what is still armed or half reverted.
///
/// # Errors
/// [`UndoError`] if the state directory cannot be read.
pub fn booted(state_dir: &Path, told: &dyn Fn(&str)) -> Result<(), UndoError> {
    each(state_dir, told, |transaction| match Guard::load(&transaction.dir, None) {
        Some(guard) if guard.record.is_live() => {
            told(&format!("transaction {}: its guard goes on", transaction.manifest.txn));
            units::start_later(&transaction.manifest.txn)
        }
        _ => Ok(()),
    })
}

fn each(
    state_dir: &Path,
    told: &dyn Fn(&str),
    mut work: impl FnMut(&Transaction) -> Result<(), UndoError>,
) -> Result<(), UndoError> {
    for txn in Transaction::ids(state_dir)? {
        if let Err(error) = Transaction::open(state_dir, &txn).and_then(|transaction| work(&transaction)) {
            told(&format!("transaction {txn}: {error}"));
        }
    }
    Ok(())
}

/// One part of a revert as a line for people.
pub(super) fn line(txn: &str, step: &RevertedStep) -> String {
    let how = match (&step.failed, step.changed) {
        (Some(why), _) => format!(" failed: {why}"),
        (None, true) => String::new(),
        (None, false) => " (it was so already)".to_owned(),
    };
    format!("transaction {txn}: {}{how}", step.what)
}

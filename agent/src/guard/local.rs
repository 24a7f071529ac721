//! What root may do with guards on the host itself, without a controller and without a nonce.

use super::GuardError;
use super::boot::line;
use super::clock::Now;
use super::fire::{Fire, Shot};
use super::lease::{Holder, confirm};
use super::record::Guard;
use super::units;
use crate::protocol::{GuardForm, GuardReport, GuardState, RevertedStep};
use crate::serve::Control;
use crate::undo::{Scope, Transaction, UndoError};
use std::path::Path;

/// Keeps the change.
///
/// # Errors
/// [`GuardError`].
pub fn confirm_here(state_dir: &Path, txn: &str) -> Result<GuardReport, GuardError> {
    confirm(&Holder { state_dir, agent: Path::new(""), run: None }, txn, None, &Control::default())
}

/// Reverts now, in this process; `told` gets a line for everything done. A change that was confirmed is undone, too,
/// as long as its record is there and no later run has changed the host.
///
/// # Errors
/// [`GuardError`].
pub fn revert_here(state_dir: &Path, txn: &str, told: &dyn Fn(&str)) -> Result<GuardReport, GuardError> {
    let transaction = Transaction::open(state_dir, txn)?;
    if Guard::load(&transaction.dir, None).is_none() {
        return Err(UndoError::Other(format!("transaction {txn} has no guard; `rollgate rollback` undoes it")).into());
    }
    let tell = |step: &RevertedStep| told(&line(txn, step));
    let scope = Scope::Whole;
    let fire = Fire { state_dir, transaction: &transaction, known: None, by_hand: true, scope, progress: &tell };
    match fire.fire()? {
        Shot::Done(report) => {
            if report.state == GuardState::RevertedByGuard && report.form == GuardForm::Systemd {
                units::forget_failure(txn);
            }
            Ok(*report)
        }
        Shot::Held(_) => {
            let guard = Guard::load(&transaction.dir, None)
                .ok_or_else(|| GuardError::Refused(format!("transaction {txn} has no guard")))?;
            Ok(guard.report(&transaction, &Now::read()?))
        }
    }
}

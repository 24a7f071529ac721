//! Whether everything recorded is as before (rollout.md R28).

use super::UndoError;
use super::account::{AccountState, Accounts};
use super::history::History;
use super::lines::taken_back;
use super::record::{Object, State, path_of};
use super::recorder::state_of;
use super::txn::Transaction;
use crate::files::Kind;
use crate::protocol::{ObjectState, VerifyReport};
use crate::serve::Control;
use std::path::Path;

/// Compares every recorded object with its oldest pre-image. Changes nothing.
///
/// # Errors
/// [`UndoError`] if the record cannot be read or an object cannot be looked at.
pub fn verify(state_dir: &Path, txn: &str, accounts: &Accounts, control: &Control) -> Result<VerifyReport, UndoError> {
    let transaction = Transaction::open(state_dir, txn)?;
    let (_, records) = transaction.log()?;
    let history = History::of(records);
    let mut report = VerifyReport { compared: 0, different: Vec::new() };
    for (before, left) in history.oldest() {
        report.compared += 1;
        let now = state_of(&before.object, accounts, control)?;
        let same = match (&before.state, &now, left) {
            (State::Unit(before), State::Unit(now), _) => before.same(now),
            (State::Account(was), State::Account(now), Some(State::Account(left))) => as_before(was, left, now),
            (was, now, _) => was == now,
        };
        let same = same || before.shared && only_others_lines(&transaction, &before.object, &before.state, left)?;
        if !same {
            report.different.push(ObjectState {
                object: before.object.to_string(),
                expected: before.state.describe(),
                found: now.describe(),
            });
        }
    }
    Ok(report)
}

/// Whether a file that others write to as well differs only by their lines (R10).
fn only_others_lines(
    transaction: &Transaction,
    object: &Object,
    was: &State,
    left: Option<&State>,
) -> Result<bool, UndoError> {
    let (Object::Path(path), State::Path(was), Some(State::Path(left))) = (object, was, left) else { return Ok(false) };
    let path = path_of(path);
    let now = crate::files::fingerprint(&path)?;
    let Some(left) = left.sha256.as_ref().filter(|_| now.kind == Kind::File) else { return Ok(false) };
    let before = was.sha256.as_ref().map(|sha256| transaction.bytes(sha256)).transpose()?;
    // What a later step wrote there as a whole has no lines of ours to compare, and no bytes in the record.
    if !transaction.blob(left).exists() {
        return Ok(false);
    }
    let ours = transaction.bytes(left)?;
    Ok(taken_back(&before.unwrap_or_default(), &ours, &crate::files::read_file(&path)?))
}

/// Whether a user or group is as before, but for members that others gave a group since.
fn as_before(was: &AccountState, left: &AccountState, now: &AccountState) -> bool {
    was == now || was.merged(left, now) == *now
}

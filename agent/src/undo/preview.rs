//! What undoing a transaction would do, looked at and not done (`rollgate rollback RUN --check`, rollout.md R11).

use super::UndoError;
use super::account::Accounts;
use super::history::{Before, History};
use super::record::{Object, State, TxnState, path_of};
use super::recorder::state_of;
use super::txn::Transaction;
use crate::files::{PathState, fingerprint};
use crate::protocol::{Prospect, RevertPreview, TxnStanding, WouldUndo};
use crate::serve::Control;
use std::path::Path;

/// Looks at a transaction as a revert would. Changes nothing.
///
/// # Errors
/// [`UndoError`] if the record cannot be read or an object cannot be looked at. A transaction that is not there is no
/// error: its standing says so.
pub fn preview(
    state_dir: &Path,
    txn: &str,
    accounts: &Accounts,
    control: &Control,
) -> Result<RevertPreview, UndoError> {
    let transaction = match Transaction::open(state_dir, txn) {
        Ok(transaction) => transaction,
        Err(UndoError::NoTransaction(_)) => {
            return Ok(RevertPreview { standing: TxnStanding::Gone, would: Vec::new() });
        }
        Err(error) => return Err(error),
    };
    let standing = match transaction.standing()?.state {
        TxnState::Open => TxnStanding::Open,
        TxnState::Reverting => TxnStanding::Reverting,
        TxnState::Reverted => return Ok(RevertPreview { standing: TxnStanding::Reverted, would: Vec::new() }),
        TxnState::Kept => TxnStanding::Kept,
    };
    let (_, records) = transaction.log()?;
    let history = History::of(records);
    let mut would = Vec::new();
    for past in history.steps.iter().rev().filter(|past| past.may_have_changed()) {
        would.extend(past.step.undo.iter().rev().map(|task| run(format!("undo {}", task.name))));
    }
    let objects: Result<Vec<WouldUndo>, UndoError> =
        history.oldest().into_iter().rev().map(|(before, left)| object(before, left, accounts, control)).collect();
    would.extend(objects?);
    let names = history.handlers().into_iter().filter_map(|past| past.step.handler.as_ref());
    would.extend(names.map(|(_, name)| run(format!("handler {name}"))));
    if !history.steps.is_empty() {
        would.extend(transaction.rollback()?.iter().map(|task| run(format!("rollback {}", task.name))));
    }
    Ok(RevertPreview { standing, would })
}

fn run(what: String) -> WouldUndo {
    WouldUndo { what, prospect: Prospect::Run, before: String::new(), found: String::new() }
}

fn object(
    before: &Before,
    left: Option<&State>,
    accounts: &Accounts,
    control: &Control,
) -> Result<WouldUndo, UndoError> {
    let now = state_of(&before.object, accounts, control)?;
    let same = match (&before.state, &now) {
        (State::Unit(before), State::Unit(now)) => before.same(now),
        (before, now) => before == now,
    };
    let prospect = match (&before.object, &before.state, left) {
        _ if same => Prospect::AsBefore,
        (Object::Path(path), State::Path(state), left) if !before.shared => {
            let left = left.and_then(|left| if let State::Path(left) = left { Some(left) } else { None });
            if drifted(&fingerprint(&path_of(path))?, state, before, left) {
                Prospect::Drifted
            } else {
                Prospect::Restore
            }
        }
        _ => Prospect::Restore,
    };
    Ok(WouldUndo { what: before.object.to_string(), prospect, before: before.state.describe(), found: now.describe() })
}

/// Whether somebody else has changed it since: it is neither as we left it nor as it was (R10).
fn drifted(now: &PathState, was: &PathState, before: &Before, left: Option<&PathState>) -> bool {
    let ours = match (left, &before.intended) {
        (Some(left), _) => now.same_content(left),
        (None, Some(intended)) => now.sha256.as_ref() == Some(intended),
        (None, None) => true,
    };
    !ours && !now.same_content(was)
}

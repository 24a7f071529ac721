//! Putting one recorded object back, or finding that somebody else has changed it since (R10).

use super::UndoError;
use super::account::Accounts;
use super::bound::{self, BoundState};
use super::data_root::{self, DataRootState};
use super::history::Before;
use super::lines::take_back;
use super::record::{Object, State, path_of};
use super::txn::Transaction;
use super::unit::{restore_enablement, systemctl, unit_state};
use crate::files::{
    Final, Kind, PathState, Restored, Staged, copy_digesting, fingerprint, open_parent, read_file, restore,
};
use crate::serve::Control;
use std::path::{Path, PathBuf};

/// What putting an object back came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was so already.
    Already,
    /// It is so now; a sentence's end tells how, where that is not plain.
    Restored(&'static str),
    /// A directory that we made holds things that are not ours.
    NotEmpty,
    /// It is back, but not all of it is as it was.
    Differs(String),
    /// It is neither as we left it nor as it was: kept, and what we would have put there is beside the record.
    Drifted {
        /// Where ours is, if there were bytes to put back.
        ours: Option<PathBuf>,
    },
}

/// Where objects are put back.
pub(super) struct Place<'a> {
    pub(super) transaction: &'a Transaction,
    pub(super) accounts: &'a Accounts,
    pub(super) control: &'a Control,
    pub(super) state_dir: &'a Path,
}

impl Place<'_> {
    /// Puts one object back. `left` is the state that the step left it in, if that was recorded.
    pub(super) fn put_back(&self, before: &Before, left: Option<&State>) -> Result<Outcome, UndoError> {
        match (&before.object, &before.state) {
            (Object::Path(path), State::Path(state)) => {
                let left = match left {
                    Some(State::Path(left)) => Some(left),
                    _ => None,
                };
                self.path(&path_of(path), state, before, left)
            }
            (Object::User(name), State::Account(state)) => changed(self.accounts.restore_user(name, state)?),
            (Object::Group(name), State::Account(state)) => {
                let left = match left {
                    Some(State::Account(left)) => Some(left),
                    _ => None,
                };
                changed(self.accounts.restore_group(name, state, left)?)
            }
            // Its unit file is about to go: what runs from it goes first. Other units wait until all files are back.
            (Object::Unit(name), State::Unit(state)) if !state.exists() => {
                let now = unit_state(name, self.control)?;
                if now.runs() {
                    systemctl(&["stop", "--", name], self.control)?;
                }
                changed(restore_enablement(name, state, self.control)? || now.runs())
            }
            (Object::Unit(_), State::Unit(_)) => Ok(Outcome::Already),
            (Object::DataRoot { .. }, State::DataRoot(DataRootState::Remapped)) => Ok(Outcome::Already),
            (Object::DataRoot { record, .. }, State::DataRoot(_)) => {
                data_root::take_back(&path_of(record), self.state_dir, self.control)
            }
            (Object::Bound { .. }, State::Bound(BoundState::Given)) => Ok(Outcome::Already),
            (Object::Bound { record, .. }, State::Bound(_)) => bound::take_back(&path_of(record), self.state_dir),
            (object, _) => Err(UndoError::Other(format!("the record of {object} holds a state of another kind"))),
        }
    }

    fn path(
        &self,
        path: &Path,
        state: &PathState,
        before: &Before,
        left: Option<&PathState>,
    ) -> Result<Outcome, UndoError> {
        let now = fingerprint(path)?;
        if now == *state {
            return Ok(Outcome::Already);
        }
        let ours = match (left, &before.intended) {
            (Some(left), _) => now.same_content(left),
            (None, Some(intended)) => now.sha256.as_ref() == Some(intended),
            (None, None) if now.same_content(state) => true,
            // The step was cut short and nobody knows what it was writing: it is ours, and a copy is kept.
            (None, None) => {
                self.set_aside("found", path, &now, path)?;
                true
            }
        };
        if ours || now.same_content(state) {
            return Ok(match restore(path, state, self.bytes_of(state).as_deref())? {
                Restored::Already => Outcome::Already,
                Restored::Changed => Outcome::Restored(""),
                Restored::NotEmpty => Outcome::NotEmpty,
            });
        }
        if before.shared
            && let Some(outcome) = self.our_lines(path, state, before, left, &now)?
        {
            return Ok(outcome);
        }
        let ours = match self.bytes_of(state) {
            Some(blob) => self.set_aside("drifted", &blob, state, path)?,
            None => None,
        };
        Ok(Outcome::Drifted { ours })
    }

    /// Takes back only our lines. None where that cannot be told.
    fn our_lines(
        &self,
        path: &Path,
        state: &PathState,
        before: &Before,
        left: Option<&PathState>,
        now: &PathState,
    ) -> Result<Option<Outcome>, UndoError> {
        let left = left.and_then(|left| left.sha256.clone()).or_else(|| before.intended.clone());
        let is_text = |state: &PathState| matches!(state.kind, Kind::File | Kind::Absent);
        let (Some(left), true, Kind::File) = (left, is_text(state), now.kind) else { return Ok(None) };
        let was = state.sha256.as_deref().map(|sha256| self.transaction.bytes(sha256)).transpose()?.unwrap_or_default();
        let ours = self.transaction.bytes(&left)?;
        let found = read_file(path)?;
        let Some(text) = take_back(&was, &ours, &found) else { return Ok(None) };
        if text == found {
            return Ok(Some(Outcome::Already));
        }
        if text.is_empty() && state.kind == Kind::Absent {
            open_parent(path)?.unlink()?;
        } else {
            let mut staged = Staged::create(path)?;
            staged.write(&text)?;
            let like =
                Final { mode: now.mode, uid: Some(now.uid), gid: Some(now.gid), xattrs: Some(now.xattrs.clone()) };
            staged.commit(&like)?;
        }
        Ok(Some(Outcome::Restored(" (only our own lines: others have written to it since)")))
    }

    fn bytes_of(&self, state: &PathState) -> Option<PathBuf> {
        state.sha256.as_ref().map(|sha256| self.transaction.blob(sha256))
    }

    /// Copies a file's bytes, which must be those of `state`, into the record, under the name of `path`.
    fn set_aside(
        &self,
        folder: &str,
        from: &Path,
        state: &PathState,
        path: &Path,
    ) -> Result<Option<PathBuf>, UndoError> {
        let Some(sha256) = state.sha256.as_deref() else { return Ok(None) };
        let directory = self.transaction.dir.join(folder);
        super::make_private(&directory)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let place = directory.join(format!("{name}.{}", sha256.get(..12).unwrap_or(sha256)));
        let mut staged = Staged::create(&place)?;
        let mut source = fs_err::File::open(from)?;
        let (_, found) = copy_digesting(&mut source, Some(staged.file()))?;
        if found != sha256 {
            return Err(UndoError::Other(format!("{} has another digest than it should have", from.display())));
        }
        staged.commit(&Final { mode: 0o600, uid: None, gid: None, xattrs: None })?;
        Ok(Some(place))
    }
}

fn changed(changed: bool) -> Result<Outcome, UndoError> {
    Ok(if changed { Outcome::Restored("") } else { Outcome::Already })
}

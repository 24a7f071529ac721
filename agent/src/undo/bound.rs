//! A path that containers bind, taken back from the range that it was given to (S11).

use super::UndoError;
use super::data_root::{Quiet, failed};
use super::object::Outcome;
use crate::fault::Changes;
use crate::migrate::bind::{Bind, Book, Standing};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Whose a bound path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundState {
    /// As it was.
    AsItWas,
    /// The range's.
    Given,
    /// Some of it.
    Between,
}

impl BoundState {
    /// One line for people.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::AsItWas => "as it was",
            Self::Given => "open to the mapped ids",
            Self::Between => "half given to the mapped ids",
        }
    }
}

/// What the record of a bound path says. No record: it was never given.
pub(super) fn bound_state(record: &Path) -> Result<BoundState, UndoError> {
    if !record.exists() {
        return Ok(BoundState::AsItWas);
    }
    Ok(match Book::open(record).map_err(failed)?.standing() {
        Standing::AsItWas => BoundState::AsItWas,
        Standing::Between => BoundState::Between,
        Standing::Given => BoundState::Given,
    })
}

/// Takes it back. What was made since is told.
pub(super) fn take_back(record: &Path, state_dir: &Path) -> Result<Outcome, UndoError> {
    if !record.exists() {
        return Ok(Outcome::Already);
    }
    let mut book = Book::open(record).map_err(failed)?;
    let watch = Quiet(Changes::of(state_dir));
    let Some(bind) = Bind::recorded(&book, &watch).map_err(failed)? else { return Ok(Outcome::Already) };
    let taken = bind.take_back(&mut book).map_err(failed)?;
    let mut told = Vec::new();
    if !taken.made_since.is_empty() {
        told.push(format!("made since, without setuid, setgid and capabilities: {}", taken.made_since.join(", ")));
    }
    if !taken.lost.is_empty() {
        told.push(format!("written to since, without setuid and capabilities: {}", taken.lost.join(", ")));
    }
    Ok(if told.is_empty() { Outcome::Restored("") } else { Outcome::Differs(told.join("; ")) })
}

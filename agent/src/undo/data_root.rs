//! A migrated data root, taken back with what was written into it meanwhile.

use super::UndoError;
use super::hold::{hold, release};
use super::object::Outcome;
use super::unit::{systemctl, unit_state};
use crate::fault::Changes;
use crate::migrate::docker::{Migration, Stage, wait_until_idle};
use crate::migrate::{Direction, MigrateError, Watch};
use crate::serve::Control;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where the data of an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataRootState {
    /// Where it is without a remap.
    InPlace,
    /// In the remapped root.
    Remapped,
    /// On its way.
    Between,
}

impl DataRootState {
    /// One line for people.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::InPlace => "not remapped",
            Self::Remapped => "in the remapped root",
            Self::Between => "half migrated",
        }
        .to_owned()
    }
}

/// Where the record of a migration says that the data is.
pub(super) fn data_root_state(record: &Path) -> Result<DataRootState, UndoError> {
    Ok(match Migration::stage_of(record).map_err(failed)? {
        Stage::None | Stage::Done(Direction::OutOf) => DataRootState::InPlace,
        Stage::Done(Direction::Into) => DataRootState::Remapped,
        Stage::UnderWay(_) => DataRootState::Between,
    })
}

/// Takes a data root back. Its engine is stopped first; what restarts it is restored after.
pub(super) fn take_back(record: &Path, state_dir: &Path, control: &Control) -> Result<Outcome, UndoError> {
    let mut migration = Migration::open(record).map_err(failed)?;
    let units = migration.units();
    let Some(root) = migration.to_be_taken_back() else {
        release(state_dir, record, control)?;
        return Ok(Outcome::Already);
    };
    // Where systemd cannot hold them, the data still has to come back.
    let _held = hold(state_dir, record, &units, control);
    for unit in &units {
        if unit_state(unit, control)?.runs() {
            systemctl(&["stop", "--", unit], control)?;
        }
    }
    wait_until_idle(&root, control).map_err(failed)?;
    migration.out_of_range(&Quiet(Changes::of(state_dir))).map_err(failed)?;
    release(state_dir, record, control)?;
    match migration.difference(&Quiet(Changes::default())).map_err(failed)? {
        Some(what) => Ok(Outcome::Differs(what)),
        None => Ok(Outcome::Restored("")),
    }
}

pub(super) fn failed(error: MigrateError) -> UndoError {
    match error {
        MigrateError::Journal(error) => error,
        error => UndoError::Other(error.to_string()),
    }
}

/// A revert is never stopped half way.
pub(super) struct Quiet(pub(super) Changes);

impl Watch for Quiet {
    fn before_change(&self) -> Result<(), MigrateError> {
        self.0.next();
        Ok(())
    }
}

//! How far a migration has come, on disk before it goes further.

use super::survey::{HostMode, Strategy};
use crate::migrate::ids::{Direction, Mapping};
use crate::migrate::{Base, MigrateError};
use crate::undo::Log;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What was decided when a migration began; the way back follows it, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The engine's data root, in the form of `path_text`.
    pub(super) root: String,
    /// Its inode number: another one is another directory, over which the right one may still have to be mounted.
    pub(super) inode: u64,
    /// The ranges.
    pub(super) mapping: Mapping,
    /// How.
    #[serde(default)]
    pub(super) strategy: Strategy,
    /// Containers whose mode is changed.
    pub(super) host: Vec<HostMode>,
    /// Volumes that are not shifted.
    pub(super) left: Vec<String>,
    /// Directories that the group could not pass, and their modes.
    pub(super) modes: Vec<(String, u32)>,
    /// The engine's units, in the order in which they are stopped.
    pub(super) units: Vec<String>,
}

impl Plan {
    /// Refuses another directory at the same path.
    pub(super) fn must_be(&self, base: &Base) -> Result<(), MigrateError> {
        if self.inode == base.inode_number() {
            return Ok(());
        }
        Err(MigrateError::Refused(format!(
            "{} is another directory than the one whose migration has begun: is its file system mounted?",
            self.root
        )))
    }
}

/// A line of the log. The format is on hosts: new variants go to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// Everything goes into the remapped root from here on.
    Into(Plan),
    /// Everything has been shifted; only names are left to be changed.
    Renaming,
    /// Everything goes out of it from here on.
    OutOf,
    /// The last of these is done.
    Done,
    /// The copy in the remapped root is the original, owners included.
    Copied,
    /// The copy, shifted back, takes the original's place.
    Swapping {
        /// The directory beside it in which the original stays.
        kept: String,
    },
}

/// Where a migration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has never begun.
    None,
    /// It goes this way, and is not done.
    UnderWay(Direction),
    /// It has gone this way.
    Done(Direction),
}

/// The log, and what it says.
#[derive(Debug)]
pub(super) struct Progress {
    log: Log<Step>,
    pub(super) stage: Stage,
    pub(super) plan: Option<Plan>,
    pub(super) renaming: bool,
    /// The copy in the remapped root has been made.
    pub(super) copied: bool,
    /// It has been finished since, so that an engine may have written to it.
    pub(super) whole: bool,
    /// Where the original goes while the copy takes its place.
    pub(super) kept: Option<String>,
}

impl Progress {
    pub(super) fn open(path: &Path) -> Result<Self, MigrateError> {
        let (log, steps) = Log::open(path)?;
        let mut progress =
            Self { log, stage: Stage::None, plan: None, renaming: false, copied: false, whole: false, kept: None };
        for step in steps {
            progress.take(step);
        }
        Ok(progress)
    }

    fn take(&mut self, step: Step) {
        self.renaming = step == Step::Renaming || self.renaming && step == Step::Done;
        match step {
            Step::Into(plan) => {
                self.plan = Some(plan);
                (self.copied, self.kept) = (false, None);
                self.stage = Stage::UnderWay(Direction::Into);
            }
            Step::Renaming => {}
            Step::OutOf => self.stage = Stage::UnderWay(Direction::OutOf),
            Step::Done => {
                if let Stage::UnderWay(direction) = self.stage {
                    self.stage = Stage::Done(direction);
                    let copies = self.plan.as_ref().is_some_and(|plan| plan.strategy != Strategy::Move);
                    self.whole = copies && direction == Direction::Into;
                }
            }
            Step::Copied => self.copied = true,
            Step::Swapping { kept } => self.kept = Some(kept),
        }
    }

    pub(super) fn write(&mut self, step: Step) -> Result<(), MigrateError> {
        self.log.append(std::slice::from_ref(&step))?;
        self.take(step);
        Ok(())
    }
}

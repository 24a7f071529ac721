//! What a shift must have on disk before it changes anything: which way it goes, and what a change of owner takes away from
//! an inode. Ids need no record: each says by itself whether it has gone.

use super::MigrateError;
use super::ids::{Direction, Mapping};
use super::manifest::Manifest;
use crate::undo::Log;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A line of the journal. The format is on hosts: new variants go to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    /// From here on everything goes this way.
    Turn {
        /// Which way.
        direction: Direction,
        /// By which ranges.
        mapping: Mapping,
        /// What the trees hold; none where it goes on, or back, from the middle.
        manifest: Option<Manifest>,
    },
    /// These are about to be changed.
    Specials(Vec<Special>),
    /// Everything has gone, and is on disk.
    Shifted,
}

/// An inode from which a change of owner takes more than the owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Special {
    /// Its path below the base, in the form of `path_text`.
    pub(super) path: String,
    /// Its inode number.
    pub(super) inode: u64,
    /// Its permissions, setuid and setgid among them.
    pub(super) mode: u32,
    /// Its capabilities, as hexadecimal digits.
    pub(super) capability: Option<String>,
}

/// The journal of the shifts of one set of trees.
#[derive(Debug)]
pub struct Journal {
    log: Log<Entry>,
    /// Which way the last shift goes; none once it is done.
    turn: Option<(Direction, Mapping)>,
    /// Which way the last one went that is done.
    done: Option<Direction>,
    manifest: Option<Manifest>,
    specials: Vec<Special>,
}

impl Journal {
    /// Opens or makes a journal, below a directory that nobody else can write.
    ///
    /// # Errors
    /// [`MigrateError::Journal`]; a damaged one is refused.
    pub fn open(path: &Path) -> Result<Self, MigrateError> {
        let (log, entries) = Log::open(path)?;
        let mut journal = Self { log, turn: None, done: None, manifest: None, specials: Vec::new() };
        for entry in entries {
            journal.take(entry);
        }
        Ok(journal)
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Turn { direction, mapping, manifest } => {
                self.turn = Some((direction, mapping));
                self.manifest = manifest.or(self.manifest);
            }
            Entry::Specials(specials) => self.specials.extend(specials),
            Entry::Shifted => {
                self.done = self.turn.take().map(|(direction, _)| direction).or(self.done);
                self.specials.clear();
            }
        }
    }

    fn write(&mut self, entry: Entry) -> Result<(), MigrateError> {
        self.log.append(std::slice::from_ref(&entry))?;
        self.take(entry);
        Ok(())
    }

    /// Which way a shift goes that is not done.
    #[must_use]
    pub fn under_way(&self) -> Option<Direction> {
        self.turn.map(|(direction, _)| direction)
    }

    /// Which way the last shift went that is done.
    #[must_use]
    pub fn last_done(&self) -> Option<Direction> {
        self.done
    }

    /// What the trees held when the last shift began.
    #[must_use]
    pub fn manifest(&self) -> Option<Manifest> {
        self.manifest
    }

    /// What was about to be changed by the shift that is not done.
    pub(super) fn specials(&self) -> &[Special] {
        &self.specials
    }

    pub(super) fn turn(
        &mut self,
        direction: Direction,
        mapping: Mapping,
        manifest: Option<Manifest>,
    ) -> Result<(), MigrateError> {
        if self.turn.is_some_and(|(_, other)| other != mapping) {
            return Err(MigrateError::Refused(
                "a shift by other ranges is under way here: finish or reverse that one first".to_owned(),
            ));
        }
        self.write(Entry::Turn { direction, mapping, manifest })
    }

    pub(super) fn about_to_change(&mut self, specials: &[Special]) -> Result<(), MigrateError> {
        self.write(Entry::Specials(specials.to_vec()))
    }

    pub(super) fn shifted(&mut self) -> Result<(), MigrateError> {
        self.write(Entry::Shifted)
    }
}

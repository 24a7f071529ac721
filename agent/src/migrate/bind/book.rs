//! The record of a bound path: every inode as it was. Complete on disk before the first change.

use super::Policy;
use crate::migrate::MigrateError;
use crate::migrate::ids::Mapping;
use crate::undo::Log;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// A line of the record. The format is on hosts: new variants go to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    /// A look at a path begins; what was written before is history.
    Begun(Wish),
    /// Inodes as they are.
    Known(Vec<Known>),
    /// All are written down: from here on they are changed.
    Noted,
    /// All have been changed.
    Given,
    /// All have been put back.
    TakenBack,
}

/// What is to be done with which path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wish {
    /// The path, in the form of `path_text`.
    pub(super) path: String,
    pub(super) mapping: Mapping,
    pub(super) policy: Policy,
    /// Whether what is below it is meant, too.
    pub(super) recurse: bool,
}

/// An inode as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) inode: u64,
    /// When it was made, where the file system knows: a number may be another file's by now.
    pub(super) born: Option<(i64, u32)>,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    /// Capabilities, as hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) capability: Option<String>,
    /// The digest of a file with setuid, setgid or capabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
    /// The access list and the default one, as hexadecimal digits.
    #[serde(default, skip_serializing_if = "no_lists")]
    pub(super) lists: [Option<String>; 2],
}

fn no_lists(lists: &[Option<String>; 2]) -> bool {
    lists.iter().all(Option::is_none)
}

/// How far a path has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is as it was, or was never given.
    AsItWas,
    /// Some of it may have been changed.
    Between,
    /// It is given.
    Given,
}

/// The record of one path.
#[derive(Debug)]
pub struct Book {
    log: Log<Entry>,
    standing: Standing,
    wish: Option<Wish>,
    known: HashMap<u64, Known>,
}

impl Book {
    /// Opens or makes a record, in a directory that nobody else can write.
    ///
    /// # Errors
    /// [`MigrateError::Journal`]; a damaged one is refused.
    pub fn open(path: &Path) -> Result<Self, MigrateError> {
        let (log, entries) = Log::open(path)?;
        let mut book = Self { log, standing: Standing::AsItWas, wish: None, known: HashMap::new() };
        entries.into_iter().for_each(|entry| book.take(entry));
        Ok(book)
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Begun(wish) => {
                self.wish = Some(wish);
                self.known.clear();
            }
            Entry::Known(known) => self.known.extend(known.into_iter().map(|known| (known.inode, known))),
            Entry::Noted => self.standing = Standing::Between,
            Entry::Given => self.standing = Standing::Given,
            Entry::TakenBack => self.standing = Standing::AsItWas,
        }
    }

    fn write(&mut self, entry: Entry) -> Result<(), MigrateError> {
        self.log.append(std::slice::from_ref(&entry))?;
        self.take(entry);
        Ok(())
    }

    /// How far the path has come.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// How many inodes are written down.
    #[must_use]
    pub fn inodes(&self) -> usize {
        self.known.len()
    }

    pub(super) fn wish(&self) -> Option<&Wish> {
        self.wish.as_ref()
    }

    pub(super) fn known(&self, inode: u64) -> Option<&Known> {
        self.known.get(&inode)
    }

    pub(super) fn begin(&mut self, wish: Wish) -> Result<(), MigrateError> {
        self.write(Entry::Begun(wish))
    }

    pub(super) fn note(&mut self, known: Vec<Known>) -> Result<(), MigrateError> {
        self.write(Entry::Known(known))
    }

    pub(super) fn noted(&mut self) -> Result<(), MigrateError> {
        self.write(Entry::Noted)
    }

    pub(super) fn given(&mut self) -> Result<(), MigrateError> {
        self.write(Entry::Given)
    }

    pub(super) fn taken_back(&mut self) -> Result<(), MigrateError> {
        self.write(Entry::TakenBack)
    }
}

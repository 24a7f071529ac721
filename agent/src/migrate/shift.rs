//! Shifting the owners of trees in place, by several threads. Interrupted anywhere, it is continued, or reversed, from its
//! journal and from what the inodes say themselves.

use super::acl::{self, ACLS};
use super::beneath::{Base, Found};
use super::ids::{Direction, Mapping};
use super::inode::{Inode, is_whiteout, kind, usable};
use super::journal::{Journal, Special};
use super::scan::{Scan, overlap, scan};
use super::special::Hand;
use super::walk::{Visitor, threads, walk};
use super::{MigrateError, Watch};
use rustix::fs::{FileType, syncfs};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many specials a thread collects before it writes them down, which waits for the disk.
const BATCH: usize = 512;

/// Trees whose owners are shifted, all on one file system.
pub struct Shift<'a> {
    /// The directory below which all of them lie.
    pub base: &'a Base,
    /// Their paths below it. None lies in another.
    pub starts: &'a [PathBuf],
    /// The ranges.
    pub mapping: Mapping,
    /// Told of what happens, and asked before every change.
    pub watch: &'a dyn Watch,
}

/// What a shift came to.
#[derive(Debug)]
pub struct Shifted {
    /// What was there to do.
    pub scan: Scan,
    /// What an interrupted shift had written down and is there no longer.
    pub gone: Vec<String>,
    /// How long the look took.
    pub looked: Duration,
}

impl Shift<'_> {
    /// Looks at the trees.
    ///
    /// # Errors
    /// [`MigrateError`].
    pub fn look(&self, direction: Direction) -> Result<Scan, MigrateError> {
        if let Some(inner) = overlap(self.starts) {
            return Err(MigrateError::Refused(format!(
                "{} lies in another directory that is to be shifted",
                self.base.full(inner).display()
            )));
        }
        usable(self.base)?;
        self.watch.begins("looking at", None, false);
        scan(self.base, self.starts, &self.mapping, direction, self.watch)
    }

    /// Shifts what has not been shifted yet. Nothing is changed where anything is refused, unless a shift is under way.
    /// `scan` is what a look at the same trees found that has been admitted, where there was one just before.
    ///
    /// # Errors
    /// [`MigrateError`]; the journal then says that the shift is under way, and it can be run again, either way.
    pub fn run(
        &self,
        journal: &mut Journal,
        direction: Direction,
        scan: Option<Scan>,
    ) -> Result<Shifted, MigrateError> {
        let hand = Hand { base: self.base, mapping: &self.mapping, direction, watch: self.watch };
        let mut looked = Duration::ZERO;
        let mut look = || {
            let begun = Instant::now();
            self.look(direction).inspect(|_| looked = begun.elapsed())
        };
        let (scan, gone) = match journal.under_way() {
            None => {
                let scan = scan.map_or_else(&mut look, Ok)?;
                // Done this way already, and asked for again: what was there when it was begun still counts.
                let fresh = journal.last_done() != Some(direction);
                scan.admit(direction, fresh)?;
                self.watch.before_change()?;
                journal.turn(direction, self.mapping, fresh.then_some(scan.manifest))?;
                (scan, Vec::new())
            }
            Some(_) => {
                journal.turn(direction, self.mapping, None)?;
                let gone = hand.again(journal)?;
                let scan = look()?;
                scan.admit(direction, false)?;
                (scan, gone)
            }
        };
        if scan.left > 0 {
            self.all(journal, &hand, &scan)?;
        }
        let dir = self.base.dir(Path::new(""))?;
        syncfs(&dir).map_err(|error| MigrateError::system("sync the file system of", self.base.path(), error))?;
        journal.shifted()?;
        Ok(Shifted { scan, gone, looked })
    }

    fn all(&self, journal: &mut Journal, hand: &Hand<'_>, scan: &Scan) -> Result<(), MigrateError> {
        self.watch.begins("shifting", Some(&scan.manifest), false);
        let journal = Mutex::new(journal);
        let shifter = || Shifter { hand, scan, journal: &journal, batch: Vec::new(), unreported: 0 };
        walk(self.base, self.starts, (0..threads()).map(|_| shifter()).collect())?;
        Ok(())
    }

    /// Compares what the trees hold with what they held when the journal's last shift began. None if it is the same.
    ///
    /// # Errors
    /// [`MigrateError`] if they cannot be looked at.
    pub fn difference(&self, journal: &Journal, direction: Direction) -> Result<Option<String>, MigrateError> {
        self.watch.begins("comparing", journal.manifest().as_ref(), false);
        let scan = scan(self.base, self.starts, &self.mapping, direction, self.watch)?;
        let now = scan.manifest;
        Ok(match journal.manifest() {
            _ if scan.left > 0 => Some(format!("{} inodes have not been shifted", scan.left)),
            Some(before) if before.inodes != now.inodes => {
                Some(format!("there are {} inodes where {} were", now.inodes, before.inodes))
            }
            Some(before) if before.digest() != now.digest() => {
                Some(format!("the manifest of {} inodes is another than before", now.inodes))
            }
            _ => None,
        })
    }
}

struct Shifter<'a> {
    hand: &'a Hand<'a>,
    scan: &'a Scan,
    /// Also held while specials are changed: one with two names may be in two hands, and the one must not take away what
    /// the other has put back.
    journal: &'a Mutex<&'a mut Journal>,
    batch: Vec<Special>,
    unreported: u64,
}

impl Visitor for Shifter<'_> {
    fn visit(&mut self, found: &Found<'_>) -> Result<bool, MigrateError> {
        let inode = Inode::hold(self.hand.base, found)?;
        let stat = inode.stat()?;
        self.unreported += 1;
        if self.unreported >= 1024 {
            self.hand.watch.seen(std::mem::take(&mut self.unreported), 0);
        }
        if is_whiteout(&stat) {
            return Ok(false);
        }
        let is = kind(&stat);
        if self.scan.acls.binary_search(&stat.st_ino).is_ok() {
            self.access_lists(&inode)?;
        }
        let owner = self.hand.owner(&stat);
        let capable = self.scan.capable.binary_search(&stat.st_ino).is_ok();
        let special = match is {
            FileType::Directory | FileType::Symlink => None,
            _ => self.hand.special(&inode, &stat, capable)?,
        };
        if let Some(special) = special {
            self.batch.push(special);
            if self.batch.len() >= BATCH {
                self.finish()?;
            }
        } else if owner != (stat.st_uid, stat.st_gid) {
            self.hand.watch.before_change()?;
            inode.give(owner.0, owner.1)?;
        }
        Ok(is == FileType::Directory)
    }

    fn finish(&mut self) -> Result<(), MigrateError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        self.hand.change(&mut journal, &std::mem::take(&mut self.batch))
    }
}

impl Shifter<'_> {
    fn access_lists(&self, inode: &Inode<'_>) -> Result<(), MigrateError> {
        for name in ACLS {
            let Some(had) = inode.attribute(name)? else { continue };
            let moved = acl::moved(&had, self.hand.mapping, self.hand.direction);
            if let Some(moved) = moved.filter(|moved| *moved != had) {
                self.hand.watch.before_change()?;
                inode.set_attribute(name, &moved)?;
            }
        }
        Ok(())
    }
}

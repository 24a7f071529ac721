//! Inodes that lose more than their owner when the owner changes: setuid, setgid and capabilities. What they have is
//! written down first, and put back after, in the order in which the kernel takes nothing away again: owner, capabilities,
//! mode.

use super::beneath::Base;
use super::caps::{self, CAPABILITY};
use super::ids::{Direction, Mapping};
use super::inode::Inode;
use super::journal::{Journal, Special};
use super::{MigrateError, Watch};
use crate::files::{hex, unhex};
use crate::undo::{path_of, path_text};
use rustix::fs::Stat;
use rustix::io::Errno;

/// Setuid and setgid.
const SET_IDS: u32 = 0o6000;

/// Owner, group and others, setuid, setgid and sticky.
const PERMISSIONS: u32 = 0o7777;

/// Where and how specials are changed.
pub(super) struct Hand<'a> {
    pub(super) base: &'a Base,
    pub(super) mapping: &'a Mapping,
    pub(super) direction: Direction,
    pub(super) watch: &'a dyn Watch,
}

impl Hand<'_> {
    /// What is to be written down of an inode that is no directory and no link. None if its owner is all it has to lose.
    pub(super) fn special(
        &self,
        inode: &Inode<'_>,
        stat: &Stat,
        capable: bool,
    ) -> Result<Option<Special>, MigrateError> {
        let capability = if capable { inode.attribute(CAPABILITY)? } else { None };
        let converted =
            capability.as_ref().is_some_and(|value| caps::moved(value, self.mapping.uid, self.direction) != *value);
        let owner = self.owner(stat) != (stat.st_uid, stat.st_gid);
        let loses = owner && (stat.st_mode & SET_IDS != 0 || capability.is_some());
        Ok((loses || converted).then(|| Special {
            path: path_text(inode.path()),
            inode: stat.st_ino,
            mode: stat.st_mode & PERMISSIONS,
            capability: capability.as_deref().map(hex),
        }))
    }

    /// The owner after the shift.
    pub(super) fn owner(&self, stat: &Stat) -> (u32, u32) {
        (self.mapping.uid.moved(stat.st_uid, self.direction), self.mapping.gid.moved(stat.st_gid, self.direction))
    }

    /// Writes specials down, and changes them.
    pub(super) fn change(&self, journal: &mut Journal, specials: &[Special]) -> Result<(), MigrateError> {
        self.watch.before_change()?;
        journal.about_to_change(specials)?;
        specials.iter().try_for_each(|special| self.put(special))
    }

    /// Changes again all that an interrupted shift may have left half changed. Gives those that are no longer there.
    pub(super) fn again(&self, journal: &Journal) -> Result<Vec<String>, MigrateError> {
        let mut gone = Vec::new();
        for special in journal.specials() {
            match self.put(special) {
                Err(MigrateError::System { source: Errno::NOENT | Errno::NOTDIR, path, .. }) => {
                    gone.push(path.display().to_string());
                }
                other => other?,
            }
        }
        Ok(gone)
    }

    /// Gives one its owner, and what it had.
    fn put(&self, special: &Special) -> Result<(), MigrateError> {
        let path = path_of(&special.path);
        let inode = Inode::at(self.base, &path)?;
        let stat = inode.stat()?;
        if stat.st_ino != special.inode {
            return Err(MigrateError::system("find again", self.base.full(&path), Errno::NOENT));
        }
        let owner = self.owner(&stat);
        if owner != (stat.st_uid, stat.st_gid) {
            self.watch.before_change()?;
            inode.give(owner.0, owner.1)?;
        }
        if let Some(had) = special.capability.as_deref().and_then(unhex) {
            self.watch.before_change()?;
            inode.set_attribute(CAPABILITY, &caps::moved(&had, self.mapping.uid, self.direction))?;
        }
        self.watch.before_change()?;
        inode.permit(special.mode)
    }
}

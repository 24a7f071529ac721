//! The strategies `copy` and `reflink`: the remapped root holds a copy, which is shifted there; the original stays as it is.
//! On the way back the copy, with what was written to it meanwhile, takes the original's place.

use super::hands::Hands;
use super::layout::{MOVED, kind};
use super::log::{Plan, Step};
use super::migration::{Done, Migration};
use super::survey::{Strategy, Wanted, remapped};
use crate::files::{open_parent, remove_tree};
use crate::migrate::beneath::Base;
use crate::migrate::ids::Direction;
use crate::migrate::manifest::Manifest;
use crate::migrate::{Bytes, MigrateError, Watch, copy, scan_copy};
use crate::undo::now_ms;
use rustix::fs::fstatvfs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Says whether a copy of that has room beside it.
///
/// # Errors
/// [`MigrateError::Refused`] with what is there and what is needed.
pub fn room(base: &Base, strategy: Strategy, manifest: &Manifest) -> Result<(), MigrateError> {
    let dir = base.dir(Path::new(""))?;
    let free = fstatvfs(&dir).map_err(|error| MigrateError::system("look at", base.path(), error))?;
    let bytes = if strategy == Strategy::Copy { manifest.bytes } else { 0 };
    let there = free.f_bavail.saturating_mul(free.f_frsize);
    if strategy != Strategy::Move && there < bytes {
        return Err(MigrateError::Refused(format!(
            "a copy of {} needs {} MiB, and {} MiB are free",
            base.path().display(),
            bytes >> 20,
            there >> 20
        )));
    }
    // A file system that makes inodes as it needs them says that it has none.
    if strategy != Strategy::Move && free.f_files > 0 && free.f_favail < manifest.inodes {
        return Err(MigrateError::Refused(format!(
            "a copy of {} needs {} inodes, and {} are free",
            base.path().display(),
            manifest.inodes,
            free.f_favail
        )));
    }
    Ok(())
}

impl Migration {
    /// Makes the copy, and shifts it.
    pub(super) fn copy_into(
        &mut self,
        base: &Base,
        plan: &Plan,
        watch: &dyn Watch,
        done: &mut Done,
    ) -> Result<(), MigrateError> {
        let outer = Hands { base, root: base.path(), plan, watch, direction: Direction::Into };
        let inner = Base::open(&base.full(&outer.make_inner()?))?;
        if !self.progress.copied {
            self.discard(&inner, watch)?;
            done.looked += duplicate(base, &inner, plan, watch)?;
            watch.before_change()?;
            self.progress.write(Step::Copied)?;
        }
        let hands = Hands { base: &inner, ..outer };
        self.shift(&hands, None, done)?;
        watch.before_change()?;
        self.progress.write(Step::Done)
    }

    /// Puts the copy in the original's place; or throws it away, if it was never finished and used.
    pub(super) fn copy_back(
        &mut self,
        base: &Base,
        plan: &Plan,
        watch: &dyn Watch,
        done: &mut Done,
    ) -> Result<(), MigrateError> {
        let outer = Hands { base, root: base.path(), plan, watch, direction: Direction::OutOf };
        let name = remapped(&plan.mapping);
        if self.progress.whole {
            self.swap(&outer, &name, done)?;
        } else if kind(base, &name)?.is_some() {
            self.discard(&Base::open(&base.full(&name))?, watch)?;
        }
        if kind(base, &name)?.is_some() {
            outer.remove_if_empty(&name)?;
        }
        watch.before_change()?;
        self.progress.write(Step::Done)
    }

    /// Deletes a copy that nobody has used, and what a shift of it wrote down.
    fn discard(&self, inner: &Base, watch: &dyn Watch) -> Result<(), MigrateError> {
        for name in MOVED.map(Path::new) {
            if kind(inner, name)?.is_some() {
                watch.before_change()?;
                remove_tree(&open_parent(&inner.full(name))?)?;
            }
        }
        match fs_err::remove_file(self.dir.join("shift")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(MigrateError::Refused(error.to_string())),
            _ => Ok(()),
        }
    }

    fn swap(&mut self, outer: &Hands<'_>, inner: &Path, done: &mut Done) -> Result<(), MigrateError> {
        let kept = match &self.progress.kept {
            Some(kept) => PathBuf::from(kept),
            None => {
                let base = Base::open(&outer.base.full(inner))?;
                self.shift(&Hands { base: &base, ..*outer }, None, done)?;
                let kept = format!("{}.before.{}", inner.display(), now_ms());
                outer.watch.before_change()?;
                self.progress.write(Step::Swapping { kept: kept.clone() })?;
                PathBuf::from(kept)
            }
        };
        outer.make(&kept)?;
        for name in MOVED {
            if kind(outer.base, &inner.join(name))?.is_some() {
                outer.rename(Path::new(""), &kept, name)?;
                outer.rename(inner, Path::new(""), name)?;
            }
        }
        outer.settle(&[&kept, inner, Path::new("")])?;
        done.notes.push(format!("what was there before is in {}", outer.base.full(&kept).display()));
        Ok(())
    }
}

/// What goes along.
fn starts(base: &Base) -> Result<Vec<PathBuf>, MigrateError> {
    let mut starts = Vec::new();
    for name in MOVED.map(PathBuf::from) {
        if kind(base, &name)?.is_some() {
            starts.push(name);
        }
    }
    Ok(starts)
}

/// As [`room`], of everything that goes along: logs and images' metadata, too. Nothing may be mounted there.
///
/// # Errors
/// As [`room`].
pub(super) fn room_for_all(base: &Base, wanted: &Wanted, watch: &dyn Watch) -> Result<(), MigrateError> {
    if wanted.strategy == Strategy::Move {
        return Ok(());
    }
    room(base, wanted.strategy, &scan_copy(base, &starts(base)?, &wanted.mapping, watch)?)
}

/// Copies everything that goes along, and looks whether the copy is the original; how long the looking took.
fn duplicate(base: &Base, inner: &Base, plan: &Plan, watch: &dyn Watch) -> Result<Duration, MigrateError> {
    let starts = starts(base)?;
    let bytes = if plan.strategy == Strategy::Reflink { Bytes::Shared } else { Bytes::Copied };
    let begun = Instant::now();
    watch.begins("looking at", None, false);
    let before = scan_copy(base, &starts, &plan.mapping, watch)?;
    watch.begins("copying", Some(&before), plan.strategy == Strategy::Copy);
    let copying = Instant::now();
    copy(base, inner, &starts, bytes, watch)?;
    let copied = copying.elapsed();
    watch.begins("comparing", Some(&before), false);
    let after = scan_copy(inner, &starts, &plan.mapping, watch)?;
    if (before.inodes, before.digest()) == (after.inodes, after.digest()) {
        return Ok(begun.elapsed().saturating_sub(copied));
    }
    Err(MigrateError::Refused(format!(
        "the copy in {} is not what {} is: {} inodes, where {} are",
        inner.path().display(),
        base.path().display(),
        after.inodes,
        before.inodes
    )))
}

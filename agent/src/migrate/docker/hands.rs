//! What changes a data root, one thing at a time, each found by looking whether it is done.

use super::container::{options_moved, sources_moved, userns_mode_set};
use super::layout::{Layout, MOVED, NODES, kind, read_text};
use super::log::Plan;
use super::survey::remapped;
use crate::files::{Final, Staged, fingerprint, sweep};
use crate::migrate::beneath::Base;
use crate::migrate::ids::Direction;
use crate::migrate::inode::Inode;
use crate::migrate::{MigrateError, Watch};
use crate::undo::path_text;
use rustix::fs::{AtFlags, Gid, Mode, RenameFlags, Uid, chownat, fsync, mkdirat, renameat_with, unlinkat};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// The engine's modes of a root that only the remapped group may pass.
const PASSED: u32 = 0o710;

/// What changes a data root.
pub(super) struct Hands<'a> {
    /// Where the data is.
    pub(super) base: &'a Base,
    /// The data root without a remap.
    pub(super) root: &'a Path,
    pub(super) plan: &'a Plan,
    pub(super) watch: &'a dyn Watch,
    pub(super) direction: Direction,
}

impl Hands<'_> {
    pub(super) fn inner(&self) -> PathBuf {
        remapped(&self.plan.mapping)
    }

    /// Brings everything out of the remapped root, if it is there.
    pub(super) fn gather(&self) -> Result<(), MigrateError> {
        let inner = self.inner();
        if kind(self.base, &inner)?.is_none() {
            return Ok(());
        }
        self.rename_all(&inner, Path::new(""))?;
        self.remove_if_empty(&inner)
    }

    /// Removes the remapped root. What a remapped engine made for itself stays where it is.
    pub(super) fn remove_if_empty(&self, inner: &Path) -> Result<(), MigrateError> {
        let base = self.base.dir(Path::new(""))?;
        match unlinkat(&base, inner, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(error) => Err(self.failed("remove", inner, error)),
        }
    }

    /// Makes the remapped root.
    pub(super) fn make_inner(&self) -> Result<PathBuf, MigrateError> {
        let inner = self.inner();
        self.make(&inner)?;
        let group = Gid::from_raw(self.plan.mapping.gid.start());
        let base = self.base.dir(Path::new(""))?;
        chownat(&base, &inner, Some(Uid::ROOT), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.failed("change the owner of", &inner, error))?;
        Inode::at(self.base, &inner)?.permit(PASSED)?;
        Ok(inner)
    }

    /// Makes a directory, if there is none.
    pub(super) fn make(&self, path: &Path) -> Result<(), MigrateError> {
        let base = self.base.dir(Path::new(""))?;
        self.watch.before_change()?;
        match mkdirat(&base, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(self.failed("make", path, error)),
        }
    }

    /// Makes the remapped root and puts everything into it.
    pub(super) fn scatter(&self) -> Result<(), MigrateError> {
        let inner = self.make_inner()?;
        self.rename_all(Path::new(""), &inner)
    }

    /// Renames everything of one directory that is the engine's into another one.
    pub(super) fn rename_all(&self, from: &Path, to: &Path) -> Result<(), MigrateError> {
        for name in MOVED {
            self.rename(from, to, name)?;
        }
        self.settle(&[to, from])
    }

    /// Renames one thing, if it is there.
    pub(super) fn rename(&self, from: &Path, to: &Path, name: &str) -> Result<(), MigrateError> {
        if kind(self.base, &from.join(name))?.is_none() {
            return Ok(());
        }
        let (old, new) = (self.base.dir(from)?, self.base.dir(to)?);
        self.watch.before_change()?;
        renameat_with(&old, name, &new, name, RenameFlags::NOREPLACE)
            .map_err(|error| self.failed("rename, to its other root,", &from.join(name), error))
    }

    /// Waits until names are on disk.
    pub(super) fn settle(&self, directories: &[&Path]) -> Result<(), MigrateError> {
        directories
            .iter()
            .try_for_each(|path| fsync(self.base.dir(path)?).map_err(|error| self.failed("sync", path, error)))
    }

    /// Removes device nodes of a file system, which the engine makes again.
    pub(super) fn nodes(&self) -> Result<(), MigrateError> {
        for path in NODES.map(Path::new) {
            if kind(self.base, path)?.is_none() {
                continue;
            }
            let dir = self.base.dir(path.parent().unwrap_or(Path::new("")))?;
            self.watch.before_change()?;
            unlinkat(&dir, path.file_name().unwrap_or_default(), AtFlags::empty())
                .map_err(|error| self.failed("remove", path, error))?;
        }
        Ok(())
    }

    /// Makes what containers and volumes have written down true.
    pub(super) fn files(&self, layout: &Layout) -> Result<(), MigrateError> {
        let inner = self.root.join(self.inner());
        let into = self.direction == Direction::Into;
        let (from, to) = if into { (self.root, inner.as_path()) } else { (inner.as_path(), self.root) };
        for container in &layout.containers {
            let directory = Path::new("containers").join(&container.id);
            sweep(&self.base.full(&directory));
            self.edit(&directory.join("config.v2.json"), |text| sources_moved(text, from, to))?;
            if let Some(host) = self.plan.host.iter().find(|host| host.container == container.id) {
                let mode = if into { "host" } else { host.was.as_str() };
                self.edit(&directory.join("hostconfig.json"), |text| userns_mode_set(text, mode))?;
            }
        }
        let mapping = &self.plan.mapping;
        for volume in layout.volumes.iter().filter(|volume| !self.plan.left.contains(volume)) {
            let directory = Path::new("volumes").join(volume);
            sweep(&self.base.full(&directory));
            let uid = |id| mapping.uid.moved(id, self.direction);
            let gid = |id| mapping.gid.moved(id, self.direction);
            self.edit(&directory.join("opts.json"), |text| options_moved(text, uid, gid))?;
        }
        Ok(())
    }

    /// Replaces a file's text in one step. It keeps its owner, mode and attributes.
    fn edit(&self, below: &Path, change: impl Fn(&str) -> Result<Option<String>, String>) -> Result<(), MigrateError> {
        let path = self.base.full(below);
        let Some(text) = read_text(&path)? else { return Ok(()) };
        let changed = change(&text).map_err(|what| MigrateError::Refused(format!("{}: {what}", path.display())))?;
        let Some(changed) = changed else { return Ok(()) };
        let now = fingerprint(&path)?;
        self.watch.before_change()?;
        let mut staged = Staged::create(&path)?;
        staged.write(changed.as_bytes())?;
        self.watch.before_change()?;
        staged.commit(&Final { mode: now.mode, uid: Some(now.uid), gid: Some(now.gid), xattrs: Some(now.xattrs) })?;
        Ok(())
    }

    /// Lets the remapped group, or only root, pass the directories that lead to what is the containers'.
    pub(super) fn passed(&self, layout: &Layout) -> Result<(), MigrateError> {
        let group = self.plan.mapping.gid.start();
        for path in &layout.passed {
            let inode = Inode::at(self.base, path)?;
            let stat = inode.stat()?;
            let mode = stat.st_mode & 0o7777;
            let (gid, wanted) = match self.direction {
                Direction::Into => (group, mode | 0o010),
                Direction::OutOf => (0, self.mode_before(path).unwrap_or(mode)),
            };
            if stat.st_gid != gid && (stat.st_gid == 0 || stat.st_gid == group) {
                self.watch.before_change()?;
                inode.give(stat.st_uid, gid)?;
            }
            if mode != wanted {
                self.watch.before_change()?;
                inode.permit(wanted)?;
            }
        }
        Ok(())
    }

    fn mode_before(&self, path: &Path) -> Option<u32> {
        let path = path_text(path);
        self.plan.modes.iter().find(|(known, _)| *known == path).map(|(_, mode)| *mode)
    }

    fn failed(&self, action: &'static str, below: &Path, error: Errno) -> MigrateError {
        MigrateError::system(action, self.base.full(below), error)
    }
}

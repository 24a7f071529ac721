//! The strategy `move`: the data is shifted where it is, and then renamed into the remapped root. Every step finds by
//! looking whether it is done, so that a migration cut short anywhere goes on, or back.

use super::container::{options_moved, sources_moved, userns_mode_set};
use super::layout::{Layout, MOVED, NODES, kind, read_text};
use super::log::{Plan, Progress, Stage, Step};
use super::survey::{Survey, Wanted, remapped};
use crate::files::{Final, Staged, fingerprint, sweep};
use crate::migrate::beneath::Base;
use crate::migrate::ids::Direction;
use crate::migrate::inode::Inode;
use crate::migrate::{Journal, MigrateError, Scan, Shift, Watch};
use crate::undo::{make_private, path_of, path_text};
use rustix::fs::{AtFlags, Gid, Mode, RenameFlags, Uid, chownat, fsync, mkdirat, renameat_with, unlinkat};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// The engine's modes of a root that only the remapped group may pass.
const PASSED: u32 = 0o710;

/// A migration of one data root, and its record.
#[derive(Debug)]
pub struct Migration {
    dir: PathBuf,
    progress: Progress,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// How many inodes there are that belong to containers.
    pub inodes: u64,
    /// How many of them were shifted.
    pub shifted: u64,
    /// What an interrupted shift had written down and is there no longer.
    pub gone: Vec<String>,
    /// What is to be known, a sentence each.
    pub notes: Vec<String>,
}

impl Migration {
    /// Opens the record of a migration, or makes one.
    ///
    /// # Errors
    /// [`MigrateError::Journal`].
    pub fn open(dir: &Path) -> Result<Self, MigrateError> {
        make_private(dir)?;
        Ok(Self { dir: dir.to_owned(), progress: Progress::open(&dir.join("migration"))? })
    }

    /// Where it stands.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.progress.stage
    }

    /// Where the migration stands whose record this is, without making one.
    ///
    /// # Errors
    /// [`MigrateError::Journal`].
    pub fn stage_of(dir: &Path) -> Result<Stage, MigrateError> {
        let path = dir.join("migration");
        if path.exists() { Ok(Progress::open(&path)?.stage) } else { Ok(Stage::None) }
    }

    /// The data root, if there is anything to take back.
    #[must_use]
    pub fn to_be_taken_back(&self) -> Option<PathBuf> {
        let plan = self.progress.plan.as_ref()?;
        (self.progress.stage != Stage::Done(Direction::OutOf)).then(|| path_of(&plan.root))
    }

    /// The engine's units, in the order in which they are stopped.
    #[must_use]
    pub fn units(&self) -> Vec<String> {
        self.progress.plan.as_ref().map(|plan| plan.units.clone()).unwrap_or_default()
    }

    /// Compares what is the containers' with what it was when the last shift began. None if it is the same, but for owners.
    ///
    /// # Errors
    /// [`MigrateError`] if it cannot be looked at.
    pub fn difference(&self, watch: &dyn Watch) -> Result<Option<String>, MigrateError> {
        let Stage::Done(direction) = self.progress.stage else {
            return Ok(Some("the migration is not done".to_owned()));
        };
        let plan = self.plan()?;
        let root = path_of(&plan.root);
        let place = if direction == Direction::Into { root.join(remapped(&plan.mapping)) } else { root };
        let base = Base::open(&place)?;
        let layout = Layout::read(&base, &plan.left.iter().cloned().collect())?;
        let shift = Shift { base: &base, starts: &layout.trees, mapping: plan.mapping, watch };
        shift.difference(&self.journal()?, direction)
    }

    /// Moves the data into the remapped root, or goes on with it. The engine must be stopped.
    ///
    /// # Errors
    /// [`MigrateError`]. Where it is refused and had not begun, nothing has been changed.
    pub fn into_range(&mut self, wanted: &Wanted, watch: &dyn Watch) -> Result<Done, MigrateError> {
        let base = Base::open(&wanted.root)?;
        let mut done = Done::default();
        let mut scan = None;
        match self.progress.stage {
            Stage::Done(Direction::Into) => return Ok(done),
            Stage::UnderWay(_) => {
                let plan = self.plan()?;
                if plan.mapping != wanted.mapping || path_of(&plan.root) != wanted.root {
                    return Err(MigrateError::Refused(format!(
                        "a migration of {} by other ranges is under way: finish or reverse that one first",
                        plan.root
                    )));
                }
                if !self.progress.renaming {
                    watch.before_change()?;
                    self.progress.write(Step::Into(plan))?;
                }
            }
            Stage::None | Stage::Done(Direction::OutOf) => {
                let (notes, looked) = self.begin(&base, wanted, watch)?;
                (done.notes, scan) = (notes, Some(looked));
            }
        }
        let plan = self.plan()?;
        plan.must_be(&base)?;
        let hands = Hands { base: &base, plan: &plan, watch, direction: Direction::Into };
        if !self.progress.renaming {
            hands.gather()?;
            self.shift(&hands, scan, &mut done)?;
            watch.before_change()?;
            self.progress.write(Step::Renaming)?;
        }
        hands.scatter()?;
        watch.before_change()?;
        self.progress.write(Step::Done)?;
        Ok(done)
    }

    /// Moves the data out of the remapped root, with what was written meanwhile. The engine must be stopped.
    ///
    /// # Errors
    /// [`MigrateError`].
    pub fn out_of_range(&mut self, watch: &dyn Watch) -> Result<Done, MigrateError> {
        let mut done = Done::default();
        match self.progress.stage {
            Stage::None | Stage::Done(Direction::OutOf) => return Ok(done),
            Stage::Done(Direction::Into) | Stage::UnderWay(_) => {}
        }
        let plan = self.plan()?;
        let base = Base::open(&path_of(&plan.root))?;
        plan.must_be(&base)?;
        watch.before_change()?;
        self.progress.write(Step::OutOf)?;
        let hands = Hands { base: &base, plan: &plan, watch, direction: Direction::OutOf };
        hands.gather()?;
        self.shift(&hands, None, &mut done)?;
        watch.before_change()?;
        self.progress.write(Step::Done)?;
        Ok(done)
    }

    fn plan(&self) -> Result<Plan, MigrateError> {
        let missing = || MigrateError::Refused(format!("{} holds no plan", self.dir.display()));
        self.progress.plan.clone().ok_or_else(missing)
    }

    fn journal(&self) -> Result<Journal, MigrateError> {
        Journal::open(&self.dir.join("shift"))
    }

    /// Looks whether it may be done, and writes down what is going to be done.
    fn begin(&mut self, base: &Base, wanted: &Wanted, watch: &dyn Watch) -> Result<(Vec<String>, Scan), MigrateError> {
        let survey = Survey::of(base, wanted)?;
        survey.admit()?;
        let shift = Shift { base, starts: &survey.layout.trees, mapping: wanted.mapping, watch };
        let scan = shift.look(Direction::Into)?;
        scan.admit(Direction::Into, true)?;
        let mut modes = Vec::new();
        for path in &survey.layout.passed {
            let mode = Inode::at(base, path)?.stat()?.st_mode & 0o7777;
            if mode & 0o010 == 0 {
                modes.push((path_text(path), mode));
            }
        }
        let plan = Plan {
            root: path_text(&wanted.root),
            inode: base.inode_number(),
            mapping: wanted.mapping,
            host: survey.host,
            left: survey.left.into_iter().collect(),
            modes,
            units: wanted.units.clone(),
        };
        watch.before_change()?;
        self.progress.write(Step::Into(plan))?;
        Ok((survey.notes, scan))
    }

    /// Everything but names, in either direction: what containers' files say, whom directories let pass, owners.
    fn shift(&self, hands: &Hands<'_>, scan: Option<Scan>, done: &mut Done) -> Result<(), MigrateError> {
        let layout = Layout::read(hands.base, &hands.plan.left.iter().cloned().collect())?;
        hands.nodes()?;
        hands.files(&layout)?;
        hands.passed(&layout)?;
        let shift = Shift { base: hands.base, starts: &layout.trees, mapping: hands.plan.mapping, watch: hands.watch };
        let shifted = shift.run(&mut self.journal()?, hands.direction, scan)?;
        done.inodes = shifted.scan.manifest.inodes;
        done.shifted = shifted.scan.left;
        done.gone = shifted.gone;
        Ok(())
    }
}

/// What changes the data root.
struct Hands<'a> {
    base: &'a Base,
    plan: &'a Plan,
    watch: &'a dyn Watch,
    direction: Direction,
}

impl Hands<'_> {
    fn inner(&self) -> PathBuf {
        remapped(&self.plan.mapping)
    }

    /// Brings everything out of the remapped root, if it is there.
    fn gather(&self) -> Result<(), MigrateError> {
        let inner = self.inner();
        if kind(self.base, &inner)?.is_none() {
            return Ok(());
        }
        self.rename_all(&inner, Path::new(""))?;
        let base = self.base.dir(Path::new(""))?;
        // What a remapped engine made for itself stays where it is.
        match unlinkat(&base, &inner, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(error) => Err(self.failed("remove", &inner, error)),
        }
    }

    /// Makes the remapped root and puts everything into it.
    fn scatter(&self) -> Result<(), MigrateError> {
        let inner = self.inner();
        let base = self.base.dir(Path::new(""))?;
        self.watch.before_change()?;
        match mkdirat(&base, &inner, Mode::from_raw_mode(PASSED)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(self.failed("make", &inner, error)),
        }
        let group = Gid::from_raw(self.plan.mapping.gid.start());
        chownat(&base, &inner, Some(Uid::ROOT), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.failed("change the owner of", &inner, error))?;
        Inode::at(self.base, &inner)?.permit(PASSED)?;
        self.rename_all(Path::new(""), &inner)
    }

    fn rename_all(&self, from: &Path, to: &Path) -> Result<(), MigrateError> {
        let (old, new) = (self.base.dir(from)?, self.base.dir(to)?);
        for name in MOVED {
            if kind(self.base, &from.join(name))?.is_none() {
                continue;
            }
            self.watch.before_change()?;
            renameat_with(&old, name, &new, name, RenameFlags::NOREPLACE)
                .map_err(|error| self.failed("rename, to its other root,", &from.join(name), error))?;
        }
        for (dir, path) in [(&new, to), (&old, from)] {
            fsync(dir).map_err(|error| self.failed("sync", path, error))?;
        }
        Ok(())
    }

    /// Removes device nodes of a file system, which the engine makes again.
    fn nodes(&self) -> Result<(), MigrateError> {
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
    fn files(&self, layout: &Layout) -> Result<(), MigrateError> {
        let root = self.base.path().to_owned();
        let inner = root.join(self.inner());
        let into = self.direction == Direction::Into;
        let (from, to) = if into { (&root, &inner) } else { (&inner, &root) };
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
    fn passed(&self, layout: &Layout) -> Result<(), MigrateError> {
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

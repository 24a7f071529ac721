//! Bringing an engine's data into the remapped root and back. The strategy `move`: it is shifted where it is, and then
//! renamed. Every step finds by looking whether it is done, so that a migration cut short anywhere goes on, or back.

use super::copied::room_for_all;
use super::hands::Hands;
use super::layout::Layout;
use super::log::{Plan, Progress, Stage, Step};
use super::survey::{Strategy, Survey, Wanted, remapped};
use crate::migrate::beneath::Base;
use crate::migrate::ids::Direction;
use crate::migrate::inode::Inode;
use crate::migrate::{Journal, MigrateError, Scan, Shift, Watch};
use crate::undo::{make_private, path_of, path_text};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A migration of one data root, and its record.
#[derive(Debug)]
pub struct Migration {
    pub(super) dir: PathBuf,
    pub(super) progress: Progress,
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
    /// How long it took to look at everything, for manifests.
    pub looked: Duration,
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
                if self.progress.whole {
                    return Err(MigrateError::Refused(format!(
                        "{} is on its way back out of the remapped root: let that come to its end first",
                        plan.root
                    )));
                }
                if !self.progress.renaming && self.progress.stage != Stage::UnderWay(Direction::Into) {
                    watch.before_change()?;
                    self.progress.write(Step::Into(plan))?;
                }
            }
            Stage::None | Stage::Done(Direction::OutOf) => {
                scan = Some(self.begin(&base, wanted, watch, &mut done)?);
            }
        }
        let plan = self.plan()?;
        plan.must_be(&base)?;
        if plan.strategy != Strategy::Move {
            self.copy_into(&base, &plan, watch, &mut done)?;
            return Ok(done);
        }
        let hands = Hands { base: &base, root: base.path(), plan: &plan, watch, direction: Direction::Into };
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
        if self.progress.stage != Stage::UnderWay(Direction::OutOf) {
            self.progress.write(Step::OutOf)?;
        }
        if plan.strategy != Strategy::Move {
            self.copy_back(&base, &plan, watch, &mut done)?;
            return Ok(done);
        }
        let hands = Hands { base: &base, root: base.path(), plan: &plan, watch, direction: Direction::OutOf };
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
    fn begin(
        &mut self,
        base: &Base,
        wanted: &Wanted,
        watch: &dyn Watch,
        done: &mut Done,
    ) -> Result<Scan, MigrateError> {
        let survey = Survey::of(base, wanted)?;
        survey.admit()?;
        let shift = Shift { base, starts: &survey.layout.trees, mapping: wanted.mapping, watch };
        let begun = Instant::now();
        let scan = shift.look(Direction::Into)?;
        done.looked += begun.elapsed();
        scan.admit(Direction::Into, true)?;
        room_for_all(base, wanted, watch)?;
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
            strategy: wanted.strategy,
            host: survey.host,
            left: survey.left.into_iter().collect(),
            modes,
            units: wanted.units.clone(),
        };
        watch.before_change()?;
        self.progress.write(Step::Into(plan))?;
        done.notes = survey.notes;
        Ok(scan)
    }

    /// Everything but names, in either direction: what containers' files say, whom directories let pass, owners.
    pub(super) fn shift(&self, hands: &Hands<'_>, scan: Option<Scan>, done: &mut Done) -> Result<(), MigrateError> {
        let layout = Layout::read(hands.base, &hands.plan.left.iter().cloned().collect())?;
        hands.nodes()?;
        hands.files(&layout)?;
        hands.passed(&layout)?;
        let shift = Shift { base: hands.base, starts: &layout.trees, mapping: hands.plan.mapping, watch: hands.watch };
        let shifted = shift.run(&mut self.journal()?, hands.direction, scan)?;
        done.inodes = shifted.scan.manifest.inodes;
        done.shifted = shifted.scan.left;
        done.gone = shifted.gone;
        done.looked += shifted.looked;
        Ok(())
    }
}

//! `userns_migrate`: the data of an engine that is stopped, moved into the root that it will use under `userns-remap`.
//! Undone, it comes back with what was written meanwhile.

mod teller;

use super::userns::{failed, mapping, record, whole_range};
use super::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::fault::Changes;
use crate::migrate::docker::{
    Done, Migration, Stage, Strategy, Survey, Wanted, mounts_below, remapped, room, wait_until_idle,
};
use crate::migrate::{Base, Direction, Mapping, Shift};
use crate::protocol::{Change, Diff, ModuleCall, TaskReport};
use crate::undo::{hold, release};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use teller::Teller;

pub(super) const SPEC: ModuleSpec = ModuleSpec {
    name: "userns_migrate",
    params: &[
        ParamSpec::optional("root", ParamKind::Path),
        ParamSpec::required("start", ParamKind::Int),
        ParamSpec::optional("gid_start", ParamKind::Int),
        ParamSpec::optional("count", ParamKind::Int),
        ParamSpec { choices: &["copy", "move", "reflink"], ..ParamSpec::optional("strategy", ParamKind::Str) },
        ParamSpec::optional("userns_host", ParamKind::List),
        ParamSpec::optional("leave_volumes", ParamKind::List),
        ParamSpec::optional("shift_volumes", ParamKind::List),
        ParamSpec::optional("units", ParamKind::List),
    ],
    free_form: None,
    undo: UndoClass::Exact,
    check: CheckClass::Exact,
    require_one_of: &[],
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    #[serde(default = "data_root")]
    root: PathBuf,
    start: u32,
    gid_start: Option<u32>,
    #[serde(default = "whole_range")]
    count: u32,
    #[serde(default)]
    strategy: Strategy,
    #[serde(default)]
    userns_host: BTreeSet<String>,
    #[serde(default)]
    leave_volumes: BTreeSet<String>,
    #[serde(default)]
    shift_volumes: BTreeSet<String>,
    #[serde(default = "engine_units")]
    units: Vec<String>,
}

fn data_root() -> PathBuf {
    PathBuf::from("/var/lib/docker")
}

fn engine_units() -> Vec<String> {
    // The socket goes first: it would start the service again.
    ["docker.socket", "docker.service"].map(str::to_owned).into()
}

#[derive(Debug)]
struct UsernsMigrate {
    params: Params,
    mapping: Mapping,
}

pub(super) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    let params: Params = decode(call)?;
    let mapping = mapping(call, params.start, params.gid_start, params.count)?;
    if let Some(both) = params.leave_volumes.intersection(&params.shift_volumes).next() {
        let what = format!("names volume {both:?}, which `leave_volumes` names as well");
        return Err(ParamError::new(&call.module, "shift_volumes", &what));
    }
    Ok(Box::new(UsernsMigrate { params, mapping }))
}

impl Module for UsernsMigrate {
    fn check(&self, cx: &Context) -> Result<TaskReport, ModuleError> {
        let wanted = self.wanted()?;
        let stage = Migration::stage_of(&record(cx, "migrate", &wanted.root)).map_err(failed)?;
        if stage == Stage::Done(Direction::Into) {
            return Ok(self.report(&wanted, Change::Unchanged, &Done::default()));
        }
        let done = self.look(cx, &wanted)?;
        let mut report = self.report(&wanted, Change::Changed, &done);
        if cx.diff {
            let (from, to) = (wanted.root.display(), self.inner(&wanted));
            let object = format!("data of {from}");
            let after = format!("in {}, {} inodes shifted", to.display(), done.shifted);
            report = report.differing(Diff::of_states(object, format!("in {from}"), after));
        }
        Ok(report)
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        let wanted = self.wanted()?;
        let record = record(cx, "migrate", &wanted.root);
        let mut migration = Migration::open(&record).map_err(failed)?;
        if migration.stage() == Stage::Done(Direction::Into) {
            release(&cx.state_dir, &record, &cx.control)?;
            return Ok(self.report(&wanted, Change::Unchanged, &Done::default()));
        }
        // What forbids it is said before anything is written down.
        if migration.stage() != Stage::UnderWay(Direction::Into) {
            self.survey(&wanted)?;
        }
        wait_until_idle(&wanted.root, &cx.control).map_err(failed)?;
        cx.undo.data_root(&wanted.root, &record)?;
        let watch = Teller::new(&cx.control, Changes::of(&cx.state_dir));
        let ended = |error| watch.failed(error);
        let held = hold(&cx.state_dir, &record, &wanted.units, &cx.control).map_err(ModuleError::from);
        let begun = Instant::now();
        let moved = held.and_then(|()| migration.into_range(&wanted, &watch).map_err(ended));
        let taken = begun.elapsed();
        // Also where it was refused, and nothing has been moved.
        let released = match migration.stage() {
            Stage::UnderWay(_) => Ok(()),
            Stage::None | Stage::Done(_) => release(&cx.state_dir, &record, &cx.control),
        };
        let done = moved?;
        released?;
        let begun = Instant::now();
        let difference = migration.difference(&watch).map_err(ended)?;
        let changed = taken.saturating_sub(done.looked);
        let looked = done.looked + begun.elapsed();
        let report = self
            .report(&wanted, Change::Changed, &done)
            .with("migration_ms", millis(changed))
            .with("manifests_ms", millis(looked));
        Ok(match difference {
            Some(what) => report.failing(format!("the data has been moved, but {what}")),
            None => report,
        })
    }
}

impl UsernsMigrate {
    fn wanted(&self) -> Result<Wanted, ModuleError> {
        Ok(Wanted {
            // The engine writes down the path without links.
            root: crate::files::resolve(&self.params.root)?,
            mapping: self.mapping,
            strategy: self.params.strategy,
            host: self.params.userns_host.clone(),
            leave: self.params.leave_volumes.clone(),
            shift: self.params.shift_volumes.clone(),
            units: self.params.units.clone(),
        })
    }

    fn inner(&self, wanted: &Wanted) -> PathBuf {
        wanted.root.join(remapped(&self.mapping))
    }

    fn survey(&self, wanted: &Wanted) -> Result<(Base, Survey), ModuleError> {
        let base = Base::open(&wanted.root).map_err(failed)?;
        let survey = Survey::of(&base, wanted).map_err(failed)?;
        survey.admit().map_err(failed)?;
        Ok((base, survey))
    }

    /// Looks at the data as it is, whether or not the engine runs.
    fn look(&self, cx: &Context, wanted: &Wanted) -> Result<Done, ModuleError> {
        let (base, mut survey) = self.survey(wanted)?;
        let mounts = mounts_below(&wanted.root).map_err(failed)?;
        survey.layout.trees.retain(|tree| !mounts.contains(&base.full(tree)));
        let watch = Teller::new(&cx.control, Changes::default());
        let ended = |error| watch.failed(error);
        let shift = Shift { base: &base, starts: &survey.layout.trees, mapping: self.mapping, watch: &watch };
        let scan = shift.look(Direction::Into).map_err(ended)?;
        scan.admit(Direction::Into, true).map_err(failed)?;
        room(&base, wanted.strategy, &scan.manifest).map_err(failed)?;
        Ok(Done { inodes: scan.manifest.inodes, shifted: scan.left, notes: survey.notes, ..Done::default() })
    }

    fn report(&self, wanted: &Wanted, change: Change, done: &Done) -> TaskReport {
        let mut report = TaskReport::new(change)
            .with("root", wanted.root.display().to_string())
            .with("remapped_root", self.inner(wanted).display().to_string())
            .with("inodes", done.inodes)
            .with("shifted", done.shifted);
        report.warnings.extend(done.notes.iter().cloned());
        report.warnings.extend(done.gone.iter().map(|path| format!("{path} is no longer there")));
        report
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

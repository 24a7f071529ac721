//! A play without `rollout:`: Ansible's linear strategy. Each task ends on all hosts of a batch before the next begins.

use super::{
    context::{PlayCx, RunCx},
    dispatcher::{Permission, Permit},
    list::is_flush,
    rollout_play::{HostEnd, PlayEnd},
    stop::Level,
    task_end::{ListEnd, TaskEnd},
    unit::Unit,
};
use crate::{
    journal::{EventKind, HostState, StopCause},
    playbook::{Play, Task},
    rollout::{DomainOf, Resolved, exceeds_percentage, tolerance},
    vars::Batch,
};
use futures::StreamExt;
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio_util::task::AbortOnDropHandle;

/// What is run on every host of the batch before anything else is.
#[derive(Clone)]
enum Piece {
    Facts,
    Task(Arc<Task>),
    Handlers,
}

/// Drives one play.
pub(crate) struct Linear {
    run: Arc<RunCx>,
    play: Arc<Play>,
    index: usize,
    order: Vec<String>,
    ends: BTreeMap<String, HostEnd>,
    units: BTreeMap<String, Unit>,
    /// Hosts that have failed or left: no further task of this play.
    out: Vec<String>,
    /// No further task, no further batch.
    over: bool,
}

impl Linear {
    /// A play over these units, in order.
    pub(crate) fn new(run: Arc<RunCx>, play: &Arc<Play>, index: usize, units: Vec<Unit>) -> Self {
        let order = units.iter().map(|unit| unit.name.clone()).collect();
        let units = units.into_iter().map(|unit| (unit.name.clone(), unit)).collect();
        let play = Arc::clone(play);
        Self { run, play, index, order, ends: BTreeMap::new(), units, out: Vec::new(), over: false }
    }

    /// Runs the play to its end.
    pub(crate) async fn run(mut self) -> PlayEnd {
        let resolved = Resolved::new(&self.play, &self.order, &DomainOf::new(), self.run.options.forks);
        self.run.desk.emit(EventKind::PlayStarted {
            play: self.index,
            name: self.play.name.clone(),
            batches: resolved.batches.clone(),
            rollout: false,
            resolved: resolved.sentences,
        });
        for (number, hosts) in resolved.batches.iter().enumerate() {
            let started = EventKind::BatchStarted { play: self.index, batch: number, hosts: hosts.clone() };
            self.hold().await;
            if self.over || self.run.desk.ask(Permission::Start, started).await == Permit::Denied {
                break;
            }
            self.batch(hosts).await;
            let outcome = if self.over { "aborted" } else { "promoted" }.to_owned();
            self.run.desk.emit(EventKind::BatchEnded { play: self.index, batch: number, outcome });
        }
        self.finish()
    }

    /// Waits while the run is paused: no further task begins.
    async fn hold(&self) {
        if self.over || self.run.desk.stopped().level != Level::Pause {
            return;
        }
        let what = "resume".to_owned();
        self.run.desk.emit(EventKind::Waits {
            play: self.index,
            what,
            timeout_ms: None,
            then: String::new(),
            armed: 0,
            guards_ms: None,
        });
        self.run.desk.unpaused().await;
    }

    async fn batch(&mut self, hosts: &[String]) {
        let cx = Arc::new(PlayCx {
            index: self.index,
            play: Arc::clone(&self.play),
            once: None,
            batch: hosts.to_vec(),
            check: self.run.options.check,
            guard: None,
        });
        for host in hosts {
            if let Some(unit) = self.units.get_mut(host) {
                unit.play = Arc::clone(&cx);
            }
            self.say(host, HostState::Running, None);
        }
        self.tell_batch(hosts);
        let (sections, run) = (self.play.sections.clone(), Arc::clone(&self.run));
        self.piece(hosts, Piece::Facts).await;
        for section in &sections {
            for task in section.iter().filter(|task| cx.selects(task, &run.options)) {
                self.piece(hosts, Piece::Task(Arc::clone(task))).await;
                if is_flush(task) {
                    self.piece(hosts, Piece::Handlers).await;
                }
            }
            self.piece(hosts, Piece::Handlers).await;
        }
        for host in self.active(hosts) {
            let changed = self.units.get(&host).is_some_and(|unit| unit.changed);
            let state = if changed { HostState::Changed } else { HostState::Unchanged };
            self.end(&host, state, None);
        }
    }

    fn active(&self, hosts: &[String]) -> Vec<String> {
        hosts.iter().filter(|host| !self.out.contains(host) && self.units.contains_key(*host)).cloned().collect()
    }

    fn tell_batch(&self, hosts: &[String]) {
        let active = self.order.iter().filter(|host| !self.out.contains(host)).cloned().collect();
        let batch = Batch { all: self.order.clone(), active, batch: self.active(hosts) };
        self.run.world.set_batch(&self.play, &batch);
    }

    /// Runs a piece on every active host of the batch, at most `forks` at once, then judges the failures.
    async fn piece(&mut self, hosts: &[String], piece: Piece) {
        self.hold().await;
        let active = self.active(hosts);
        if self.over || active.is_empty() {
            return;
        }
        let once = matches!(&piece, Piece::Task(task) if task.inherited.run_once);
        let on: Vec<String> = if once { active.iter().take(1).cloned().collect() } else { active.clone() };
        let units: Vec<Unit> = on.iter().filter_map(|host| self.units.remove(host)).collect();
        let touched: Vec<_> = units.iter().map(|unit| Arc::clone(&unit.touched)).collect();
        let work = units.into_iter().map(|unit| spawned(run_piece(unit, piece.clone())));
        let all = futures::stream::iter(work).buffered(self.run.options.forks.max(1)).collect::<Vec<_>>();
        let mut ends: Vec<Option<(Unit, TaskEnd)>> = tokio::select! {
            ends = all => ends,
            () = self.run.desk.until(Level::Kill) => return self.killed(&on, &touched),
        };
        let mut failed = Vec::new();
        for (host, end) in on.iter().zip(ends.drain(..)) {
            let Some((unit, end)) = end else {
                self.leave(host, HostState::Unknown, Some("its task ended without a result".to_owned()));
                continue;
            };
            self.units.insert(host.clone(), unit);
            if let TaskEnd::Failed(why) | TaskEnd::Unreachable(why) = &end {
                failed.push((host.clone(), why.clone()));
            }
            if once {
                for other in &active {
                    self.take(other, if other == host { end.clone() } else { for_others(host, &end) });
                }
            } else {
                self.take(host, end);
            }
        }
        self.judge(hosts, &failed);
        if !failed.is_empty() {
            self.tell_batch(hosts);
        }
    }

    /// The hosts' tasks are dropped with their connections: what was under way is not known.
    fn killed(&mut self, on: &[String], touched: &[Arc<AtomicBool>]) {
        self.over = true;
        for (host, touched) in on.iter().zip(touched) {
            let state = if touched.load(Ordering::Acquire) { HostState::Unknown } else { HostState::NeverStarted };
            self.leave(host, state, Some("killed".to_owned()));
        }
    }

    /// What a piece's end means for a host.
    fn take(&mut self, host: &str, end: TaskEnd) {
        let Some(unit) = self.units.get(host) else { return };
        let (touched, changed) = (unit.is_touched(), unit.changed);
        match end {
            TaskEnd::Ok { .. } | TaskEnd::Skipped | TaskEnd::Unknown => {}
            TaskEnd::Left => {
                let state = if changed { HostState::Changed } else { HostState::Unchanged };
                self.leave(host, state, None);
            }
            TaskEnd::Failed(why) => self.leave(host, HostState::Failed, Some(why)),
            TaskEnd::Unreachable(why) => {
                let state = if touched { HostState::Unknown } else { HostState::NeverStarted };
                self.leave(host, state, Some(format!("unreachable: {why}")));
                if let Some(end) = self.ends.get_mut(host) {
                    end.unreachable_before = !touched;
                }
            }
            TaskEnd::Stopped => {
                let state = if touched || changed { HostState::Failed } else { HostState::NeverStarted };
                self.leave(host, state, Some("stopped".to_owned()));
                self.over = true;
            }
        }
    }

    /// Failures of the batch against what is tolerated (ansible.md 5 and 6; unreachable hosts count).
    fn judge(&mut self, hosts: &[String], failed: &[(String, String)]) {
        let Some((first, why)) = failed.first() else { return };
        let bad: Vec<&String> = hosts
            .iter()
            .filter(|host| self.ends.get(*host).is_some_and(|end| end.out && end.reason.is_some()))
            .collect();
        let count = bad.len();
        let percent = self.play.max_fail_percentage;
        if self.play.any_errors_fatal {
            for host in self.active(hosts) {
                self.leave(&host, HostState::Failed, Some(format!("any_errors_fatal: {first} failed")));
            }
        }
        let exceeded = percent.is_some_and(|percent| exceeds_percentage(count, hosts.len(), percent));
        if self.play.any_errors_fatal || exceeded || count == hosts.len() {
            let size = crate::playbook::Size::Percent(percent.unwrap_or(0.0));
            let tolerated = if exceeded { tolerance(size, hosts.len()) } else { hosts.len().saturating_sub(1) };
            let cause = StopCause::Failures { failed: count, tolerated };
            // The hosts that have not failed keep what they have; no further batch begins.
            self.over = true;
            let more = self.active(hosts);
            for host in more {
                let changed = self.units.get(&host).is_some_and(|unit| unit.changed || unit.is_touched());
                let state = if changed { HostState::Changed } else { HostState::NeverStarted };
                self.leave(&host, state, Some("the play was stopped".to_owned()));
            }
            self.run.desk.emit(EventKind::Warning {
                host: None,
                message: format!(
                    "The play '{}' ends here: {} ({first}: {}).",
                    self.play.name,
                    crate::report::words::cause(&cause),
                    why.trim_end_matches('.')
                ),
            });
        }
    }

    fn leave(&mut self, host: &str, state: HostState, reason: Option<String>) {
        self.out.push(host.to_owned());
        self.end(host, state, reason);
        if let Some(end) = self.ends.get_mut(host) {
            end.out = !matches!(state, HostState::Changed | HostState::Unchanged);
        }
    }

    fn end(&mut self, host: &str, state: HostState, reason: Option<String>) {
        self.say(host, state, reason.clone());
        let recap = self.units.get(host).map(|unit| unit.recap).unwrap_or_default();
        let host = host.to_owned();
        let end = HostEnd { host: host.clone(), state, reason, recap, unreachable_before: false, out: false };
        self.ends.insert(host, end);
    }

    fn say(&self, host: &str, state: HostState, reason: Option<String>) {
        let host = host.to_owned();
        self.run.desk.emit(EventKind::HostChanged { play: self.index, host, state, reason });
    }

    fn finish(mut self) -> PlayEnd {
        let stopped = self.run.desk.stopped();
        for host in self.order.clone() {
            if !self.ends.contains_key(&host) {
                self.end(&host, HostState::NeverStarted, Some("the play was stopped".to_owned()));
            }
        }
        self.run.desk.emit(EventKind::PlayEnded { play: self.index });
        let units = std::mem::take(&mut self.units).into_values().collect();
        let stop = self.over || stopped.level > Level::Pause;
        let aborted = stopped.level >= Level::Abort;
        let hosts = self.order.iter().filter_map(|host| self.ends.remove(host)).collect();
        PlayEnd { hosts, units, stop, paused: false, aborted }
    }
}

/// What a `run_once` task's end on its host is for the others.
fn for_others(host: &str, end: &TaskEnd) -> TaskEnd {
    match end {
        TaskEnd::Unreachable(why) => {
            TaskEnd::Failed(format!("{host}, which was to run it once, is out of reach: {why}"))
        }
        TaskEnd::Left => TaskEnd::Ok { changed: false },
        other => other.clone(),
    }
}

async fn run_piece(mut unit: Unit, piece: Piece) -> (Unit, TaskEnd) {
    let end = match piece {
        Piece::Facts => unit.gather_facts().await,
        Piece::Task(task) => unit.run_task(&task, None).await,
        Piece::Handlers => match unit.flush_handlers().await {
            ListEnd::Done => TaskEnd::Ok { changed: false },
            ListEnd::Failed(why) => TaskEnd::Failed(why),
            ListEnd::Unreachable(why) => TaskEnd::Unreachable(why),
            ListEnd::Stopped => TaskEnd::Stopped,
        },
    };
    (unit, end)
}

/// In a task of its own, so that hosts are served by all cores; it ends when it is dropped.
async fn spawned<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    AbortOnDropHandle::new(tokio::spawn(work)).await.ok()
}

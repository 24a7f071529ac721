//! The play's one task: it owns every host's row, and all that is decided is decided here.

use super::{
    end::PlayEnd,
    jobs::{JobDone, What},
    rehearsal::{self, Rehearsal},
    row::{Doing, Row},
};
use crate::{
    engine::{
        context::{PlayCx, RunCx},
        domains::domains_of,
        guard::GuardCx,
        once::Once,
        stop::{Level, StopRequest},
        unit::Unit,
        watch::{News, Wire},
    },
    journal::{EventKind, HostState, StopCause},
    playbook::{Confirm, OnFailure, Play, Promote, Rollout},
    rollout::{Budget, Failures, Judge, Policy, Progress, Resolved, Upgraded},
    vars::Batch,
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

/// Drives one play.
pub(crate) struct Driver {
    pub(super) run: Arc<RunCx>,
    pub(super) cx: Arc<PlayCx>,
    pub(super) index: usize,
    pub(super) play: Arc<Play>,
    pub(super) rollout: Rollout,
    pub(super) rehearsal: Rehearsal,
    pub(super) policy: Arc<Policy>,
    pub(super) resolved: Resolved,
    pub(super) judge: Judge,
    pub(super) budget: Budget,
    pub(super) failures: Failures,
    /// Changed hosts that are unhealthy (`max_unhealthy_upgraded`).
    pub(super) upgraded: Upgraded,
    /// How long ago a host turned healthy.
    pub(super) progress: Progress,
    pub(super) order: Vec<String>,
    pub(super) rows: BTreeMap<String, Row>,
    pub(super) batch: usize,
    /// Hosts of the batch may be started.
    pub(super) starting: bool,
    /// A host has moved on since hosts were last started: one more may have its place.
    pub(super) moved: bool,
    pub(super) jobs: JoinSet<JobDone>,
    pub(super) running: HashMap<tokio::task::Id, String>,
    pub(super) wire: Wire,
    news: mpsc::UnboundedReceiver<(String, News)>,
    /// Hosts that wait for their rollback.
    pub(super) queue: VecDeque<String>,
    pub(super) restored: usize,
    pub(super) regained: usize,
    /// No further host is put back until an operator says so (R18).
    pub(super) held_back: Option<StopCause>,
    /// Nobody said so: hosts were left as they are, and an operator is needed.
    pub(super) gave_up: bool,
    pub(super) aborted: bool,
    /// The level that has been acted upon.
    pub(super) heard: Level,
    /// The turn of what was heard.
    pub(super) turn: u64,
    /// An operator is waited for, and hosts are asked meanwhile.
    pub(super) keeps_vigil: bool,
    /// They were, and those that were not healthy then have not been looked at again.
    pub(super) vigilant: bool,
    /// Since when the run is paused.
    pub(super) paused_at: Instant,
    pub(super) lost_before: Vec<String>,
    /// Nothing but connecting has been done yet.
    pub(super) preflight: bool,
    /// The hosts' guards; none: `confirm: none`.
    guard: Option<Arc<GuardCx>>,
    /// Hosts whose confirmation is due.
    pub(super) confirming: VecDeque<String>,
    /// The play is over but for its last confirmations.
    pub(super) finishing: bool,
    /// Hosts to be connected or asked for their baseline; at most `forks` at once.
    pub(super) waiting: VecDeque<(String, Prepare)>,
}

/// What is done with a host before it is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prepare {
    /// Pre-flight.
    Connect,
    /// One round of each probe.
    Baseline,
    /// One round of the probes that take one sample.
    Sample,
}

impl Driver {
    /// A play over these units, in order.
    pub(crate) fn new(
        run: Arc<RunCx>,
        play: &Arc<Play>,
        rollout: &Rollout,
        index: usize,
        policy: Policy,
        units: Vec<Unit>,
    ) -> Self {
        let order: Vec<String> = units.iter().map(|unit| unit.name.clone()).collect();
        // What is wrong with them was said before the run began.
        let domains = domains_of(&run.world, play, &order).unwrap_or_default();
        let resolved = Resolved::new(play, &order, &domains, run.options.forks);
        let policy = Arc::new(policy);
        let (wire, news) = mpsc::unbounded_channel();
        let batch_of = |host: &String| resolved.batches.iter().position(|batch| batch.contains(host)).unwrap_or(0);
        let rows = units.into_iter().map(|unit| (unit.name.clone(), Row::new(batch_of(&unit.name), unit))).collect();
        let guarded = rollout.guard.confirm != Confirm::None;
        let guard = guarded.then(|| GuardCx::new(rollout.guard, resolved.max_unavailable, wire.clone()));
        let cx = Arc::new(PlayCx {
            index,
            play: Arc::clone(play),
            once: None,
            batch: order.clone(),
            check: false,
            guard: guard.clone(),
        });
        Self {
            run,
            cx,
            index,
            play: Arc::clone(play),
            rehearsal: rehearsal::wanted(rollout.rehearse),
            rollout: rollout.clone(),
            judge: Judge::new(Arc::clone(&policy)),
            policy,
            budget: Budget::new(resolved.max_unavailable, resolved.domains.clone()),
            failures: Failures::new(resolved.max_fail.unwrap_or(0), play.max_fail_percentage),
            upgraded: Upgraded::new(rollout.max_unhealthy_upgraded, &resolved.batches),
            progress: Progress::new(rollout.progress_deadline),
            resolved,
            order,
            rows,
            batch: 0,
            starting: false,
            moved: false,
            jobs: JoinSet::new(),
            running: HashMap::new(),
            wire,
            news,
            queue: VecDeque::new(),
            restored: 0,
            regained: 0,
            held_back: None,
            gave_up: false,
            aborted: false,
            heard: Level::None,
            turn: 0,
            keeps_vigil: false,
            vigilant: false,
            paused_at: Instant::now(),
            lost_before: Vec::new(),
            preflight: true,
            guard,
            confirming: VecDeque::new(),
            finishing: false,
            waiting: VecDeque::new(),
        }
    }

    /// Runs the play to its end.
    pub(crate) async fn run(mut self) -> PlayEnd {
        self.run.desk.emit(EventKind::PlayStarted {
            play: self.index,
            name: self.play.name.clone(),
            batches: self.resolved.batches.clone(),
            rollout: true,
            resolved: self.resolved.sentences.clone(),
        });
        self.run.desk.emit(EventKind::PlayLimits {
            play: self.index,
            max_unavailable: self.resolved.max_unavailable,
            rollback_parallel: self.resolved.rollback_parallel,
        });
        self.run.desk.policy(self.rollout.on_failure);
        self.enter_batch(0);
        self.waiting = self.order.iter().map(|host| (host.clone(), Prepare::Connect)).collect();
        self.pump().await;
        self.refuse_unreachable();
        self.sample();
        self.pump().await;
        let batches = self.resolved.batches.clone();
        for (index, hosts) in batches.iter().enumerate() {
            if !self.hold().await {
                break;
            }
            self.enter_batch(index);
            self.run.desk.emit(EventKind::BatchStarted { play: self.index, batch: index, hosts: hosts.clone() });
            self.run_batch(hosts).await;
            if !self.end_batch(index, index + 1 == batches.len()).await {
                break;
            }
        }
        self.finish().await
    }

    fn enter_batch(&mut self, index: usize) {
        self.batch = index;
        self.fresh_batch(index);
        let hosts = self.resolved.batches.get(index).cloned().unwrap_or_default();
        let active: Vec<String> = self.order.iter().filter(|host| !self.is_out(host)).cloned().collect();
        let batch = hosts.iter().filter(|host| active.contains(host)).cloned().collect();
        self.run.world.set_batch(&self.play, &Batch { all: self.order.clone(), active, batch });
        self.failures.begin_batch(hosts.len());
    }

    /// No `run_once` task of the batch has run yet.
    pub(super) fn fresh_batch(&mut self, index: usize) {
        let hosts = self.resolved.batches.get(index).cloned().unwrap_or_default();
        self.cx = Arc::new(PlayCx {
            index: self.index,
            play: Arc::clone(&self.play),
            once: Some(Once::default()),
            batch: hosts,
            check: false,
            guard: self.guard.clone(),
        });
        for row in self.rows.values_mut() {
            if let Some(unit) = &mut row.unit {
                unit.play = Arc::clone(&self.cx);
            }
        }
    }

    pub(super) fn is_out(&self, host: &str) -> bool {
        use HostState::{Failed, NeverStarted, RollbackFailed, RolledBack, Unknown};
        self.rows
            .get(host)
            .is_none_or(|row| matches!(row.state, Failed | NeverStarted | RollbackFailed | RolledBack | Unknown))
    }

    /// Says how the batch ended; false: the play ends with it.
    async fn end_batch(&mut self, index: usize, last: bool) -> bool {
        let mut up = self.hold().await;
        if up && self.rollout.promote == Promote::Manual && !last {
            up = self.promotion().await;
        }
        if up {
            self.confirm_batch().await;
            up = self.hold().await;
        }
        if !up && self.heard == Level::Abort {
            self.confirm_kept().await;
        }
        let ended =
            |outcome: &str| EventKind::BatchEnded { play: self.index, batch: index, outcome: outcome.to_owned() };
        if !up {
            let stopped = self.run.desk.stopped();
            let then = stopped.then.unwrap_or(self.rollout.on_failure);
            let goes_on = stopped.level == Level::Abort
                && then == OnFailure::Continue
                && !stopped.lasts()
                && !self.gave_up
                && self.failures.exceeded().is_none()
                && self.unhealthy_upgraded().is_none();
            let killed = stopped.level == Level::Kill;
            self.run.desk.emit(ended(if killed {
                "killed"
            } else if goes_on {
                "continued"
            } else {
                "aborted"
            }));
            if goes_on {
                let held_back = self.held_back.take();
                self.run.desk.go_on().await;
                self.on_stop();
                // What did not help this batch is no reason to begin the next one.
                if let Some(cause) = held_back {
                    self.ask_to_stop(StopRequest::Pause { cause });
                }
            }
            return goes_on;
        }
        let promoted: Vec<String> = self.in_state(HostState::Healthy);
        self.run.desk.emit(ended("promoted"));
        for host in promoted {
            let why = self.rows.get(&host).and_then(|row| row.reason.clone());
            self.set_state(&host, HostState::Changed, why);
        }
        true
    }

    /// Asks the run to stop. While an operator is asked what becomes of an aborted batch, one abort more that decides
    /// nothing is no answer to that.
    pub(super) fn ask_to_stop(&mut self, request: StopRequest) {
        let decides = !matches!(&request, StopRequest::Abort { cause, then: None, .. } if !matches!(cause, StopCause::Rehearsal { .. }));
        if decides || !self.undecided() {
            self.run.desk.stop(request);
        }
    }

    /// Whether nothing has told the run to stop.
    pub(super) fn goes_on(&self) -> bool {
        self.run.desk.is_heeded() && self.run.desk.stopped().level == Level::None
    }

    /// Takes in the news that are here already.
    pub(super) fn hear(&mut self) {
        while let Ok((host, news)) = self.news.try_recv() {
            self.on_news(&host, news);
        }
    }

    /// Takes in what happens until nothing is under way.
    pub(super) async fn pump(&mut self) {
        loop {
            self.advance();
            let settled = self.run.desk.is_heeded() && self.run.desk.stopped().turn == self.turn;
            if settled && self.jobs.is_empty() && self.news.is_empty() && self.next_timer().is_none() {
                return;
            }
            self.happen(None).await;
        }
    }

    /// Takes in the next thing that happens; false: nothing has before this moment.
    pub(super) async fn happen(&mut self, until: Option<Instant>) -> bool {
        let timer = [self.next_timer(), self.progress_due()].into_iter().flatten().min();
        let desk = self.run.desk.clone();
        let (turn, heard) = (self.turn, self.heard);
        tokio::select! {
            biased;
            () = desk.turned(turn, heard) => self.on_stop(),
            Some((host, news)) = self.news.recv() => self.on_news(&host, news),
            Some(done) = self.jobs.join_next_with_id() => self.on_job(done),
            () = sleep_until(timer) => self.on_timer(),
            () = sleep_until(until) => return false,
        }
        true
    }

    fn on_job(&mut self, done: Result<(tokio::task::Id, JobDone), tokio::task::JoinError>) {
        let (id, done) = match done {
            Ok((id, done)) => (id, Some(done)),
            Err(error) => (error.id(), None),
        };
        let Some(host) = self.running.remove(&id) else { return };
        self.moved = true;
        let Some(JobDone { unit, what }) = done else { return self.on_dropped(&host) };
        if let Some(row) = self.rows.get_mut(&host) {
            let was = std::mem::replace(&mut row.doing, Doing::Nothing);
            let mut unit = unit;
            unit.play = Arc::clone(&self.cx);
            row.unit = Some(unit);
            if was == Doing::List {
                row.last_step = Instant::now();
            }
        }
        match what {
            What::Preflight(result) => self.on_preflight(&host, result),
            What::Kept => {}
            What::NotStarted => self.on_not_started(&host),
            What::Watched => self.on_watched(&host),
            What::List(end) => self.on_list(&host, end),
            What::Confirmed(end) => self.on_confirmed(&host, end),
            What::RolledBack(end) => self.on_rolled_back(&host, end),
        }
    }

    /// A host's task was dropped (a kill), or ended by a defect of ours: what it was doing is not known.
    fn on_dropped(&mut self, host: &str) {
        let Some(row) = self.rows.get_mut(host) else { return };
        let was = std::mem::replace(&mut row.doing, Doing::Nothing);
        let (touched, armed) = (row.is_touched(), row.is_armed());
        let (state, untouched) = (row.state, row.untouched_state());
        let reason = Some("killed".to_owned());
        match state {
            HostState::Healthy if !armed => self.set_state(host, HostState::Changed, reason),
            _ if state.is_final() && was != Doing::Rollback => {}
            _ if touched || was == Doing::Rollback => self.set_state(host, HostState::Unknown, reason),
            _ => self.set_state(host, untouched, reason),
        }
    }

    /// The hosts in a state, in order.
    pub(super) fn in_state(&self, state: HostState) -> Vec<String> {
        let is = |host: &&String| self.rows.get(*host).is_some_and(|row| row.state == state);
        self.order.iter().filter(is).cloned().collect()
    }

    /// Passes a host into another state and says so.
    pub(super) fn set_state(&mut self, host: &str, state: HostState, reason: Option<String>) {
        let Some(row) = self.rows.get_mut(host) else { return };
        self.moved = true;
        row.state = state;
        row.reason.clone_from(&reason);
        if matches!(state, HostState::Healthy | HostState::Unchanged) {
            self.progress.made(self.run.clock.elapsed());
        }
        // The start was said by the ask for it.
        if state != HostState::Running {
            let host = host.to_owned();
            self.run.desk.emit(EventKind::HostChanged { play: self.index, host, state, reason });
        }
    }

    /// When something is due without anything happening.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let now = self.run.clock.elapsed();
        let of_rows = self.rows.values().flat_map(|row| {
            let due = row.healthy.as_ref().and_then(crate::rollout::HealthyTime::due);
            let due = due.map(|due| Instant::now() + due.saturating_sub(now));
            [due, row.deadline]
        });
        of_rows.flatten().min()
    }
}

pub(super) async fn sleep_until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at.max(Instant::now() + Duration::from_millis(1))).await,
        None => std::future::pending().await,
    }
}

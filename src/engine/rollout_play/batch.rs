//! One batch: baseline, hosts started as budget and parallelism allow, verified, baked.

use super::{
    driver::{Driver, Prepare},
    row::Doing,
};
use crate::{
    engine::{
        stop::{Level, StopRequest},
        task_end::ListEnd,
        watch::{For, Watch},
    },
    journal::{EventKind, HostState, ProbePhase, StopCause},
    playbook::{Probe, ProbeMode},
    report::words,
    rollout::{Disruption, HealthyTime, ramp, span, verdict::Verdict},
};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Hosts of later batches that are measured with each baseline (R12).
const PEERS: usize = 3;

impl Driver {
    /// Runs a batch to the point where every host of it is healthy, or has ended.
    pub(super) async fn run_batch(&mut self, hosts: &[String]) {
        self.judge.begin_batch(hosts);
        self.baseline(hosts);
        self.pump().await;
        if self.too_many_sick() {
            self.pump().await;
            return;
        }
        loop {
            self.starting = true;
            self.moved = true;
            self.pump().await;
            self.starting = false;
            let settled = self.goes_on();
            if !self.hold().await {
                return;
            }
            if settled && !self.verify_again() {
                break;
            }
        }
        self.bake().await;
    }

    fn baseline(&mut self, hosts: &[String]) {
        if self.rollout.probes.is_empty() {
            return;
        }
        let pending = |host: &&String| {
            self.rows.get(*host).is_some_and(|row| row.state == HostState::Pending && row.unit.is_some())
        };
        let own = hosts.iter().filter(pending);
        let peers = self.order.iter().filter(|host| !hosts.contains(host)).filter(pending).take(PEERS);
        self.waiting = own.chain(peers).map(|host| (host.clone(), Prepare::Baseline)).collect();
    }

    /// One round on every host of later batches, of the probes that take one sample: who is sick now takes up the budget
    /// from the first batch on (R4).
    pub(super) fn sample(&mut self) {
        if self.cheap_probes().is_empty() {
            return;
        }
        let later = |host: &&String| {
            self.rows
                .get(*host)
                .is_some_and(|row| row.batch > 0 && row.state == HostState::Pending && row.unit.is_some())
        };
        self.waiting = self.order.iter().filter(later).map(|host| (host.clone(), Prepare::Sample)).collect();
    }

    pub(super) fn cheap_probes(&self) -> Vec<String> {
        let cheap = |probe: &&Probe| probe.count == 1 && probe.mode == ProbeMode::Enforce;
        self.rollout.probes.iter().filter(cheap).map(|probe| probe.name.clone()).collect()
    }

    /// Hosts that were sick before anything was done to them, and are too many by themselves (R4).
    fn too_many_sick(&mut self) -> bool {
        for host in self.in_state(HostState::Pending) {
            if self.judge.sick_before(&host) {
                self.budget.set(&host, Some(Disruption::SickBefore));
            }
        }
        let Some(spent) = self.budget.exceeded_by_sick() else { return false };
        let evidence = format!(
            "Sick or out of reach before anything was changed: {}. That alone is more than {}.",
            spent.hosts.join(", "),
            spent.limit()
        );
        let cause = StopCause::Budget { disrupted: spent.hosts.len(), max_unavailable: spent.max_unavailable };
        self.ask_to_stop(StopRequest::Abort { cause, evidence, then: None });
        true
    }

    /// Begins whatever may begin now.
    pub(super) fn advance(&mut self) {
        if self.heard >= Level::Abort {
            self.waiting.clear();
        }
        while self.preparing() < self.run.options.forks {
            let Some((host, what)) = self.waiting.pop_front() else { break };
            match what {
                Prepare::Connect => self.spawn_preflight(&host),
                Prepare::Baseline | Prepare::Sample => {
                    let only = (what == Prepare::Sample).then(|| self.cheap_probes());
                    let watch = Watch { only, ..self.watch(&host, ProbePhase::Baseline, For::OneRound) };
                    self.spawn_watch(&host, Doing::Prepare, watch);
                }
            }
        }
        // It stands still while the run is paused or bakes.
        self.progress.run(self.starting && self.goes_on(), self.run.clock.elapsed());
        if self.starting && self.moved && self.goes_on() {
            self.moved = false;
            self.start_hosts();
        }
        self.confirm_next();
        self.roll_back_next();
    }

    fn preparing(&self) -> usize {
        self.rows.values().filter(|row| row.doing == Doing::Prepare).count()
    }

    fn start_hosts(&mut self) {
        let batch = self.resolved.batches.get(self.batch).cloned().unwrap_or_default();
        let mut in_flight = self.rows.values().filter(|row| row.in_flight()).count();
        let most = self.at_once(&batch);
        let mut left_out = None;
        for host in batch {
            let ready = self.rows.get(&host).is_some_and(|row| row.state == HostState::Pending && row.unit.is_some());
            if !ready {
                continue;
            }
            if in_flight >= most {
                return;
            }
            if let Some(spent) = self.budget.against(&host) {
                left_out = Some(spent);
                continue;
            }
            self.budget.set(&host, Some(Disruption::Changing));
            if let Some(row) = self.rows.get_mut(&host) {
                row.began = Some(Instant::now());
            }
            self.set_state(&host, HostState::Running, None);
            self.spawn_list(&host);
            in_flight += 1;
        }
        let Some(spent) = left_out else { return };
        if self.jobs.is_empty() && self.queue.is_empty() && self.next_timer().is_none() {
            let evidence = format!(
                "{} not serving or not restored, and that is all of {}: no further host may be disrupted.",
                spent.hosts.join(", "),
                spent.limit()
            );
            let cause = StopCause::Budget { disrupted: spent.hosts.len(), max_unavailable: spent.max_unavailable };
            self.ask_to_stop(StopRequest::Abort { cause, evidence, then: None });
        }
    }

    /// How many hosts of a batch may be at work now.
    fn at_once(&self, batch: &[String]) -> usize {
        let most = self.rehearsal_limit().unwrap_or(usize::MAX).min(self.resolved.max_parallel);
        if !self.rollout.ramp {
            return most;
        }
        let well = |host: &&String| {
            let state = self.rows.get(*host).map(|row| row.state);
            matches!(state, Some(HostState::Healthy | HostState::Unchanged | HostState::Changed))
        };
        ramp(batch.iter().filter(well).count(), most)
    }

    /// When `progress_deadline` has passed if no host turns healthy; none while nothing is under way.
    pub(super) fn progress_due(&self) -> Option<Instant> {
        let due = self.progress.due().filter(|_| !self.jobs.is_empty())?;
        Some(Instant::now() + due.saturating_sub(self.run.clock.elapsed()))
    }

    fn on_progress_deadline(&mut self) {
        self.progress.run(false, self.run.clock.elapsed());
        let at_work: Vec<String> = self.order.iter().filter(|host| self.is_in_flight(host)).cloned().collect();
        let limit = self.rollout.progress_deadline.map(span).unwrap_or_default();
        let evidence = format!("No host has turned healthy for {limit}; at work: {}.", words::some(&at_work, 8));
        let cause = StopCause::Deadline { deadline: "progress_deadline".to_owned(), host: None };
        self.ask_to_stop(StopRequest::Abort { cause, evidence, then: None });
    }

    fn is_in_flight(&self, host: &str) -> bool {
        self.rows.get(host).is_some_and(super::row::Row::in_flight)
    }

    pub(super) fn on_preflight(&mut self, host: &str, result: Result<(), String>) {
        if let Err(why) = result {
            self.unreachable_before(host, &why);
        }
    }

    /// The start was refused: the run was told to stop meanwhile.
    pub(super) fn on_not_started(&mut self, host: &str) {
        self.clear_budget(host);
        if let Some(row) = self.rows.get_mut(host) {
            row.state = HostState::Pending;
        }
        if self.heard >= Level::Abort {
            self.settle_aborted(host);
        }
    }

    /// A host disrupts nothing any more, unless it was sick before and has not turned healthy since (R4).
    pub(super) fn clear_budget(&mut self, host: &str) {
        let sick = self.judge.still_sick(host).then_some(Disruption::SickBefore);
        self.budget.set(host, sick);
    }

    pub(super) fn on_list(&mut self, host: &str, end: ListEnd) {
        let Some(row) = self.rows.get(host) else { return };
        let touched = row.is_touched();
        match end {
            ListEnd::Done if !touched => {
                self.doubt_rehearsal(host);
                self.clear_budget(host);
                self.set_state(host, HostState::Unchanged, None);
            }
            ListEnd::Done if self.heard >= Level::Abort => self.settle_aborted(host),
            ListEnd::Done => self.verify(host),
            ListEnd::Failed(why) => self.fail(host, why),
            ListEnd::Unreachable(why) if touched => self.lose(host, &why),
            ListEnd::Unreachable(why) => {
                let state = row.untouched_state();
                self.budget.set(host, Some(Disruption::SickBefore));
                if state == HostState::NeverStarted {
                    self.lost_before.push(host.to_owned());
                }
                self.set_state(host, state, Some(format!("unreachable: {why}")));
                self.count_failure(host, &why);
            }
            ListEnd::Stopped => self.settle_aborted(host),
        }
    }

    /// A host is out of reach after its first mutating step.
    pub(super) fn lose(&mut self, host: &str, why: &str) {
        if let Some(row) = self.rows.get_mut(host) {
            row.lost = true;
        }
        self.fail(host, format!("unreachable: {why}"));
    }

    /// A host has failed. What is touched is rolled back alone, at once.
    pub(super) fn fail(&mut self, host: &str, why: String) {
        let Some(row) = self.rows.get_mut(host) else { return };
        if row.queued || row.failing.is_some() || row.doing == Doing::Rollback {
            return;
        }
        row.healthy = None;
        row.deadline = None;
        if matches!(row.state, HostState::Verifying | HostState::Healthy | HostState::Changed) && row.is_touched() {
            self.upgraded.failed(host);
        }
        self.rehearsal_missed(host);
        let Some(row) = self.rows.get_mut(host) else { return };
        if row.doing != Doing::Nothing {
            // Its task gives it back first.
            row.failing = Some(why.clone());
            row.cancel.cancel();
        } else if row.is_touched() {
            self.budget.set(host, Some(Disruption::Failed));
            self.enqueue_rollback(host, Some(why.clone()));
        } else {
            self.clear_budget(host);
            self.set_state(host, HostState::Failed, Some(why.clone()));
        }
        self.count_failure(host, &why);
        self.count_unhealthy();
    }

    /// Watches a host whose tasks are done until it has been healthy for `min_healthy_time`.
    fn verify(&mut self, host: &str) {
        let min = self.rollout.min_healthy_time;
        self.set_state(host, HostState::Verifying, None);
        if self.rollout.probes.is_empty() {
            self.healthy(host);
            return;
        }
        self.verify_within(host, ProbePhase::Verify, min);
    }

    fn verify_within(&mut self, host: &str, phase: ProbePhase, min: Duration) {
        let watch = self.watch(host, phase, For::Ever);
        let deadline = Instant::now() + self.rollout.healthy_deadline;
        let Some(row) = self.rows.get_mut(host) else { return };
        row.healthy = Some(HealthyTime::new(min));
        row.deadline = Some(deadline);
        let doing = if phase == ProbePhase::Bake { Doing::Bake } else { Doing::Verify };
        self.spawn_watch(host, doing, watch);
    }

    pub(super) fn watch(&mut self, host: &str, phase: ProbePhase, lasts: For) -> Watch {
        let cancel = CancellationToken::new();
        let mut last_step = Instant::now();
        if let Some(row) = self.rows.get_mut(host) {
            row.cancel = cancel.clone();
            last_step = row.last_step;
        }
        let (policy, wire) = (self.policy.clone(), self.wire.clone());
        Watch { policy, phase, lasts, last_step, cancel, wire, only: None, settle: Duration::ZERO }
    }

    /// A host has been healthy for long enough.
    fn healthy(&mut self, host: &str) {
        let Some(row) = self.rows.get_mut(host) else { return };
        row.healthy = None;
        row.deadline = None;
        row.inconclusive = None;
        row.cancel.cancel();
        let verifying = row.state == HostState::Verifying;
        let idle = row.doing == Doing::Nothing;
        if self.rehearse(host) {
            return;
        }
        if verifying && self.confirms_alone(host) {
            if idle {
                self.spawn_confirm(host);
            } else if let Some(row) = self.rows.get_mut(host) {
                // Its probes give it back first.
                row.due = true;
            }
            return;
        }
        self.clear_budget(host);
        if verifying {
            let remarks = self.judge.remarks(host);
            self.set_state(host, HostState::Healthy, remarks);
        }
    }

    pub(super) fn on_timer(&mut self) {
        let (now, elapsed) = (Instant::now(), self.run.clock.elapsed());
        if self.progress.over(elapsed) {
            self.on_progress_deadline();
        }
        for host in self.order.clone() {
            let Some(row) = self.rows.get(&host) else { continue };
            if row.healthy.is_some_and(|healthy| healthy.reached(elapsed)) {
                self.healthy(&host);
            } else if row.deadline.is_some_and(|deadline| deadline <= now) {
                self.on_deadline(&host);
            }
        }
    }

    /// `healthy_deadline` has passed. Where nothing was unhealthy it is no failure of the host: it is inconclusive.
    fn on_deadline(&mut self, host: &str) {
        let wanting = self.judge.wanting(host).join("; ");
        let why = format!("not healthy within healthy_deadline: {wanting}");
        let Some(row) = self.rows.get_mut(host) else { return };
        let unhealthy = row.latest.values().any(|verdict| *verdict == Verdict::Unhealthy);
        row.healthy = None;
        row.deadline = None;
        if unhealthy {
            self.fail(host, why);
        } else {
            row.cancel.cancel();
            row.inconclusive = Some(why.clone());
            let environment = row.environment;
            let probe = self.rollout.probes.first().map(|probe| probe.name.clone()).unwrap_or_default();
            let cause = StopCause::Inconclusive { probe, host: host.to_owned() };
            self.inconclusive(cause, host, why, environment);
        }
    }

    pub(super) fn on_watched(&mut self, host: &str) {
        let Some(row) = self.rows.get_mut(host) else { return };
        if let Some(why) = row.failing.take() {
            self.budget.set(host, Some(Disruption::Failed));
            if row.is_touched() {
                self.enqueue_rollback(host, Some(why));
            } else {
                self.set_state(host, HostState::Failed, Some(why));
            }
        } else if self.heard >= Level::Abort {
            if std::mem::take(&mut row.due) {
                self.turned_healthy(host);
            }
            self.rehearsal_missed(host);
            self.settle_aborted(host);
        } else if self.rehearse_if_free(host) {
            // Its probes were ended for this.
        } else if self.rows.get_mut(host).is_some_and(|row| std::mem::take(&mut row.due)) {
            self.spawn_confirm(host);
        } else if self.rows.get(host).is_some_and(|row| row.inconclusive.is_some()) {
            // It holds its place until the run goes on, or is aborted.
            self.budget.set(host, Some(Disruption::Failed));
        }
    }

    /// Asks hosts again of which it could not be told whether they are healthy; false where there is none.
    fn verify_again(&mut self) -> bool {
        let held = |row: &super::row::Row| {
            row.state == HostState::Verifying && row.doing == Doing::Nothing && row.unit.is_some()
        };
        let hosts: Vec<String> = self.rows.iter().filter(|(_, row)| held(row)).map(|(host, _)| host.clone()).collect();
        for host in &hosts {
            if let Some(row) = self.rows.get_mut(host) {
                row.inconclusive = None;
            }
            self.budget.set(host, Some(Disruption::Changing));
            self.verify_within(host, ProbePhase::Verify, self.rollout.min_healthy_time);
        }
        !hosts.is_empty()
    }

    /// Every probe on all hosts changed so far, for `bake_time`; then all must be healthy (R12, R17).
    async fn bake(&mut self) {
        let bake = self.rollout.bake_time;
        let hosts: Vec<String> =
            self.in_state(HostState::Changed).into_iter().chain(self.in_state(HostState::Healthy)).collect();
        if bake.is_zero() || hosts.is_empty() {
            return;
        }
        let bake_ms = crate::clock::millis(bake);
        self.run.desk.emit(EventKind::BakeStarted { play: self.index, batch: self.batch, bake_ms });
        if self.rollout.probes.is_empty() {
            tokio::select! {
                () = self.run.clock.sleep(bake) => {}
                () = self.run.desk.until(Level::Abort) => {}
            }
            return self.pump().await;
        }
        let until = Instant::now() + bake;
        for host in &hosts {
            let watch = self.watch(host, ProbePhase::Bake, For::Bake(until));
            self.spawn_watch(host, Doing::Bake, watch);
        }
        self.pump().await;
        while self.hold().await && self.bake_on(&hosts) {
            self.pump().await;
        }
    }

    /// Watches those hosts further that the bake did not leave healthy; false where all are.
    pub(super) fn bake_on(&mut self, hosts: &[String]) -> bool {
        let mut any = false;
        for host in hosts {
            let kept = self
                .rows
                .get(host)
                .is_some_and(|row| matches!(row.state, HostState::Changed | HostState::Healthy) && row.unit.is_some());
            if kept && !self.judge.healthy(host) {
                self.verify_within(host, ProbePhase::Bake, Duration::ZERO);
                any = true;
            }
        }
        any
    }
}

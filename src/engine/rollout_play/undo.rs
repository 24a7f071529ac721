//! After an abort: who is put back, in which order, how fast, and when it stops because the change was not the cause.

use super::{
    driver::Driver,
    row::{Doing, Row},
};
use crate::{
    engine::{
        rollback::{RollbackEnd, RollbackPlan},
        stop::{Level, StopRequest},
        watch::{For, Watch},
    },
    journal::{HostState, ProbePhase, StopCause},
    playbook::OnFailure,
    rollout::Disruption,
};
use tokio::time::Instant;

/// Restored hosts without their health after which the change is not taken for the cause (R18).
const SUSPECT: usize = 2;

/// The reason of a healthy host that stays as it is after an abort.
pub(super) const KEPT: &str = "kept: on_failure does not roll it back";

/// The reason of a host that has put itself back (R26).
const BY_GUARD: &str = "reverted_by_guard";

impl Driver {
    /// The run was told to stop, or to go on.
    pub(super) fn on_stop(&mut self) {
        let stopped = self.run.desk.stopped();
        let before = std::mem::replace(&mut self.heard, stopped.level);
        self.turn = stopped.turn;
        match stopped.level {
            Level::None => {
                // Whoever was held back may start, or be put back, now.
                self.moved = true;
                if self.held_back.take().is_some() {
                    self.restored = 0;
                }
            }
            Level::Pause if before == Level::None => self.paused_at = Instant::now(),
            Level::Pause => {}
            Level::Abort => self.on_abort(),
            Level::Kill if before == Level::Kill => {}
            Level::Kill => self.on_kill(),
        }
    }

    fn on_abort(&mut self) {
        self.starting = false;
        self.aborted = true;
        for row in self.rows.values_mut() {
            row.healthy = None;
            row.deadline = None;
            if row.doing != Doing::Rollback {
                row.cancel.cancel();
            }
        }
        // The latest batch first.
        let mut hosts = self.order.clone();
        hosts.sort_by_key(|host| std::cmp::Reverse(self.rows.get(host).map_or(0, |row| row.batch)));
        for host in hosts {
            if self.rows.get(&host).is_some_and(|row| row.doing == Doing::Nothing) {
                self.settle_aborted(&host);
            }
        }
    }

    fn on_kill(&mut self) {
        self.aborted = true;
        self.queue.clear();
        self.jobs.abort_all();
        for host in self.order.clone() {
            let Some(row) = self.rows.get_mut(&host) else { continue };
            row.healthy = None;
            row.deadline = None;
            row.queued = false;
            let idle = row.doing == Doing::Nothing && !row.state.is_final();
            let kept = row.state == HostState::Healthy && !row.is_armed();
            if idle && row.is_touched() && !kept {
                self.set_state(&host, HostState::Unknown, Some("killed".to_owned()));
            }
        }
    }

    /// What follows the abort for a host that does nothing any more (R6, R7).
    pub(super) fn settle_aborted(&mut self, host: &str) {
        let Some(row) = self.rows.get(host) else { return };
        let over = matches!(
            row.state,
            HostState::Unchanged
                | HostState::Failed
                | HostState::RolledBack
                | HostState::RollbackFailed
                | HostState::Unknown
                | HostState::NeverStarted
                | HostState::RollingBack
        );
        if over || row.queued {
            return;
        }
        if self.heard >= Level::Kill {
            return self.on_killed(host);
        }
        if !row.is_touched() {
            if row.batch > self.batch {
                // Its batch may still come (`on_failure: continue`); else the end of the play settles it.
                return;
            }
            let state = row.untouched_state();
            let why = if row.state == HostState::Running { self.why_not() } else { "aborted".to_owned() };
            self.clear_budget(host);
            self.set_state(host, state, Some(why));
        } else if self.undecided() && !row.sick {
            // It stays as it is until an operator, or time, has decided.
        } else if self.in_scope(row) {
            let why = row.reason.clone();
            self.enqueue_rollback(host, why);
        } else if row.state == HostState::Healthy && row.is_armed() {
            // It is kept once it is confirmed, at the end of its batch.
        } else if row.state == HostState::Healthy {
            self.set_state(host, HostState::Changed, Some(KEPT.to_owned()));
        } else if row.state != HostState::Changed {
            self.budget.set(host, Some(Disruption::Failed));
            self.set_state(host, HostState::Failed, Some("not rolled back (on_failure: pause)".to_owned()));
        }
    }

    fn on_killed(&mut self, host: &str) {
        let Some(row) = self.rows.get(host) else { return };
        let state = match (row.state, row.is_touched()) {
            (HostState::Healthy | HostState::Changed, _) if !row.is_armed() => HostState::Changed,
            (_, true) => HostState::Unknown,
            (_, false) => row.untouched_state(),
        };
        self.set_state(host, state, Some("killed".to_owned()));
    }

    /// `on_failure: pause`, and nobody has decided yet (R6).
    pub(super) fn undecided(&self) -> bool {
        let stopped = self.run.desk.stopped();
        let then = stopped.then.unwrap_or(self.rollout.on_failure);
        stopped.level == Level::Abort && then == OnFailure::Pause && !stopped.journal_lost && !self.gave_up
    }

    /// Whether an abort puts this host back.
    fn in_scope(&self, row: &Row) -> bool {
        let then = self.run.desk.stopped().then.unwrap_or(self.rollout.on_failure);
        match then {
            OnFailure::RollbackRun => true,
            OnFailure::RollbackBatch => row.batch == self.batch || row.sick,
            OnFailure::Continue => row.sick || !matches!(row.state, HostState::Healthy | HostState::Changed),
            // A host that has failed is put back at once, whatever becomes of the others (R5).
            OnFailure::Pause => row.sick && !self.run.desk.stopped().journal_lost,
        }
    }

    /// Puts a host in line for its rollback.
    pub(super) fn enqueue_rollback(&mut self, host: &str, why: Option<String>) {
        let Some(row) = self.rows.get_mut(host) else { return };
        if row.queued || row.doing != Doing::Nothing {
            return;
        }
        row.queued = true;
        row.reason = why;
        let batch = row.batch;
        self.budget.set(host, Some(Disruption::Failed));
        let earlier = |other: &String| self.rows.get(other).is_some_and(|row| row.batch < batch);
        let place = self.queue.iter().position(earlier).unwrap_or(self.queue.len());
        self.queue.insert(place, host.to_owned());
    }

    /// Begins rollbacks: at their own speed, the first ones few, until one of them has shown that it helps.
    pub(super) fn roll_back_next(&mut self) {
        if self.heard >= Level::Kill || self.queue.is_empty() {
            return;
        }
        loop {
            let reverting = || self.rows.values().filter(|row| row.doing == Doing::Rollback);
            let busy = reverting().count();
            let trying = reverting().filter(|row| !row.lost).count();
            let proven = self.regained > 0 || self.rollout.probes.is_empty();
            if self.held_back.is_some() || busy >= self.resolved.rollback_parallel {
                return;
            }
            // Hosts out of reach hold up nobody.
            let held = !proven && trying + self.restored >= SUSPECT;
            // A confirmation that the abort has cut gives its host back in a moment: the latest batch goes first.
            let cut = self.rows.values().filter(|row| row.doing == Doing::Confirm).map(|row| row.batch).max();
            let may = |row: &Row| (!held || row.lost) && cut.is_none_or(|cut| row.batch >= cut);
            let next = self.queue.iter().position(|host| self.rows.get(host).is_some_and(may));
            let Some(host) = next.and_then(|next| self.queue.remove(next)) else { return };
            self.roll_back(&host);
        }
    }

    fn roll_back(&mut self, host: &str) {
        let Some(row) = self.rows.get_mut(host) else { return };
        row.queued = false;
        let only = row.healthy_before(&self.rollout.probes);
        let reason = row.reason.clone();
        self.budget.set(host, Some(Disruption::Reverting));
        self.set_state(host, HostState::RollingBack, reason);
        let settle = self.rollout.rollback.min_healthy_time;
        let watch = Watch { only: Some(only), settle, ..self.watch(host, ProbePhase::Rollback, For::Ever) };
        let until = Instant::now() + self.rollout.rollback_deadline;
        self.spawn_rollback(host, RollbackPlan { until, regain: self.rollout.healthy_deadline, watch });
    }

    pub(super) fn on_rolled_back(&mut self, host: &str, end: RollbackEnd) {
        // Rounds that the host's task told before it ended.
        self.hear();
        if self.on_rehearsed(host, &end) {
            return;
        }
        let why = self.rows.get(host).and_then(|row| row.reason.clone());
        match end {
            RollbackEnd::Restored { by_guard, .. } => {
                let why = match (by_guard, why) {
                    (true, Some(why)) if !why.starts_with(BY_GUARD) => Some(format!("{BY_GUARD}: {why}")),
                    (true, None) => Some(BY_GUARD.to_owned()),
                    (_, why) => why,
                };
                let lacking = self.judge.not_regained(host);
                self.restored += 1;
                if lacking.is_empty() {
                    self.regained += 1;
                    self.clear_budget(host);
                    self.set_state(host, HostState::RolledBack, why);
                } else {
                    self.budget.set(host, Some(Disruption::Failed));
                    let why = format!("environment: restored, but {}", lacking.join("; "));
                    self.set_state(host, HostState::RollbackFailed, Some(why));
                    self.suspect();
                }
            }
            RollbackEnd::Failed(why) => {
                self.budget.set(host, Some(Disruption::Failed));
                self.set_state(host, HostState::RollbackFailed, Some(why));
                if self.rollout.rollback.pauses {
                    self.hold_back(StopCause::Rollback { host: host.to_owned() });
                }
            }
            RollbackEnd::Unknown(why) => {
                self.budget.set(host, Some(Disruption::Unknown));
                self.set_state(host, HostState::Unknown, Some(format!("unreachable: {why}")));
            }
        }
    }

    /// The change was not the cause: no further host is put back before an operator has looked (R18).
    fn suspect(&mut self) {
        let others = self.rows.values().any(|row| row.queued || row.doing != Doing::Nothing);
        let enough = self.restored >= SUSPECT || !others;
        if self.regained == 0 && enough {
            self.hold_back(StopCause::Environment);
        }
    }

    fn hold_back(&mut self, cause: StopCause) {
        if self.held_back.is_none() {
            self.held_back = Some(cause.clone());
            self.ask_to_stop(StopRequest::Pause { cause });
        }
    }

    /// The rest is not rolled back: an operator has said so, and it stays as it is; or nobody has said anything, and its
    /// guards have it when the run has ended.
    pub(super) fn give_up(&mut self, by_operator: bool) {
        self.gave_up = true;
        for host in std::mem::take(&mut self.queue) {
            if let Some(row) = self.rows.get_mut(&host) {
                row.queued = false;
                row.left = by_operator;
            }
            let why = "environment: not rolled back, since the first hosts put back are not as they were";
            let why = if by_operator { format!("{why}; left as it is by an operator") } else { why.to_owned() };
            self.set_state(&host, HostState::Failed, Some(why));
        }
    }
}

//! When a host's change is confirmed: alone when it has been healthy for long enough, or with its batch after the bake.

use super::{
    driver::Driver,
    row::{Doing, Row},
    undo::KEPT,
};
use crate::{
    engine::{guard::ConfirmEnd, stop::Level},
    journal::{EventKind, HostState},
    playbook::Confirm,
    rollout::Disruption,
};
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

impl Driver {
    /// Whether this host's confirmation is due at its `min_healthy_time`.
    pub(super) fn confirms_alone(&self, host: &str) -> bool {
        self.rollout.guard.confirm == Confirm::PerHost && self.rows.get(host).is_some_and(Row::is_armed)
    }

    /// After the bake: the hosts of the batch, all that are healthy.
    pub(super) async fn confirm_batch(&mut self) {
        self.confirming = self.armed_in(&[HostState::Healthy]).into();
        self.pump().await;
    }

    /// After an abort: the hosts that are not put back.
    pub(super) async fn confirm_kept(&mut self) {
        self.confirm_rest().await;
        for host in self.in_state(HostState::Healthy) {
            if self.rows.get(&host).is_some_and(|row| !row.is_armed()) {
                self.set_state(&host, HostState::Changed, Some(KEPT.to_owned()));
            }
        }
    }

    /// At the end of the play, whatever ended it: what is healthy is confirmed.
    pub(super) async fn confirm_rest(&mut self) {
        self.finishing = true;
        self.confirming = self.armed_in(&[HostState::Healthy]).into();
        self.confirming.extend(self.left_by_operator());
        self.pump().await;
        self.finishing = false;
    }

    /// Hosts of which an operator has said that they stay as they are: no guard is to put them back behind his back.
    fn left_by_operator(&self) -> Vec<String> {
        let left = |row: &Row| row.left && row.is_armed() && row.unit.is_some();
        self.order.iter().filter(|host| self.rows.get(*host).is_some_and(left)).cloned().collect()
    }

    fn armed_in(&self, states: &[HostState]) -> Vec<String> {
        let is = |host: &&String| {
            self.rows.get(*host).is_some_and(|row| states.contains(&row.state) && row.is_armed() && row.unit.is_some())
        };
        self.order.iter().filter(is).cloned().collect()
    }

    /// Begins confirmations, as many at once as hosts may be worked on.
    pub(super) fn confirm_next(&mut self) {
        let desk = &self.run.desk;
        let settled = self.finishing || (desk.is_heeded() && desk.stopped().level < Level::Abort);
        if !settled || self.heard >= Level::Kill {
            self.confirming.clear();
        }
        while self.rows.values().filter(|row| row.doing == Doing::Confirm).count() < self.run.options.forks {
            let Some(host) = self.confirming.pop_front() else { return };
            self.spawn_confirm(&host);
        }
    }

    pub(super) fn on_confirmed(&mut self, host: &str, end: ConfirmEnd) {
        let Some(row) = self.rows.get_mut(host) else { return };
        let failing = row.failing.take();
        match (end, failing) {
            (_, _) if self.heard >= Level::Kill => {}
            (ConfirmEnd::Lost(why) | ConfirmEnd::Failed(why), _) if row.left => {
                let why = format!("left as it is by an operator, but not confirmed: {why}");
                self.set_state(host, HostState::Failed, Some(why));
            }
            (ConfirmEnd::Confirmed | ConfirmEnd::Denied, Some(why)) => {
                self.budget.set(host, Some(Disruption::Failed));
                self.enqueue_rollback(host, Some(why));
            }
            (ConfirmEnd::Denied, None) if self.heard >= Level::Abort && !self.finishing => {
                self.turned_healthy(host);
                self.settle_aborted(host);
            }
            (ConfirmEnd::Denied, None) => {}
            (ConfirmEnd::Confirmed, None) => {
                self.turned_healthy(host);
                if self.heard >= Level::Abort && !self.finishing {
                    self.settle_aborted(host);
                }
            }
            (ConfirmEnd::Lost(why), _) => self.fail(host, format!("reverted_by_guard: {why}")),
            (ConfirmEnd::Failed(why), _) => self.fail(host, why),
        }
    }

    /// A host that is being verified has been healthy for long enough.
    pub(super) fn turned_healthy(&mut self, host: &str) {
        if self.rows.get(host).is_some_and(|row| row.state == HostState::Verifying) {
            self.clear_budget(host);
            let remarks = self.judge.remarks(host);
            self.set_state(host, HostState::Healthy, remarks);
        }
    }

    /// A host said that its guard has fired although it was held.
    pub(super) fn on_guard_lost(&mut self, host: &str, why: &str, armed: &Arc<AtomicBool>) {
        let Some(row) = self.rows.get(host) else { return };
        if !Arc::ptr_eq(armed, &row.armed) {
            // Of the change that the rehearsal has put back.
            return;
        }
        // One that runs its tasks, or is being confirmed, is refused by itself.
        let waits = matches!(row.state, HostState::Verifying | HostState::Healthy) && row.doing != Doing::Confirm;
        if waits && row.failing.is_none() {
            self.fail(host, format!("reverted_by_guard: {why}"));
        }
    }

    /// At the very end: what is still armed is left to its guard, and that is said.
    pub(super) fn leave_to_guards(&mut self) {
        for host in self.order.clone() {
            let Some(row) = self.rows.get_mut(&host) else { continue };
            if let Some(unit) = &mut row.unit {
                unit.leave_to_guard();
            }
            if !row.is_armed() || !row.is_touched() {
                continue;
            }
            let (state, why) = (row.state, row.reason.clone());
            let within = crate::rollout::span(self.guards_done());
            let message =
                format!("Its change is not confirmed: its guard puts it back by itself, within {within} from now.");
            self.run.desk.emit(EventKind::Warning { host: Some(host.clone()), message });
            let why = why.map(|why| format!("{why}; ")).unwrap_or_default();
            self.set_state(&host, state, Some(format!("{why}its guard puts it back by itself, within {within}")));
        }
    }

    /// Hosts that put themselves back when nobody holds them any more.
    pub(super) fn armed_hosts(&self) -> usize {
        self.rows.values().filter(|row| row.is_armed() && row.is_touched()).count()
    }

    /// How long after that the last of them is done at the latest.
    pub(super) fn guards_done(&self) -> Duration {
        let guard = &self.rollout.guard;
        guard.last_deadline(self.order.len(), self.resolved.max_unavailable) + guard.revert_budget
    }
}

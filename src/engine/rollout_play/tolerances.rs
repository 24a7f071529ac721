//! What is tolerated of hosts that fail, are unhealthy, or out of reach, and what follows one more.

use super::driver::Driver;
use crate::{
    engine::stop::{Level, StopRequest},
    journal::{HostState, StopCause},
    playbook::OnUnreachable,
    report::words,
    rollout::Disruption,
};

impl Driver {
    /// A host has failed: it counts for the rest of the run (R5).
    pub(super) fn count_failure(&mut self, host: &str, why: &str) {
        self.failures.failed(host);
        if let Some((failed, tolerated)) = self.failures.exceeded() {
            let cause = StopCause::Failures { failed, tolerated };
            let evidence = format!("{host}: {why}");
            self.ask_to_stop(StopRequest::Abort { cause, evidence, then: None });
        }
    }

    /// A host was out of reach before anything was done to it (`on_unreachable_preflight`).
    pub(super) fn unreachable_before(&mut self, host: &str, why: &str) {
        self.budget.set(host, Some(Disruption::SickBefore));
        self.lost_before.push(host.to_owned());
        let excluded = self.rollout.on_unreachable == OnUnreachable::Exclude;
        let word = if excluded { "excluded: " } else { "" };
        self.set_state(host, HostState::NeverStarted, Some(format!("{word}unreachable: {why}")));
        match self.rollout.on_unreachable {
            OnUnreachable::Count => self.count_failure(host, why),
            OnUnreachable::Exclude => {}
            // Those of the pre-flight are told together.
            OnUnreachable::Abort if self.preflight => {}
            OnUnreachable::Abort => self.refuse_unreachable(),
        }
    }

    /// `on_unreachable_preflight: abort`: ends the run if any host is out of reach.
    pub(super) fn refuse_unreachable(&mut self) {
        self.preflight = false;
        if self.rollout.on_unreachable != OnUnreachable::Abort || self.lost_before.is_empty() {
            return;
        }
        let evidence = format!("Out of reach: {}.", words::some(&self.lost_before, 8));
        let cause = StopCause::Preflight { unreachable: self.lost_before.len() };
        self.ask_to_stop(StopRequest::Abort { cause, evidence, then: None });
    }

    /// More changed hosts are unhealthy than `max_unhealthy_upgraded` tolerates: which, and how many are.
    pub(super) fn unhealthy_upgraded(&self) -> Option<(Vec<String>, usize)> {
        if !self.upgraded.is_limited() {
            return None;
        }
        let changed = self.rows.iter().filter(|(_, row)| {
            row.is_touched() && matches!(row.state, HostState::Verifying | HostState::Healthy | HostState::Changed)
        });
        let sick = changed.map(|(host, _)| host).filter(|host| self.judge.sick(host).is_some());
        self.upgraded.exceeded(self.batch, sick)
    }

    /// Looks at `max_unhealthy_upgraded`, after a round or a failure.
    pub(super) fn count_unhealthy(&mut self) {
        if self.heard >= Level::Abort {
            return;
        }
        let Some((hosts, tolerated)) = self.unhealthy_upgraded() else { return };
        for host in &hosts {
            if let (Some(why), Some(row)) = (self.judge.sick(host), self.rows.get_mut(host)) {
                row.sick = true;
                row.reason.get_or_insert(why);
            }
        }
        let cause = StopCause::UnhealthyUpgraded { unhealthy: hosts.len(), tolerated };
        let evidence = format!("Changed and unhealthy: {}.", words::some(&hosts, 8));
        self.ask_to_stop(StopRequest::Abort { cause, evidence, then: None });
    }
}

//! While a batch waits for an operator its hosts are not left alone: those changed so far are asked on, and judged as in a
//! bake (rollout.md 2.3, 2.4).

use super::{driver::Driver, row::Doing};
use crate::{
    engine::{
        stop::{Decision, Level, Waiting},
        watch::{For, Watch},
    },
    journal::{HostState, ProbePhase},
};
use tokio::time::Instant;

/// What ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Somebody said something, or a probe did.
    Said,
    /// Nobody has within the time given.
    Late,
}

impl Driver {
    /// `promote: manual`: waits until somebody lets the next batch begin, and until every host is healthy then; false: the
    /// run was aborted or killed. A pause that the run makes itself meanwhile is waited for first.
    pub(super) async fn promotion(&mut self) -> bool {
        self.run.desk.wait(Waiting::Promotion, self.waits("promotion", None, "")).await;
        let said = |driver: &Self| driver.run.desk.stopped().decision == Some(Decision::GoOn);
        let stands = |driver: &Self| {
            let stopped = driver.run.desk.stopped();
            stopped.level >= Level::Abort || (stopped.level == Level::Pause && !stopped.by_operator())
        };
        while !said(self) {
            self.vigil(None, |driver| said(driver) || stands(driver)).await;
            if said(self) || !stands(self) {
                continue;
            }
            if !self.hold().await {
                return false;
            }
            if !said(self) {
                self.run.desk.emit(self.waits("promotion", None, ""));
            }
        }
        self.hold().await
    }

    /// Waits, and asks every host changed so far meanwhile. Probes of many samples are left to the end of the bake.
    pub(super) async fn vigil(&mut self, until: Option<Instant>, over: impl Fn(&Self) -> bool) -> Over {
        let only = self.cheap_probes();
        let watched = if only.is_empty() { Vec::new() } else { self.kept_hosts() };
        (self.keeps_vigil, self.vigilant) = (true, true);
        for host in &watched {
            let watch = Watch { only: Some(only.clone()), ..self.watch(host, ProbePhase::Bake, For::Ever) };
            self.spawn_watch(host, Doing::Bake, watch);
        }
        let end = loop {
            self.advance();
            if over(self) {
                break Over::Said;
            }
            if !self.happen(until).await {
                break Over::Late;
            }
        };
        for host in &watched {
            if let Some(row) = self.rows.get(host).filter(|row| row.doing == Doing::Bake) {
                row.cancel.cancel();
            }
        }
        self.pump().await;
        self.keeps_vigil = false;
        end
    }

    /// Hosts that hold the change and are not at work.
    fn kept_hosts(&self) -> Vec<String> {
        let kept = |host: &&String| {
            self.rows.get(*host).is_some_and(|row| {
                // Of those whose verification an abort has ended an operator is asked, too.
                let held = row.state == HostState::Verifying && self.undecided();
                let kept = held || matches!(row.state, HostState::Changed | HostState::Healthy);
                kept && row.is_touched() && !row.queued && row.doing == Doing::Nothing && row.unit.is_some()
            })
        };
        self.order.iter().filter(kept).cloned().collect()
    }

    /// After a wait: watches those further that it did not leave healthy, until `healthy_deadline`; false where all are.
    pub(super) fn look_again(&mut self) -> bool {
        let hosts = self.kept_hosts();
        self.vigilant = self.vigilant && self.bake_on(&hosts);
        self.vigilant
    }
}

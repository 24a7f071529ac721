//! The end of a play: every host in a final state, transactions closed, units handed back.

use super::driver::Driver;
use crate::{
    engine::{stop::Level, unit::Unit},
    journal::{EventKind, HostState, Recap},
    playbook::OnFailure,
};

/// A host at the end of the play.
#[derive(Debug, Clone)]
pub(crate) struct HostEnd {
    pub(crate) host: String,
    pub(crate) state: HostState,
    pub(crate) reason: Option<String>,
    pub(crate) recap: Recap,
    /// Out of reach before its first mutating step.
    pub(crate) unreachable_before: bool,
    /// Takes no part in later plays.
    pub(crate) out: bool,
}

/// The end of a play.
pub(crate) struct PlayEnd {
    pub(crate) hosts: Vec<HostEnd>,
    /// The hosts' units, for later plays.
    pub(crate) units: Vec<Unit>,
    /// No further play begins.
    pub(crate) stop: bool,
    /// An operator is waited for.
    pub(crate) paused: bool,
    /// It was aborted: the run is not good, whatever became of its hosts (R6).
    pub(crate) aborted: bool,
}

impl Driver {
    /// Gives every host that has none its final state, closes transactions, and hands the units back.
    pub(super) async fn finish(mut self) -> PlayEnd {
        self.confirm_rest().await;
        let stopped = self.run.desk.stopped();
        for host in self.order.clone() {
            let Some(row) = self.rows.get(&host) else { continue };
            let (state, untouched, why) = (row.state, row.untouched_state(), self.why_not());
            match state {
                HostState::Pending => self.set_state(&host, untouched, Some(why)),
                HostState::Healthy if row.is_armed() => self.set_state(&host, HostState::Unknown, Some(why)),
                HostState::Healthy => self.set_state(&host, HostState::Changed, Some(why)),
                state if state.is_final() => {}
                _ if row.is_touched() => {
                    self.set_state(&host, HostState::Failed, Some(format!("not rolled back: {why}")));
                }
                _ => self.set_state(&host, untouched, Some(why)),
            }
        }
        let paused = self.gave_up || self.held();
        if stopped.level < Level::Kill && !stopped.journal_lost {
            for host in self.order.clone() {
                let keeps = self.rows.get(&host).is_some_and(|row| match row.state {
                    HostState::Changed => !paused,
                    HostState::RolledBack | HostState::RollbackFailed | HostState::Unknown => false,
                    _ => !row.is_touched(),
                });
                let open =
                    self.rows.get(&host).and_then(|row| row.unit.as_ref()).is_some_and(|unit| !unit.txns.is_empty());
                if keeps && open {
                    self.spawn_keep(&host);
                }
            }
            self.pump().await;
        }
        self.leave_to_guards();
        self.run.desk.emit(EventKind::PlayEnded { play: self.index });
        self.ends(paused)
    }

    /// The play was aborted with `on_failure: pause`, and nobody could be waited for.
    fn held(&self) -> bool {
        let stopped = self.run.desk.stopped();
        stopped.level == Level::Abort && stopped.then.unwrap_or(self.rollout.on_failure) == OnFailure::Pause
    }

    pub(super) fn why_not(&self) -> String {
        match self.run.desk.stopped().level {
            Level::None | Level::Pause => "paused".to_owned(),
            Level::Abort => "aborted".to_owned(),
            Level::Kill => "killed".to_owned(),
        }
    }

    fn ends(mut self, paused: bool) -> PlayEnd {
        let stop = paused || self.run.desk.stopped().level > Level::Pause;
        let (mut hosts, mut units) = (Vec::new(), Vec::new());
        for host in &self.order {
            let out = self.is_out(host);
            let Some(row) = self.rows.remove(host) else { continue };
            let unreachable_before = self.lost_before.contains(host);
            let mut recap = row.unit.as_ref().map(|unit| unit.recap).unwrap_or_default();
            recap.unreachable = recap.unreachable.max(u32::from(row.lost));
            hosts.push(HostEnd {
                host: host.clone(),
                state: row.state,
                reason: row.reason,
                recap,
                unreachable_before,
                out,
            });
            units.extend(row.unit.map(|unit| *unit));
        }
        PlayEnd { hosts, units, stop, paused, aborted: self.aborted }
    }
}

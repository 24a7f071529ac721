//! `rehearse: true`: the first host to change is changed, put back, compared, and changed again before any other host is
//! touched (rollout.md section 4).

use super::{
    driver::Driver,
    row::{Doing, Row},
};
use crate::{
    clock::millis,
    engine::{
        rollback::{RollbackEnd, RollbackPlan},
        stop::{Level, StopRequest},
        watch::{For, Watch},
    },
    journal::{EventKind, HostState, ProbePhase, StopCause},
    playbook::OnFailure,
    rollout::Disruption,
};
use std::sync::Arc;
use tokio::time::Instant;

/// Where the rehearsal of a play stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rehearsal {
    /// None is wanted, or it is over.
    Over,
    /// The next host that turns healthy with a change is the one. Hosts start one at a time until then.
    Due,
    /// This host's probes are being ended, then it is put back.
    Awaited(String),
    /// This host is being put back, since then.
    Undoing(String, Instant),
}

impl Rehearsal {
    fn is_of(&self, host: &str) -> bool {
        matches!(self, Self::Awaited(own) | Self::Undoing(own, _) if own == host)
    }
}

impl Row {
    /// The state of a host of the play on which nothing is changed now.
    pub(super) fn untouched_state(&self) -> HostState {
        if self.rehearsed { HostState::RolledBack } else { HostState::NeverStarted }
    }
}

impl Driver {
    /// How many hosts may be at work while a rehearsal is due or under way; none: it limits nothing.
    pub(super) fn rehearsal_limit(&self) -> Option<usize> {
        match self.rehearsal {
            Rehearsal::Over => None,
            Rehearsal::Due => Some(1),
            Rehearsal::Awaited(_) | Rehearsal::Undoing(..) => Some(0),
        }
    }

    /// A host is healthy with its change: if the rehearsal is due it is this host's, and true is said.
    pub(super) fn rehearse(&mut self, host: &str) -> bool {
        let ready = self.rows.get(host).is_some_and(|row| row.state == HostState::Verifying && row.is_touched());
        if self.rehearsal != Rehearsal::Due || !ready {
            return false;
        }
        self.rehearsal = Rehearsal::Awaited(host.to_owned());
        self.rehearse_if_free(host);
        true
    }

    /// Begins with the host's rollback as soon as its task has given it back; true: it has.
    pub(super) fn rehearse_if_free(&mut self, host: &str) -> bool {
        let Some(row) = self.rows.get(host) else { return false };
        if self.rehearsal != Rehearsal::Awaited(host.to_owned()) || row.doing != Doing::Nothing {
            return false;
        }
        let applied_ms = row.began.map(|began| millis(began.elapsed())).unwrap_or_default();
        let only = row.healthy_before(&self.rollout.probes);
        let (play, name) = (self.index, host.to_owned());
        self.run.desk.emit(EventKind::RehearsalStarted { play, host: name.clone(), applied_ms });
        self.rehearsal = Rehearsal::Undoing(name, Instant::now());
        self.budget.set(host, Some(Disruption::Reverting));
        self.set_state(host, HostState::RollingBack, Some("rehearsal".to_owned()));
        let watch = Watch { only: Some(only), ..self.watch(host, ProbePhase::Rollback, For::Ever) };
        let until = Instant::now() + self.rollout.rollback_deadline;
        self.spawn_rollback(host, RollbackPlan { until, regain: self.rollout.healthy_deadline, watch });
        true
    }

    /// A host's rollback has ended: if it was the rehearsal's, true is said.
    pub(super) fn on_rehearsed(&mut self, host: &str, end: &RollbackEnd) -> bool {
        let Rehearsal::Undoing(own, since) = &self.rehearsal else { return false };
        if own != host {
            return false;
        }
        let rolled_back_ms = millis(since.elapsed());
        let lacking = self.judge.not_regained(host);
        let (compared, failed) = match end {
            RollbackEnd::Restored { compared, .. } if lacking.is_empty() => (*compared, None),
            RollbackEnd::Restored { compared, .. } => {
                (*compared, Some(format!("as before, but {}", lacking.join("; "))))
            }
            RollbackEnd::Failed(why) => (0, Some(why.clone())),
            RollbackEnd::Unknown(why) => (0, Some(format!("unreachable: {why}"))),
        };
        let probes = self.rows.get(host).map(|row| row.healthy_before(&self.rollout.probes)).unwrap_or_default();
        let (play, name) = (self.index, host.to_owned());
        self.run.desk.emit(EventKind::Rehearsed {
            play,
            host: name,
            compared,
            probes,
            rolled_back_ms,
            failed: failed.clone(),
        });
        match failed {
            None => self.change_again(host),
            Some(why) => self.rehearsal_failed(host, matches!(end, RollbackEnd::Unknown(_)), why),
        }
        true
    }

    /// The rollback does what it should: the host begins anew, before any other.
    fn change_again(&mut self, host: &str) {
        self.rehearsal = Rehearsal::Over;
        self.judge.forget(host);
        self.clear_budget(host);
        // What a `run_once` task did on this host has been undone with the rest.
        self.fresh_batch(self.batch);
        let cx = Arc::clone(&self.cx);
        let Some(row) = self.rows.get_mut(host) else { return };
        row.rehearsed = true;
        row.latest.clear();
        if let Some(unit) = &mut row.unit {
            unit.begin_play(cx);
            row.touched = Arc::clone(&unit.touched);
            row.armed = Arc::clone(&unit.armed);
        }
        if self.heard >= Level::Abort {
            let why = format!("rehearsed, not changed again: {}", self.why_not());
            return self.set_state(host, HostState::RolledBack, Some(why));
        }
        self.set_state(host, HostState::Pending, Some("rehearsed; it is changed again".to_owned()));
    }

    /// Nothing else is touched: a rollback that does not work on one host would not work on many.
    fn rehearsal_failed(&mut self, host: &str, unknown: bool, why: String) {
        self.rehearsal = Rehearsal::Over;
        let evidence = format!("{host} could not be put back as it was: {why}");
        let (state, disruption) = if unknown {
            (HostState::Unknown, Disruption::Unknown)
        } else {
            (HostState::RollbackFailed, Disruption::Failed)
        };
        self.budget.set(host, Some(disruption));
        self.set_state(host, state, Some(format!("rehearsal: {why}")));
        self.failures.failed(host);
        let cause = StopCause::Rehearsal { host: host.to_owned() };
        self.ask_to_stop(StopRequest::Abort { cause, evidence, then: Some(OnFailure::RollbackBatch) });
    }

    /// The host fails or is lost before its rehearsal has begun: another host's turn.
    pub(super) fn rehearsal_missed(&mut self, host: &str) {
        if self.rehearsal.is_of(host) {
            self.rehearsal = Rehearsal::Due;
        }
    }

    /// A host that was rehearsed has found nothing to change the second time.
    pub(super) fn doubt_rehearsal(&mut self, host: &str) {
        if self.rows.get(host).is_some_and(|row| row.rehearsed) {
            let message = "It was changed and put back in the rehearsal, and then found nothing to change: what the tasks \
                           decide by is not put back with the rest.";
            self.run.desk.emit(EventKind::Warning { host: Some(host.to_owned()), message: message.to_owned() });
        }
    }
}

/// Where a rehearsal begins.
pub(super) fn wanted(rehearse: bool) -> Rehearsal {
    if rehearse { Rehearsal::Due } else { Rehearsal::Over }
}

//! What the probes say, judged, and what follows.

use super::driver::Driver;
use crate::{
    engine::{stop::StopRequest, watch::News},
    journal::{EventKind, HostState, ProbePhase, StopCause},
    playbook::{OnFailure, OnInconclusive, TriggerAction},
    rollout::{
        Finding, Fired, Round,
        verdict::{Evidence, Verdict},
    },
};

impl Driver {
    pub(super) fn on_news(&mut self, host: &str, news: News) {
        match news {
            News::Variables(variables) => self.judge.set_variables(host, variables),
            News::Absent(probe) => self.judge.set_absent(host, &probe),
            News::Lost(why) => self.on_lost(host, why),
            News::GuardLost { why, armed } => self.on_guard_lost(host, &why, &armed),
            News::Round { probe, phase, verdict, evidence } => self.on_round(host, probe, phase, verdict, &evidence),
        }
    }

    /// A host was out of reach when its probes were asked.
    fn on_lost(&mut self, host: &str, why: String) {
        let Some(row) = self.rows.get(host) else { return };
        match row.state {
            HostState::Pending if row.batch == self.batch => {
                self.unreachable_before(host, &why);
            }
            HostState::Verifying | HostState::Healthy | HostState::Changed if row.failing.is_none() => {
                self.lose(host, &why);
            }
            _ => {}
        }
    }

    fn on_round(&mut self, host: &str, probe: String, phase: ProbePhase, verdict: Verdict, evidence: &Evidence) {
        let state = self.rows.get(host).map_or(HostState::NeverStarted, |row| row.state);
        let late = matches!(phase, ProbePhase::Verify | ProbePhase::Bake)
            && !matches!(state, HostState::Verifying | HostState::Healthy | HostState::Changed);
        if late {
            // Under way when the host failed or was taken back: it decides nothing any more.
            return;
        }
        let round = Round { host, probe: &probe, phase, verdict, evidence };
        let findings = self.judge.observe(round);
        // A wait may last for days: what is as well as before is judged and not written down.
        let same = self.rows.get(host).and_then(|row| row.latest.get(&probe)) == Some(&verdict);
        if !(self.keeps_vigil && same && verdict == Verdict::Healthy) {
            self.run.desk.emit(EventKind::Probed {
                play: self.index,
                host: host.to_owned(),
                probe: probe.clone(),
                phase,
                verdict,
                evidence: evidence.clone(),
            });
        }
        let healthy = self.judge.healthy(host);
        let at = self.run.clock.elapsed();
        let Some(row) = self.rows.get_mut(host) else { return };
        match phase {
            ProbePhase::Baseline => drop(row.before.insert(probe, verdict)),
            ProbePhase::Verify | ProbePhase::Bake => drop(row.latest.insert(probe, verdict)),
            ProbePhase::Rollback => {}
        }
        if healthy {
            row.inconclusive = None;
            row.environment = false;
        }
        if let Some(time) = &mut row.healthy {
            time.observe(at, healthy);
        }
        for finding in findings {
            self.on_finding(finding);
        }
        if matches!(phase, ProbePhase::Verify | ProbePhase::Bake) {
            self.count_unhealthy();
        }
    }

    fn on_finding(&mut self, finding: Finding) {
        match finding {
            Finding::Fired(fired) => self.on_fired(fired),
            Finding::Inconclusive { probe, host, evidence, environment } => {
                let cause = StopCause::Inconclusive { probe, host: host.clone() };
                self.inconclusive(cause, &host, evidence, environment);
            }
            Finding::Unreadable { trigger, host, error } => {
                let evidence = crate::report::words::ended(&format!("trigger '{trigger}' cannot be told: {error}"));
                self.run.desk.emit(EventKind::Warning { host: Some(host.clone()), message: evidence.clone() });
                let cause = StopCause::Unreadable { trigger, host: host.clone() };
                self.inconclusive(cause, &host, evidence, false);
            }
        }
    }

    fn on_fired(&mut self, fired: Fired) {
        let action = match fired.action {
            TriggerAction::FailHost => "fail_host",
            TriggerAction::Pause => "pause",
            TriggerAction::AbortBatch => "abort_batch",
            TriggerAction::RollbackRun => "rollback_run",
        };
        self.run.desk.emit(EventKind::TriggerFired {
            play: self.index,
            trigger: fired.trigger.clone(),
            host: fired.host.clone(),
            when: fired.when.clone(),
            evidence: fired.evidence.clone(),
            action: action.to_owned(),
            dry_run: fired.dry_run,
        });
        if fired.dry_run {
            return;
        }
        let cause = StopCause::Trigger { trigger: fired.trigger.clone(), host: fired.host.clone() };
        let why = format!("trigger '{}': {}", fired.trigger, fired.evidence);
        if let Some(row) = fired.host.as_ref().and_then(|host| self.rows.get_mut(host)) {
            row.sick = true;
            row.reason = Some(why.clone());
        }
        let abort = |then| StopRequest::Abort { cause: cause.clone(), evidence: fired.evidence.clone(), then };
        match (fired.action, &fired.host) {
            (TriggerAction::FailHost, Some(host)) => self.fail(host, why),
            // Its batch is aborted already, and waits for an operator.
            (TriggerAction::AbortBatch, Some(host)) if self.undecided() => self.fail(host, why),
            (TriggerAction::Pause, _) => self.ask_to_stop(StopRequest::Pause { cause }),
            (TriggerAction::RollbackRun, _) => self.ask_to_stop(abort(Some(OnFailure::RollbackRun))),
            (TriggerAction::AbortBatch | TriggerAction::FailHost, _) => {
                if let Some(host) = &fired.host {
                    self.failures.failed(host);
                    self.upgraded.failed(host);
                }
                self.ask_to_stop(abort(None));
            }
        }
    }

    /// It cannot be told whether a host is healthy. What comes from outside host and change never rolls anything back
    /// (rollout.md 2.1, 2.2).
    pub(super) fn inconclusive(&mut self, cause: StopCause, host: &str, evidence: String, environment: bool) {
        if let Some(row) = self.rows.get_mut(host) {
            row.inconclusive.get_or_insert_with(|| evidence.clone());
            row.environment |= environment;
        }
        let request = match self.rollout.on_inconclusive {
            _ if environment => StopRequest::Pause { cause },
            OnInconclusive::Pause => StopRequest::Pause { cause },
            OnInconclusive::Abort => StopRequest::Abort { cause, evidence, then: None },
            OnInconclusive::Rollback => StopRequest::Abort { cause, evidence, then: Some(OnFailure::RollbackBatch) },
        };
        self.ask_to_stop(request);
    }
}

//! How each event changes the view.

use super::types::{
    BatchState, BatchView, Head, HostView, PlayView, RehearsalView, RollbackView, RoundView, RunView, StepView,
    StopView, TriggerView,
};
use crate::{
    journal::{Event, EventKind, FinalHost, HostState, StepInfo, StepStatus, StopCause},
    rollout::verdict::Evidence,
};

impl RunView {
    /// A view that keeps every step's diff and message, for reports.
    pub fn detailed() -> Self {
        Self { detailed: true, ..Self::default() }
    }

    /// A view of all these events.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut view = Self::detailed();
        events.into_iter().for_each(|event| view.apply(event));
        view
    }

    /// Takes one event. One that was taken before (or an older one) changes nothing.
    pub fn apply(&mut self, event: &Event) {
        if event.seq <= self.seen {
            return;
        }
        self.seen = event.seq;
        self.elapsed_ms = event.elapsed_ms;
        match &event.kind {
            EventKind::RunStarted { .. } | EventKind::RunEnded { .. } => self.run(event),
            EventKind::PlayStarted { .. }
            | EventKind::PlayEnded { .. }
            | EventKind::BatchStarted { .. }
            | EventKind::BakeStarted { .. }
            | EventKind::BatchEnded { .. } => self.play(event),
            EventKind::TriggerFired { .. }
            | EventKind::Paused { .. }
            | EventKind::Resumed { .. }
            | EventKind::Aborted { .. }
            | EventKind::Killed { .. }
            | EventKind::Waits { .. }
            | EventKind::Promoted { .. } => self.stop(event),
            EventKind::Warning { host, message } => self.warnings.push((host.clone(), message.clone())),
            EventKind::StepIntent { .. }
            | EventKind::StepProgress { .. }
            | EventKind::StepResult { .. }
            | EventKind::StepSkipped { .. } => self.step(event),
            EventKind::RollbackIntent { .. } | EventKind::RollbackStep { .. } | EventKind::RollbackResult { .. } => {
                self.rollback(event);
            }
            EventKind::HostConnected { .. }
            | EventKind::HostChanged { .. }
            | EventKind::TxnOpened { .. }
            | EventKind::RollbackPlanned { .. }
            | EventKind::Probed { .. } => self.host_event(event),
            EventKind::RehearsalStarted { .. } | EventKind::Rehearsed { .. } => self.rehearsal(event),
            EventKind::PlayLimits { .. }
            | EventKind::RollbackPreviewed { .. }
            | EventKind::GuardArmed { .. }
            | EventKind::ConfirmIntent { .. }
            | EventKind::ConfirmResult { .. }
            | EventKind::GuardFired { .. }
            | EventKind::Unknown => {}
        }
    }

    /// A host, made at its first mention.
    fn host(&mut self, name: &str) -> &mut HostView {
        if !self.hosts.contains_key(name) {
            self.order.push(name.to_owned());
        }
        self.hosts.entry(name.to_owned()).or_default()
    }

    fn run(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RunStarted { run, command, version, playbook, inventory, check, user, agent_sha256: _ } => {
                self.head = Some(Head {
                    run: run.clone(),
                    command: command.clone(),
                    version: version.clone(),
                    playbook: playbook.clone(),
                    inventory: inventory.clone(),
                    check: *check,
                    user: user.clone(),
                    at: event.at,
                });
            }
            EventKind::RunEnded { exit_code, hosts } => {
                self.exit_code = Some(*exit_code);
                for FinalHost { host, state, reason, recap } in hosts {
                    let view = self.host(host);
                    view.enter(*state, event.elapsed_ms);
                    view.reason.clone_from(reason);
                    view.recap = *recap;
                    view.current = None;
                }
            }
            _ => {}
        }
    }

    fn play(&mut self, event: &Event) {
        match &event.kind {
            EventKind::PlayStarted { play, name, batches, rollout, resolved } => {
                batches.iter().flatten().for_each(|host| self.host(host).enter(HostState::Pending, event.elapsed_ms));
                let batch = |hosts: &Vec<String>| BatchView { hosts: hosts.clone(), state: BatchState::Waiting };
                self.plays.push(PlayView {
                    index: *play,
                    name: name.clone(),
                    rollout: *rollout,
                    resolved: resolved.clone(),
                    batches: batches.iter().map(batch).collect(),
                    ended: false,
                });
            }
            EventKind::PlayEnded { play } => {
                if let Some(play) = self.plays.iter_mut().find(|view| view.index == *play) {
                    play.ended = true;
                }
            }
            EventKind::BatchStarted { play, batch, hosts: _ } => self.batch(*play, *batch, BatchState::Running),
            EventKind::BakeStarted { play, batch, bake_ms } => {
                self.batch(*play, *batch, BatchState::Baking { since_ms: event.elapsed_ms, bake_ms: *bake_ms });
            }
            EventKind::BatchEnded { play, batch, outcome } => {
                self.batch(*play, *batch, BatchState::Ended(outcome.clone()));
            }
            _ => {}
        }
    }

    fn batch(&mut self, play: usize, batch: usize, state: BatchState) {
        let view = self.plays.iter_mut().find(|view| view.index == play).and_then(|view| view.batches.get_mut(batch));
        if let Some(view) = view {
            view.state = state;
        }
    }

    fn stop(&mut self, event: &Event) {
        let at = event.at;
        self.waits = match &event.kind {
            EventKind::Waits { what, timeout_ms, .. } => {
                Some((what.clone(), timeout_ms.map(|ms| event.elapsed_ms + ms)))
            }
            _ => None,
        };
        let mut push = |what, cause: &StopCause, evidence: &str, then: &str| {
            let (evidence, then) = (evidence.to_owned(), then.to_owned());
            self.stops.push(StopView { at, what, cause: cause.clone(), evidence, then });
        };
        match &event.kind {
            EventKind::Paused { cause } => push("paused", cause, "", ""),
            EventKind::Resumed { cause } => push("resumed", cause, "", ""),
            EventKind::Killed { cause } => push("killed", cause, "", ""),
            EventKind::Aborted { cause, evidence, then } => push("aborted", cause, evidence, then),
            EventKind::TriggerFired { play: _, trigger, host, when, evidence, action, dry_run } => {
                self.triggers.push(TriggerView {
                    at,
                    name: trigger.clone(),
                    host: host.clone(),
                    when: when.clone(),
                    evidence: evidence.clone(),
                    action: action.clone(),
                    dry_run: *dry_run,
                });
            }
            _ => {}
        }
    }

    fn host_event(&mut self, event: &Event) {
        let detailed = self.detailed;
        match &event.kind {
            EventKind::HostConnected { host, .. } => {
                self.host(host);
            }
            EventKind::HostChanged { play: _, host, state, reason } => {
                let view = self.host(host);
                view.enter(*state, event.elapsed_ms);
                view.reason.clone_from(reason);
                if *state == HostState::Healthy {
                    let of = |rehearsal: &&mut RehearsalView| rehearsal.host == *host && rehearsal.ended;
                    self.rehearsals.iter_mut().filter(of).for_each(|rehearsal| rehearsal.again = true);
                }
            }
            EventKind::RollbackPlanned { host, play, tasks } => {
                self.host(host).would_roll_back.extend(tasks.iter().map(|task| (*play, task.clone())));
            }
            EventKind::TxnOpened { host, txn, .. } => self.host(host).txns.push(txn.clone()),
            EventKind::Probed { play: _, host, probe, phase, verdict, evidence } => {
                let view = self.host(host);
                view.probes.insert(probe.clone(), *verdict);
                if detailed {
                    view.rounds.push(RoundView {
                        at_ms: event.elapsed_ms,
                        probe: probe.clone(),
                        phase: *phase,
                        verdict: *verdict,
                        evidence: Evidence { json: None, ..evidence.clone() },
                    });
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, event: &Event) {
        let detailed = self.detailed;
        match &event.kind {
            EventKind::StepIntent { id, info } => {
                let view = self.host(&id.host);
                view.current = Some((id.play, id.seq, info.clone(), event.elapsed_ms));
                view.progress = None;
            }
            EventKind::StepProgress { id, work } => {
                let view = self.host(&id.host);
                if view.current.as_ref().is_some_and(|(play, seq, ..)| (*play, *seq) == (id.play, id.seq)) {
                    view.progress = Some(work.clone());
                }
            }
            EventKind::StepResult { id, status, diff, message, warnings, took_ms } => {
                let view = self.host(&id.host);
                let same = |(play, seq, ..): &(usize, u64, StepInfo, u64)| (*play, *seq) == (id.play, id.seq);
                let info = if view.current.as_ref().is_some_and(same) {
                    view.progress = None;
                    view.current.take().map(|(_, _, info, _)| info)
                } else {
                    None
                };
                view.count(*status);
                if matches!(status, StepStatus::Failed | StepStatus::Unreachable) && view.failure.is_none() {
                    let of = |get: fn(&StepInfo) -> &String| info.as_ref().map(get).cloned().unwrap_or_default();
                    let message = message.clone().unwrap_or_default();
                    view.failure = Some((of(|info| &info.task), of(|info| &info.place), message));
                }
                if detailed {
                    view.steps.push(StepView {
                        play: id.play,
                        seq: id.seq,
                        task: info.as_ref().map(|info| info.task.clone()).unwrap_or_default(),
                        info,
                        status: *status,
                        diff: diff.clone(),
                        message: message.clone(),
                        warnings: warnings.clone(),
                        ended_ms: event.elapsed_ms,
                        took_ms: *took_ms,
                    });
                }
            }
            EventKind::StepSkipped { id, task, reason } => {
                let view = self.host(&id.host);
                view.count(StepStatus::Skipped);
                if detailed {
                    view.steps.push(StepView {
                        play: id.play,
                        seq: id.seq,
                        info: None,
                        task: task.clone(),
                        status: StepStatus::Skipped,
                        diff: Vec::new(),
                        message: Some(reason.clone()),
                        warnings: Vec::new(),
                        ended_ms: event.elapsed_ms,
                        took_ms: 0,
                    });
                }
            }
            _ => {}
        }
    }

    fn rollback(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RollbackIntent { host, attempt, .. } => {
                self.host(host).rollback = Some(RollbackView { attempt: *attempt, ..RollbackView::default() });
            }
            EventKind::RollbackStep { host, step } => {
                self.host(host).rollback.get_or_insert_default().steps.push(step.clone());
            }
            EventKind::RollbackResult { host, compared, different, failed, no_op, .. } => {
                let rollback = self.host(host).rollback.get_or_insert_default();
                rollback.compared = *compared;
                rollback.different.clone_from(different);
                rollback.failed.clone_from(failed);
                rollback.no_op = *no_op;
                rollback.ended = true;
            }
            _ => {}
        }
    }

    fn rehearsal(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RehearsalStarted { play: _, host, applied_ms } => self.rehearsals.push(RehearsalView {
                host: host.clone(),
                at: event.at,
                applied_ms: *applied_ms,
                compared: 0,
                probes: Vec::new(),
                rolled_back_ms: 0,
                ended: false,
                failed: None,
                again: false,
            }),
            EventKind::Rehearsed { play: _, host, compared, probes, rolled_back_ms, failed } => {
                let Some(rehearsal) = self.rehearsals.iter_mut().rfind(|it| it.host == *host) else { return };
                rehearsal.compared = *compared;
                rehearsal.probes.clone_from(probes);
                rehearsal.rolled_back_ms = *rolled_back_ms;
                rehearsal.ended = true;
                rehearsal.failed.clone_from(failed);
                if failed.is_none() {
                    // It stands for itself: what is said of the host's rollback from here on is of another one.
                    self.host(host).rollback = None;
                }
            }
            _ => {}
        }
    }

    /// Hosts in a state, in order of appearance.
    pub fn in_state(&self, state: HostState) -> Vec<&str> {
        let hosts = self.order.iter().filter(|host| self.hosts.get(*host).is_some_and(|view| view.state == state));
        hosts.map(String::as_str).collect()
    }

    /// Why the run stopped, if it did: the last abort, kill or pause that was not resumed.
    pub fn stopped(&self) -> Option<&StopView> {
        let last = self.stops.last().filter(|stop| stop.what != "resumed")?;
        Some(self.stops.iter().rev().find(|stop| stop.what == "aborted").unwrap_or(last))
    }
}

impl HostView {
    fn enter(&mut self, state: HostState, at_ms: u64) {
        if self.timeline.last().is_none_or(|(_, last)| *last != state) {
            self.timeline.push((at_ms, state));
        }
        self.state = state;
    }

    /// Counts as Ansible does: `ok` includes changed and ignored, a task not run in check mode is none of them.
    fn count(&mut self, status: StepStatus) {
        match status {
            StepStatus::Ok | StepStatus::Unknown => self.recap.ok += 1,
            StepStatus::Changed => {
                self.recap.ok += 1;
                self.recap.changed += 1;
            }
            StepStatus::Skipped => self.recap.skipped += 1,
            StepStatus::Failed => self.recap.failed += 1,
            StepStatus::Ignored => {
                self.recap.ok += 1;
                self.recap.ignored += 1;
            }
            StepStatus::Unreachable => self.recap.unreachable += 1,
        }
    }
}

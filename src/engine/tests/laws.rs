//! What must hold of every run, whatever happened in it: one law for each knob and promise.

use super::{
    model::Case,
    script::ScriptFleet,
    support::{Outcome, Seen},
};
use crate::{
    journal::{EventKind, HostState, ProbePhase, StopCause},
    playbook::Size,
    rollout::verdict::Verdict,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// The states that the events tell, and the most hosts disrupted at any moment by what the events tell.
#[derive(Default)]
struct Told {
    states: BTreeMap<String, HostState>,
    started: BTreeSet<String>,
}

impl Told {
    /// Hosts between their first step and their health, being put back, or given up.
    fn disrupted(&self, there: impl Fn(&str) -> bool) -> usize {
        use HostState::{RollbackFailed, RollingBack, Running, Unknown, Verifying};
        let disrupted = |host: &&String| {
            let state = self.states.get(*host);
            matches!(state, Some(Running | Verifying | RollingBack | RollbackFailed | Unknown)) && there(host)
        };
        self.started.iter().filter(disrupted).count()
    }
}

pub(super) fn each_host_ends_in_one_state(case: &Case, run: &Outcome) -> Result<(), TestCaseError> {
    let hosts: Vec<String> = run.outcome.hosts.iter().map(|host| host.host.clone()).collect();
    prop_assert_eq!(hosts, case.hosts());
    for host in &run.outcome.hosts {
        prop_assert!(host.state.is_final(), "{} ends as {:?}", host.host, host.state);
    }
    Ok(())
}

pub(super) fn every_mutation_follows_its_intent(run: &Outcome) -> Result<(), TestCaseError> {
    let mut permitted: BTreeMap<String, usize> = BTreeMap::new();
    for seen in &run.log {
        match seen {
            Seen::Event(event) => match &event.kind {
                EventKind::StepIntent { id, .. } => *permitted.entry(id.host.clone()).or_default() += 1,
                EventKind::RollbackIntent { host, .. } => {
                    permitted.insert(format!("revert {host}"), 1);
                }
                EventKind::TxnOpened { host, .. } => {
                    permitted.insert(format!("open {host}"), 1);
                }
                _ => {}
            },
            Seen::Call { host, call } if call.starts_with("task") => {
                let left = permitted.entry(host.clone()).or_default();
                prop_assert!(*left > 0, "{host} ran `{call}` without an intent");
                *left -= 1;
            }
            Seen::Call { host, call } if call == "revert" || call == "open" => {
                prop_assert!(permitted.contains_key(&format!("{call} {host}")), "{host}: {call} without an intent");
            }
            Seen::Call { .. } => {}
        }
    }
    Ok(())
}

pub(super) fn nothing_begins_after_an_abort(run: &Outcome) -> Result<(), TestCaseError> {
    let mut aborted = false;
    for kind in run.kinds() {
        match kind {
            EventKind::Aborted { .. } => aborted = true,
            EventKind::BatchEnded { outcome, .. } if outcome == "continued" => aborted = false,
            EventKind::StepIntent { id, .. } => prop_assert!(!aborted, "{} began a step after the abort", id.host),
            EventKind::HostChanged { host, state: HostState::Running, .. } => {
                prop_assert!(!aborted, "{host} was started after the abort");
            }
            EventKind::BatchStarted { .. } => prop_assert!(!aborted, "a batch began after the abort"),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn nothing_begins_while_the_run_is_paused_or_waits(run: &Outcome) -> Result<(), TestCaseError> {
    let (mut paused, mut unpromoted) = (false, false);
    for kind in run.kinds() {
        match kind {
            EventKind::Paused { .. } => paused = true,
            EventKind::Waits { what, .. } if what == "promotion" => unpromoted = true,
            EventKind::Resumed { .. } => paused = false,
            // The next batch of `continue`, or none.
            EventKind::Aborted { .. } => (paused, unpromoted) = (false, false),
            EventKind::Promoted { .. } => unpromoted = false,
            EventKind::BatchStarted { .. } => {
                prop_assert!(!paused && !unpromoted, "a batch began: {paused} {unpromoted}");
            }
            EventKind::HostChanged { host, state: HostState::Running, .. } => {
                prop_assert!(!paused && !unpromoted, "{host} began: {paused} {unpromoted}");
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn the_budget_holds(case: &Case, run: &Outcome) -> Result<(), TestCaseError> {
    let mut told = Told::default();
    let (mut in_flight, mut well, mut batch): (BTreeSet<String>, usize, usize) = Default::default();
    for kind in run.kinds() {
        if let EventKind::BatchStarted { batch: index, .. } = kind {
            (batch, well) = (*index, 0);
        }
        let EventKind::HostChanged { host, state, .. } = kind else { continue };
        told.states.insert(host.clone(), *state);
        if matches!(state, HostState::Running | HostState::Verifying) {
            in_flight.insert(host.clone());
        } else {
            in_flight.remove(host);
        }
        let own = case.cut().get(batch).is_some_and(|batch| batch.contains(host));
        well += usize::from(own && matches!(state, HostState::Healthy | HostState::Unchanged));
        if let Some(limit) = case.max_parallel {
            prop_assert!(in_flight.len() <= limit, "{:?} in flight, {} allowed", in_flight, limit);
        }
        if *state != HostState::Running {
            continue;
        }
        told.started.insert(host.clone());
        let (disrupted, limit) = (told.disrupted(|_| true), case.limit(case.scripts.len()));
        prop_assert!(disrupted <= limit, "{} disrupted with {}, {} allowed", disrupted, host, limit);
        if let Some(rack) = case.rack(host) {
            let there = told.disrupted(|other| case.rack(other) == Some(rack));
            let of = case.hosts().iter().filter(|other| case.rack(other) == Some(rack)).count();
            prop_assert!(there <= case.limit(of).min(of), "{} disrupted in rack {} with {}", there, rack, host);
        }
        if case.ramp {
            prop_assert!(in_flight.len() <= crate::rollout::ramp(well, usize::MAX), "{:?} after {}", in_flight, well);
        }
    }
    Ok(())
}

pub(super) fn batches_come_in_order(case: &Case, run: &Outcome) -> Result<(), TestCaseError> {
    let cut = case.cut();
    let mut now = None;
    for kind in run.kinds() {
        match kind {
            EventKind::BatchStarted { batch, hosts, .. } => {
                prop_assert_eq!(Some(hosts), cut.get(*batch));
                prop_assert_eq!(*batch, now.map_or(0, |now: usize| now + 1));
                now = Some(*batch);
            }
            EventKind::HostChanged { host, state: HostState::Running, .. } => {
                let batch = now.and_then(|now| cut.get(now));
                prop_assert!(batch.is_some_and(|batch| batch.contains(host)), "{host} started in batch {now:?}");
            }
            _ => {}
        }
    }
    Ok(())
}

/// What is said of a host is so.
pub(super) fn states_are_true(case: &Case, run: &Outcome, fleet: &ScriptFleet) -> Result<(), TestCaseError> {
    for (host, state) in run.states() {
        let changed = fleet.is_changed(&host);
        match state {
            HostState::Unchanged | HostState::NeverStarted | HostState::RolledBack => {
                prop_assert!(!changed, "{host} is said to be {state:?} and holds the change");
            }
            HostState::Changed => {
                prop_assert!(changed, "{host} is said to be changed and is not");
                prop_assert!(!fleet.is_armed(&host), "{host} is said to be changed and will put itself back");
            }
            _ => {}
        }
    }
    let reverts = |host: &str| {
        let is = |seen: &&Seen| matches!(seen, Seen::Call { host: at, call } if at == host && call == "revert");
        run.log.iter().filter(is).count()
    };
    let killed = run.kinds().any(|kind| matches!(kind, EventKind::Killed { .. }));
    for (host, script) in case.hosts().iter().zip(&case.scripts) {
        // Three tries of each: the rehearsal's and the host's own.
        prop_assert!(reverts(host) <= if case.rehearse { 6 } else { 3 }, "{host} was reverted {} times", reverts(host));
        if script.revert_fails >= 3 && reverts(host) == 3 && !killed {
            prop_assert_eq!(run.state(host), HostState::RollbackFailed);
        }
    }
    Ok(())
}

/// The exit code says what happened (R19).
pub(super) fn the_exit_code_is_right(run: &Outcome) -> Result<(), TestCaseError> {
    let has = |wanted: &[HostState]| run.states().iter().any(|(_, state)| wanted.contains(state));
    let code = run.outcome.exit_code;
    if has(&[HostState::Unknown, HostState::RollbackFailed]) || run.outcome.paused {
        prop_assert_eq!(code, 3);
    } else if has(&[HostState::Failed, HostState::RolledBack]) {
        prop_assert!(code == 2 || code == 4, "{code}");
    }
    if code == 0 {
        prop_assert!(!has(&[HostState::NeverStarted]), "good, though a host was never started");
        let aborted = run.kinds().any(|kind| matches!(kind, EventKind::Aborted { .. }));
        prop_assert!(!aborted, "good, though the run was aborted");
    }
    Ok(())
}

/// More failures than `max_fail` always abort, and fewer never do.
pub(super) fn max_fail_is_exact(case: &Case, run: &Outcome) -> Result<(), TestCaseError> {
    for kind in run.kinds() {
        if let EventKind::Aborted { cause: StopCause::Failures { failed, tolerated }, .. } = kind {
            let of_run = (*failed, *tolerated) == (case.max_fail + 1, case.max_fail);
            let of_batch = case.max_fail_percentage.is_some() && *failed == *tolerated + 1;
            // An operator who lets a failed batch go on tolerates what has failed so far.
            let forgiven =
                run.kinds().any(|kind| matches!(kind, EventKind::Resumed { .. })) && *failed == tolerated + 1;
            prop_assert!(of_run || of_batch || forgiven, "at the first one too many: {} of {}", failed, tolerated);
        }
    }
    use HostState::{Failed, RollbackFailed, RolledBack, Unknown};
    let stopped = run.kinds().any(|kind| matches!(kind, EventKind::Aborted { .. } | EventKind::Paused { .. }));
    let failed =
        run.states().iter().filter(|(_, s)| matches!(s, Failed | RollbackFailed | RolledBack | Unknown)).count();
    prop_assert!(stopped || failed <= case.max_fail, "{} failed, and nothing stopped", failed);
    Ok(())
}

/// It aborts at the first one too many of the batches begun so far.
pub(super) fn max_unhealthy_upgraded_is_exact(case: &Case, run: &Outcome) -> Result<(), TestCaseError> {
    let mut begun = 0;
    for kind in run.kinds() {
        match kind {
            EventKind::BatchStarted { hosts, .. } => begun += hosts.len(),
            EventKind::Aborted { cause: StopCause::UnhealthyUpgraded { unhealthy, tolerated }, .. } => {
                let allowed = case.upgraded.map(|p| crate::rollout::tolerance(Size::Percent(p.into()), begun));
                // An operator who lets a failed batch go on tolerates what has failed so far.
                let forgiven = run.kinds().any(|kind| matches!(kind, EventKind::Resumed { .. }));
                prop_assert!(*unhealthy == tolerated + 1, "{} of {}", unhealthy, tolerated);
                prop_assert!(forgiven || allowed == Some(*tolerated), "{} tolerated of {:?}", tolerated, allowed);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Who is left out is no failure, and `abort` ends the run before it has begun.
pub(super) fn on_unreachable_preflight_is_heeded(case: &Case, run: &Outcome) -> Result<(), TestCaseError> {
    let dead = case.scripts.iter().filter(|script| script.unreachable).count();
    let stopped = |fits: &dyn Fn(&StopCause) -> bool| {
        run.kinds().any(|kind| matches!(kind, EventKind::Aborted { cause, .. } if fits(cause)))
    };
    if case.unreachable == "abort" && dead > 0 {
        let began = run.kinds().any(|kind| matches!(kind, EventKind::HostChanged { state: HostState::Running, .. }));
        prop_assert!(!began, "a host was started");
    }
    let refused = stopped(&|cause| matches!(cause, StopCause::Preflight { .. }));
    prop_assert!(!refused || case.unreachable == "abort");
    if case.unreachable == "exclude" && dead == case.scripts.len() {
        prop_assert!(!stopped(&|cause| matches!(cause, StopCause::Failures { .. })), "who is left out has not failed");
    }
    Ok(())
}

/// A probe or trigger in dry run stops nothing; `progress_deadline` only where no host has turned healthy for so long.
pub(super) fn only_what_may_stop_a_run_does(case: &Case, run: &Outcome) -> Result<(), TestCaseError> {
    let mut progress = 0;
    for event in &run.events {
        match &event.kind {
            EventKind::HostChanged { state: HostState::Healthy | HostState::Unchanged, .. } => {
                progress = event.elapsed_ms;
            }
            EventKind::Aborted { cause: StopCause::Trigger { trigger, .. }, .. }
            | EventKind::Paused { cause: StopCause::Trigger { trigger, .. }, .. } => prop_assert_eq!(trigger, "sick"),
            EventKind::Aborted { cause: StopCause::Deadline { deadline, .. }, .. }
                if deadline == "progress_deadline" =>
            {
                let limit = case.progress.map(|seconds| seconds * 1000);
                prop_assert!(limit.is_some_and(|limit| event.elapsed_ms >= progress + limit), "too early");
            }
            _ => {}
        }
    }
    Ok(())
}

/// A host is healthy only after `min_healthy_time` of nothing but healthy rounds, and not after `healthy_deadline`.
pub(super) fn healthy_means_healthy_for_long_enough(case: &Case, run: &Outcome) -> Result<(), TestCaseError> {
    let mut since: BTreeMap<&str, Option<u64>> = BTreeMap::new();
    let mut verifying: BTreeMap<&str, u64> = BTreeMap::new();
    let sick_before = |host: &str| {
        let rounds = run.kinds().filter_map(|kind| match kind {
            EventKind::Probed { host: of, phase: ProbePhase::Baseline, verdict, .. } if of == host => Some(*verdict),
            _ => None,
        });
        rounds.last() == Some(Verdict::Unhealthy)
    };
    for event in &run.events {
        match &event.kind {
            EventKind::HostChanged { host, state: HostState::Verifying, .. } => {
                since.insert(host, None);
                verifying.insert(host, event.elapsed_ms);
            }
            EventKind::Probed { host, phase: ProbePhase::Verify, verdict, .. } => {
                let before = since.get(host.as_str()).copied().flatten();
                let healthy = *verdict == Verdict::Healthy;
                since.insert(host, if healthy { before.or(Some(event.elapsed_ms)) } else { None });
            }
            EventKind::HostChanged { host, state: HostState::Healthy, .. } if !sick_before(host) => {
                let since = since.get(host.as_str()).copied().flatten();
                let long = since.is_some_and(|since| event.elapsed_ms + 5 >= since + 4000);
                prop_assert!(long, "{} is healthy since {:?} at {}", host, since, event.elapsed_ms);
                let began = verifying.get(host.as_str()).copied().unwrap_or_default();
                let paused = run.kinds().any(|kind| matches!(kind, EventKind::Paused { .. }));
                prop_assert!(paused || event.elapsed_ms <= began + 40_100, "{} is healthy after its deadline", host);
            }
            _ => {}
        }
    }
    let _ = case;
    Ok(())
}

/// "Rolled back" is said only of what was verified; what has been put back is never put back again.
pub(super) fn rolled_back_means_verified(run: &Outcome) -> Result<(), TestCaseError> {
    let (mut verified, mut undone): (BTreeSet<&str>, BTreeSet<&str>) = Default::default();
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    for kind in run.kinds() {
        match kind {
            EventKind::RollbackIntent { host, txn, .. } => {
                prop_assert!(!undone.contains(txn.as_str()), "{} is put back a second time", host);
                last.insert(host, txn);
            }
            EventKind::RollbackResult { host, failed: None, different, .. } => {
                prop_assert!(different.is_empty());
                verified.insert(host);
                undone.extend(last.get(host.as_str()));
            }
            EventKind::HostChanged { host, state: HostState::RolledBack, .. } => {
                prop_assert!(verified.contains(host.as_str()), "{} is said to be rolled back, unverified", host);
            }
            EventKind::HostChanged { host, state: HostState::Verifying, .. } => drop(verified.remove(host.as_str())),
            _ => {}
        }
    }
    Ok(())
}

/// No host is at work beside the one that rehearses, none is kept before, none starts after a rehearsal that failed.
pub(super) fn a_rehearsal_comes_first(case: &Case, run: &Outcome) -> Result<(), TestCaseError> {
    let (mut at_work, mut over, mut failed): (BTreeSet<&str>, usize, bool) = Default::default();
    for kind in run.kinds() {
        match kind {
            EventKind::Rehearsed { failed: why, .. } => {
                over += 1;
                failed |= why.is_some();
            }
            EventKind::HostChanged { host, state, .. } => {
                if matches!(state, HostState::Running | HostState::Verifying) {
                    prop_assert!(!failed, "{} was started after a rehearsal that failed", host);
                    at_work.insert(host);
                } else {
                    at_work.remove(host.as_str());
                }
                let early = case.rehearse && over == 0;
                prop_assert!(!early || at_work.len() <= 1, "{:?} at work before the rehearsal", at_work);
                prop_assert!(!early || *state != HostState::Healthy, "{} is kept before the rehearsal", host);
            }
            _ => {}
        }
    }
    prop_assert!(over <= usize::from(case.rehearse), "{} rehearsals", over);
    Ok(())
}

/// A batch is a barrier, and the bake asks every host changed so far.
pub(super) fn batches_end_with_all_hosts_done_and_asked(case: &Case, run: &Outcome) -> Result<(), TestCaseError> {
    let mut states: BTreeMap<&str, HostState> = BTreeMap::new();
    let mut asked: Option<BTreeSet<&str>> = None;
    for kind in run.kinds() {
        match kind {
            EventKind::HostChanged { host, state, .. } => drop(states.insert(host, *state)),
            EventKind::BakeStarted { .. } => asked = Some(BTreeSet::new()),
            EventKind::Probed { host, phase: ProbePhase::Bake, .. } => {
                if let Some(asked) = &mut asked {
                    asked.insert(host);
                }
            }
            EventKind::BatchEnded { batch, outcome, .. } if outcome == "promoted" => {
                for host in &case.cut()[*batch] {
                    let state = states.get(host.as_str()).copied().unwrap_or(HostState::Pending);
                    prop_assert!(state.is_final() || state == HostState::Healthy, "{} is {:?}", host, state);
                }
                let changed =
                    states.iter().filter(|(_, state)| matches!(state, HostState::Changed | HostState::Healthy));
                for (host, _) in changed.filter(|_| case.bake > 0) {
                    let asked = asked.as_ref().is_some_and(|asked| asked.contains(host));
                    prop_assert!(asked, "{} was not asked in the bake of batch {}", host, batch);
                }
                asked = None;
            }
            _ => {}
        }
    }
    Ok(())
}

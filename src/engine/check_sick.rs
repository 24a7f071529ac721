//! Hosts that are sick when a plan is made (rollout.md R4): asked by the probes that only read, since a plan writes nothing
//! on a host; a `command` probe may do anything and is asked when the run begins.

use super::{
    probe::{Asking, ProbeRun},
    task_end::ListEnd,
    unit::Unit,
};
use crate::{
    journal::{EventKind, ProbePhase},
    playbook::{Probe, ProbeMode, ProbeTarget, Rollout},
    rollout::{Budget, Disruption, Policy, Resolved, verdict::Verdict},
};
use std::{collections::BTreeMap, time::Duration};
use tokio_util::sync::CancellationToken;

/// What is wrong with a host now, a sentence a probe; empty: nothing that its probes say.
pub(crate) async fn sickness(unit: &Unit, rollout: &Rollout) -> String {
    let Ok(policy) = Policy::new(rollout) else { return String::new() };
    let reads = |probe: &&Probe| {
        probe.count == 1 && probe.mode == ProbeMode::Enforce && !matches!(probe.target, ProbeTarget::Command(_))
    };
    let mut sick = Vec::new();
    for probe in rollout.probes.iter().filter(reads) {
        let cancel = CancellationToken::new();
        let asking = Asking { policy: &policy, phase: ProbePhase::Baseline, since: Duration::MAX, cancel: &cancel };
        let ProbeRun::Round(verdict, evidence) = unit.probe(probe, &asking).await else { continue };
        if verdict == Verdict::Unhealthy {
            sick.push(format!("{} is unhealthy: {}", probe.name, evidence.detail));
        }
        unit.run.desk.emit(EventKind::Probed {
            play: unit.play.index,
            host: unit.name.clone(),
            probe: probe.name.clone(),
            phase: ProbePhase::Baseline,
            verdict,
            evidence: *evidence,
        });
    }
    sick.join("; ")
}

/// Hosts that are sick take up the budget; where they alone exceed it they cannot be planned.
pub(crate) fn weigh(resolved: &Resolved, ends: &mut [(Unit, ListEnd, String)]) {
    let mut budget = Budget::new(resolved.max_unavailable, resolved.domains.clone());
    let sick: BTreeMap<String, String> = ends
        .iter()
        .filter(|(_, _, why)| !why.is_empty())
        .map(|(unit, _, why)| (unit.name.clone(), why.clone()))
        .collect();
    sick.keys().for_each(|host| budget.set(host, Some(Disruption::SickBefore)));
    let spent = budget.exceeded_by_sick();
    for (unit, end, why) in ends.iter_mut().filter(|(_, _, why)| !why.is_empty()) {
        match &spent {
            Some(spent) if spent.hosts.contains(&unit.name) && *end == ListEnd::Done => {
                let others = spent.hosts.len() - 1;
                *end = ListEnd::Failed(format!(
                    "sick before any change ({why}); with {others} other hosts that is more than {}",
                    spent.limit()
                ));
            }
            _ => unit.warn(format!("It is sick before any change, and takes up max_unavailable: {why}.")),
        }
    }
}

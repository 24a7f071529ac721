//! Budgets, ramps and deadlines of a rollout, in paused time.

use super::{
    scene::{Scene, good},
    script::{Health, Script, StepFault},
    support::{Outcome, states},
};
use crate::journal::{EventKind, HostState, StopCause};
use HostState::{Changed, NeverStarted, RolledBack};

/// Runs one task on these hosts (name, variables, script) with this stanza.
async fn rollout(stanza: &str, hosts: &[(&str, &str, Script)]) -> Outcome {
    Scene::of(stanza, hosts).run().await
}

/// The most hosts in flight at once whose name begins so.
fn most_at_once(run: &Outcome, prefix: &str) -> usize {
    let mut now = std::collections::BTreeSet::new();
    let mut most = 0;
    for kind in run.kinds() {
        let EventKind::HostChanged { host, state, .. } = kind else { continue };
        if matches!(state, HostState::Running | HostState::Verifying) && host.starts_with(prefix) {
            now.insert(host.clone());
        } else {
            now.remove(host);
        }
        most = most.max(now.len());
    }
    most
}

#[tokio::test(start_paused = true)]
async fn a_percentage_of_each_failure_domain_may_be_disrupted_and_batches_keep_their_order() {
    let hosts: Vec<(String, &str)> = [("r1", 5), ("r2", 5)]
        .iter()
        .flat_map(|(rack, n)| {
            (0..*n).map(move |i| (format!("{rack}-{i}"), if *rack == "r1" { "rack=r1" } else { "rack=r2" }))
        })
        .collect();
    let hosts: Vec<(&str, &str, Script)> = hosts.iter().map(|(name, rack)| (name.as_str(), *rack, good())).collect();
    let run = rollout("    batches: [10]\n    max_unavailable: 40%\n    failure_domain: rack", &hosts).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed; 10], 0));
    assert_eq!((most_at_once(&run, "r1"), most_at_once(&run, "r2"), most_at_once(&run, "r")), (2, 2, 4));
    let started: Vec<&String> = run
        .kinds()
        .filter_map(|kind| match kind {
            EventKind::HostChanged { host, state: HostState::Running, .. } => Some(host),
            _ => None,
        })
        .collect();
    assert_eq!(started[..4], ["r1-0", "r1-1", "r2-0", "r2-1"], "the next of the batch whose domain has room");
}

#[tokio::test(start_paused = true)]
async fn hosts_in_no_failure_domain_are_named_before_anything_is_touched() {
    let hosts = [("a", "rack=r1", good()), ("b", "", good()), ("c", "rack=''", good())];
    let error = Scene::of("    batches: [3]\n    failure_domain: rack", &hosts).try_run().await.err().expect("refused");
    let text = error.render(false);
    assert!(text.contains("`rack` says nothing on b") && text.contains("c (empty)"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_is_used_up_by_a_host_nobody_restored_stops_the_run() {
    let stuck = Script { steps: vec![StepFault::Fails], revert_fails: 9, ..Script::default() };
    let hosts = [("a", "rack=r1", stuck), ("b", "rack=r1", good()), ("c", "rack=r2", good()), ("d", "rack=r2", good())];
    let stanza = "    batches: [4]\n    max_unavailable: 50%\n    failure_domain: rack\n    max_fail: 2";
    let run = rollout(stanza, &hosts).await;
    let spent = run.kinds().find_map(|kind| match kind {
        EventKind::Aborted { cause: StopCause::Budget { disrupted: 1, max_unavailable: 1 }, evidence, .. } => {
            Some(evidence.clone())
        }
        _ => None,
    });
    assert!(spent.as_ref().is_some_and(|evidence| evidence.contains("max_unavailable of r1 (1)")), "{spent:?}");
    assert_eq!(states(&run), [HostState::RollbackFailed, NeverStarted, RolledBack, RolledBack]);
}

#[tokio::test(start_paused = true)]
async fn a_ramp_starts_one_two_four() {
    let names: Vec<String> = (0..9).map(|n| format!("h{n}")).collect();
    let hosts: Vec<(&str, &str, Script)> = names.iter().map(|name| (name.as_str(), "", good())).collect();
    let run = rollout("    batches: [9]\n    ramp: true", &hosts).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed; 9], 0));
    let mut healthy = 0;
    let mut begun_after = Vec::new();
    for kind in run.kinds() {
        match kind {
            EventKind::HostChanged { state: HostState::Running, .. } => begun_after.push(healthy),
            EventKind::HostChanged { state: HostState::Healthy, .. } => healthy += 1,
            _ => {}
        }
    }
    assert_eq!(begun_after, [0, 1, 1, 3, 3, 3, 3, 7, 7]);
}

#[tokio::test(start_paused = true)]
async fn progress_deadline_ends_a_run_in_which_nothing_turns_healthy() {
    let slow = Script { steps: vec![StepFault::Slow(500)], ..Script::default() };
    let hosts = [("a", "", good()), ("b", "", slow.clone()), ("c", "", slow)];
    let stanza = "    batches: [1]\n    progress_deadline: 100s\n    abort_grace: 5s";
    let run = rollout(stanza, &hosts).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed, RolledBack, NeverStarted], 2));
    let evidence = run.kinds().find_map(|kind| match kind {
        EventKind::Aborted { cause: StopCause::Deadline { deadline, host: None }, evidence, .. } => {
            (deadline == "progress_deadline").then(|| evidence.clone())
        }
        _ => None,
    });
    assert!(evidence.is_some_and(|evidence| evidence.contains("at work: b")));
}

#[tokio::test(start_paused = true)]
async fn progress_deadline_stands_still_during_a_bake() {
    let hosts = [("a", "", good()), ("b", "", good())];
    let run = rollout("    batches: [1]\n    progress_deadline: 61s\n    bake_time: 200s", &hosts).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed, Changed], 0));
}

#[tokio::test(start_paused = true)]
async fn how_often_a_host_flapped_is_told_of_it_in_the_end() {
    use Health::{Bad, Good};
    let flaps = Script { after: vec![Good, Bad, Good, Bad, Bad, Good, Bad, Good], ..Script::default() };
    let run = rollout("    batches: [1]", &[("a", "", flaps)]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed], 0));
    assert_eq!(run.outcome.hosts[0].reason.as_deref(), Some("alive flapped 3×"));
}

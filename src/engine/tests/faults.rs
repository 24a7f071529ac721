//! Faults that no real host shows on demand, in paused time; named after the rows of the contract's failure matrix.

use super::{
    scene::{good, rollout, sick},
    script::{Health, Script, StepFault},
    support::{Seen, reason, states},
};
use crate::journal::{EventKind, HostState, StopCause};
use HostState::{Changed, Failed, NeverStarted, RollbackFailed, RolledBack, Unknown};

#[tokio::test(start_paused = true)]
async fn row_6_a_host_that_never_comes_back_is_unknown_and_the_others_are_put_back() {
    let gone = Script { gone: true, ..Script::default() };
    let run = rollout("    batches: [3, 1]", &[good(), gone, good(), good()]).await;
    assert_eq!(states(&run), [RolledBack, Unknown, RolledBack, NeverStarted]);
    assert_eq!(run.outcome.exit_code, 3);
    assert!(reason(&run, "b").contains("unreachable"), "{}", reason(&run, "b"));
}

#[tokio::test(start_paused = true)]
async fn row_6_hosts_out_of_reach_hold_up_nobody_s_rollback() {
    let gone = Script { gone: true, ..Script::default() };
    let run = rollout("    batches: [4]", &[gone.clone(), gone, good(), good()]).await;
    assert_eq!(states(&run), [Unknown, Unknown, RolledBack, RolledBack]);
    let at = |wanted: &str, state: HostState| {
        run.kinds().position(
            |kind| matches!(kind, EventKind::HostChanged { host, state: to, .. } if host == wanted && *to == state),
        )
    };
    assert!(at("d", RolledBack) < at("a", Unknown), "the hosts at hand are put back while the others are tried");
}

#[tokio::test(start_paused = true)]
async fn row_6_before_its_first_mutating_step_it_was_never_started_and_counts() {
    let dead = Script { unreachable: true, ..Script::default() };
    let run = rollout("    batches: [3]", &[good(), dead.clone(), good()]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![NeverStarted, NeverStarted, NeverStarted], 4));
    let run = rollout("    batches: [3]\n    max_fail: 1", &[good(), dead, good()]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed, NeverStarted, Changed], 4));
}

#[tokio::test(start_paused = true)]
async fn row_15_a_probe_that_flaps_begins_the_healthy_time_anew() {
    use Health::{Bad, Good};
    let flaps = Script { after: vec![Good, Bad, Good, Bad, Good, Bad, Good], ..Script::default() };
    let run = rollout("    batches: [1]", &[flaps]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed], 0));
    let rounds =
        run.kinds().filter(|kind| matches!(kind, EventKind::Probed { phase: crate::journal::ProbePhase::Verify, .. }));
    assert!(rounds.count() >= 8, "seven flapping rounds, then it must stay healthy");
    let endless = Script { after: [Good, Bad].repeat(60), ..Script::default() };
    let run = rollout("    batches: [1]", &[endless]).await;
    assert_eq!(states(&run), [RolledBack], "healthy_deadline ends it");
    assert!(reason(&run, "a").contains("healthy_deadline"), "{}", reason(&run, "a"));
}

#[tokio::test(start_paused = true)]
async fn row_23_a_rollback_that_fails_on_one_host_stops_no_other() {
    let stuck = Script { revert_fails: 9, ..Script::default() };
    let run = rollout("    batches: [3]", &[stuck, good(), sick()]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RollbackFailed, RolledBack, RolledBack], 3));
    let tries =
        run.log.iter().filter(|seen| matches!(seen, Seen::Call { host, call } if host == "a" && call == "revert"));
    assert_eq!(tries.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn row_24_health_that_does_not_come_back_stops_the_rollback_of_the_rest() {
    let down = Script { after: vec![Health::Bad], restored: vec![Health::Bad], ..Script::default() };
    let run = rollout("    batches: [4]", &[down.clone(), down.clone(), down.clone(), down]).await;
    let mut ends = states(&run);
    ends.sort();
    assert_eq!((ends, run.outcome.exit_code), (vec![Failed, Failed, RollbackFailed, RollbackFailed], 3));
    assert!(run.kinds().any(|kind| matches!(kind, EventKind::Paused { cause: StopCause::Environment })));
}

#[tokio::test(start_paused = true)]
async fn row_35_the_last_host_s_failure_fails_the_run() {
    let fails = Script { steps: vec![StepFault::Fails], ..Script::default() };
    let run = rollout("    batches: [2]\n    max_parallel: 1", &[good(), fails]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RolledBack, RolledBack], 2));
}

#[tokio::test(start_paused = true)]
async fn row_36_hosts_sick_before_eat_the_budget_and_alone_refuse_the_run() {
    let ill = Script { before: vec![Health::Bad], ..Script::default() };
    let run = rollout("    batches: [2]\n    max_unavailable: 1", &[ill.clone(), ill, good()]).await;
    assert_eq!(states(&run), [NeverStarted, NeverStarted, NeverStarted]);
    let refused = run.kinds().find_map(|kind| match kind {
        EventKind::Aborted { cause: StopCause::Budget { disrupted: 2, max_unavailable: 1 }, evidence, .. } => {
            Some(evidence)
        }
        _ => None,
    });
    assert!(refused.is_some_and(|evidence| evidence.contains("a, b")), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn row_36_a_host_sick_before_takes_up_the_budget_and_its_sickness_is_not_blamed_on_the_change() {
    let ill = Script { before: vec![Health::Bad], after: vec![Health::Bad], ..Script::default() };
    let run = rollout("    batches: [3]\n    max_unavailable: 2", &[ill.clone(), good(), good()]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed, Changed, Changed], 0));
    assert!(reason(&run, "a").contains("as sick as before: alive is unhealthy"), "{}", reason(&run, "a"));
    let only_reported = run.kinds().filter_map(|kind| match kind {
        EventKind::TriggerFired { dry_run, .. } => Some(*dry_run),
        _ => None,
    });
    assert_eq!(only_reported.collect::<Vec<_>>(), [true]);
    let mut at_once = std::collections::BTreeSet::new();
    for kind in run.kinds() {
        let EventKind::HostChanged { host, state, .. } = kind else { continue };
        if matches!(state, HostState::Running | HostState::Verifying) && host != "a" {
            at_once.insert(host);
        } else {
            at_once.remove(host);
        }
        assert!(at_once.len() < 2, "beside the sick host only one more may be disrupted: {at_once:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_36_hosts_of_later_batches_count_from_the_first_batch_on() {
    let ill = Script { before: vec![Health::Bad], ..Script::default() };
    let scripts = [good(), good(), good(), good(), good(), ill.clone(), ill];
    let run = rollout("    batches: [1]\n    max_unavailable: 1", &scripts).await;
    assert_eq!(states(&run), vec![NeverStarted; 7]);
    let named = run.kinds().any(
        |kind| matches!(kind, EventKind::Aborted { cause: StopCause::Budget { .. }, evidence, .. } if evidence.contains("f, g")),
    );
    assert!(named);
}

#[tokio::test(start_paused = true)]
async fn row_36_a_host_out_of_reach_before_takes_up_the_budget_too() {
    let dead = Script { unreachable: true, ..Script::default() };
    let run = rollout("    batches: [1, 2]\n    max_fail: 2\n    max_unavailable: 1", &[good(), dead, good()]).await;
    assert_eq!(states(&run), vec![NeverStarted; 3]);
    assert_eq!(run.outcome.exit_code, 4);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_host_that_turns_sick_while_a_later_batch_bakes_is_put_back_with_it() {
    use Health::{Bad, Good};
    // Good through its own verification and bake, then sick for good.
    let turns = Script { after: [vec![Good; 10], vec![Bad; 90]].concat(), ..Script::default() };
    let run = rollout("    batches: [1]\n    bake_time: 10s", &[turns, good(), good()]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RolledBack, RolledBack, NeverStarted], 2));
}

#[tokio::test(start_paused = true)]
async fn a_slow_step_is_waited_for_and_a_cut_one_is_put_back() {
    let slow = Script { steps: vec![StepFault::Slow(500)], ..Script::default() };
    let run = rollout("    batches: [2]", &[slow.clone(), good()]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed, Changed], 0));
    let run = rollout("    batches: [2]\n    abort_grace: 5s", &[slow, sick()]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RolledBack, RolledBack], 2));
    assert!(run.results("a", "Change")[0].1.as_deref().is_some_and(|why| why.contains("grace")));
}

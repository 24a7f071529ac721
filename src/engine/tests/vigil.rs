//! Hosts changed so far are asked on while their batch waits for an operator, and judged as in a bake.

use super::{
    control::{is_running, said, send, until, waits_for},
    scene::{good, rollout_with},
    script::{Health, Script},
    support::{Outcome, states},
};
use crate::{
    engine::Command,
    journal::{EventKind, HostState, ProbePhase, StopCause},
    rollout::verdict::Verdict,
};
use HostState::{Changed, NeverStarted, RolledBack};
use std::time::Duration;

/// Good for so many rounds, then as given.
fn turns(rounds: usize, then: &[Health]) -> Script {
    Script { after: [vec![Health::Good; rounds], then.to_vec()].concat(), ..Script::default() }
}

/// The place of the last event of this kind.
fn last(run: &Outcome, is: impl Fn(&EventKind) -> bool) -> Option<usize> {
    run.events.iter().rposition(|event| is(&event.kind))
}

const NO_TRIGGER: &str = "    triggers:\n      - { name: told, when: alive.consecutive_failures >= 3, mode: dry_run }";

#[tokio::test(start_paused = true)]
async fn a_host_that_turns_sick_before_its_batch_is_promoted_ends_the_wait() {
    let stanza = "    batches: [1]\n    promote: manual";
    let run = rollout_with(stanza, &[turns(20, &[Health::Bad]), good()], |log, _| async move {
        until(&log, waits_for("promotion")).await;
    })
    .await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RolledBack, NeverStarted], 2));
    let cause = |kind: &EventKind| matches!(kind, EventKind::Aborted { cause: StopCause::Trigger { host: Some(host), .. }, .. } if host == "a");
    assert!(run.kinds().any(cause));
}

#[tokio::test(start_paused = true)]
async fn an_earlier_host_that_turns_sick_is_put_back_with_the_batch_that_waits() {
    let stanza = "    batches: [1]\n    promote: manual";
    let run = rollout_with(stanza, &[turns(60, &[Health::Bad]), good(), good()], |log, operator| async move {
        until(&log, waits_for("promotion")).await;
        send(&operator, [said(Command::Promote)]).await;
        until(&log, is_running("b")).await;
    })
    .await;
    assert_eq!(states(&run), [RolledBack, RolledBack, NeverStarted]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_turns_sick_in_an_operator_s_pause_is_put_back() {
    let run = rollout_with("    batches: [1]", &[turns(60, &[Health::Bad]), good()], |log, operator| async move {
        until(&log, is_running("a")).await;
        send(&operator, [said(Command::Pause)]).await;
        until(&log, waits_for("resume")).await;
    })
    .await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RolledBack, NeverStarted], 2));
    assert!(!run.kinds().any(|kind| matches!(kind, EventKind::Resumed { .. })));
}

/// One host fails at its task; another, healthy by then, turns sick while an operator is asked about their batch.
async fn asked_about_a_batch(action: &str, answer: Option<Command>) -> Outcome {
    use super::script::StepFault;
    let fails = Script { steps: vec![StepFault::Fails], ..Script::default() };
    let stanza = format!(
        "    batches: [3, 1]\n    max_parallel: 1\n    max_unavailable: 3\n    on_failure: pause\n    pause_timeout: 1h\n    \
         triggers:\n      - {{ name: it is sick, when: alive.consecutive_failures >= 3, action: {action} }}"
    );
    let hosts = [good(), turns(60, &[Health::Bad]), fails, good()];
    rollout_with(&stanza, &hosts, |log, operator| async move {
        until(&log, waits_for("failure")).await;
        let Some(answer) = answer else { return };
        until(&log, |kind| matches!(kind, EventKind::HostChanged { host, state: RolledBack, .. } if host == "b")).await;
        send(&operator, [said(answer)]).await;
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_host_that_turns_sick_while_an_operator_is_asked_about_its_batch_is_put_back_alone_and_he_is_still_asked() {
    for action in ["fail_host", "abort_batch"] {
        let run = asked_about_a_batch(action, Some(Command::Resume)).await;
        assert_eq!(states(&run), [Changed, RolledBack, RolledBack, Changed], "{action}: {:#?}", run.outcome);
        let run = asked_about_a_batch(action, Some(Command::Abort)).await;
        assert_eq!(states(&run), [RolledBack, RolledBack, RolledBack, NeverStarted], "{action}: {:#?}", run.outcome);
        let run = asked_about_a_batch(action, None).await;
        assert_eq!(states(&run), [RolledBack, RolledBack, RolledBack, NeverStarted], "{action}: {:#?}", run.outcome);
        let late = |kind: &EventKind| matches!(kind, EventKind::Aborted { cause: StopCause::Deadline { deadline, .. }, .. } if deadline == "pause_timeout");
        assert!(run.kinds().any(late), "{action}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_wants_all_back_answers_what_an_operator_is_asked() {
    let run = asked_about_a_batch("rollback_run", None).await;
    assert_eq!(states(&run), [RolledBack, RolledBack, RolledBack, NeverStarted], "{:#?}", run.outcome);
    let late = |kind: &EventKind| matches!(kind, EventKind::Aborted { cause: StopCause::Deadline { .. }, .. });
    assert!(!run.kinds().any(late));
}

#[tokio::test(start_paused = true)]
async fn an_earlier_host_is_watched_while_an_operator_is_asked_about_a_rollback_that_does_not_help() {
    let down = Script { after: vec![Health::Bad], restored: vec![Health::Bad], ..Script::default() };
    let stanza = "    batches: [1, 4]\n    max_unavailable: 4\n    pause_timeout: 1h";
    let earlier = turns(60, &[Health::Bad]);
    let run = rollout_with(stanza, &[earlier, down.clone(), down.clone(), down.clone(), down], |log, operator| async move {
        until(&log, waits_for("rollback")).await;
        let sick = |kind: &EventKind| {
            matches!(kind, EventKind::Probed { host, phase: ProbePhase::Bake, verdict: Verdict::Unhealthy, .. } if host == "a")
        };
        until(&log, sick).await;
        until(&log, |kind| matches!(kind, EventKind::TriggerFired { host: Some(host), .. } if host == "a")).await;
        send(&operator, [said(Command::Abort)]).await;
    })
    .await;
    assert_eq!(run.outcome.exit_code, 3, "{:#?}", run.outcome);
    assert!(super::support::reason(&run, "a").contains("left as it is by an operator"), "{:#?}", run.outcome);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_promoted_with_every_host_healthy_or_not_at_all() {
    use Health::{Bad, Good};
    for (then, expected) in
        [([vec![Bad; 12], vec![Good]].concat(), [Changed; 2]), (vec![Bad], [RolledBack, NeverStarted])]
    {
        let stanza = format!("    batches: [1]\n    promote: manual\n{NO_TRIGGER}");
        let run = rollout_with(&stanza, &[turns(20, &then), good()], |log, operator| async move {
            let sick = |kind: &EventKind| {
                matches!(kind, EventKind::Probed { phase: ProbePhase::Bake, verdict: Verdict::Unhealthy, .. })
            };
            until(&log, sick).await;
            send(&operator, [said(Command::Promote)]).await;
        })
        .await;
        assert_eq!(states(&run), expected);
        let bad = last(&run, |kind| {
            matches!(kind, EventKind::Probed { verdict: Verdict::Unhealthy, phase: ProbePhase::Bake, .. })
        });
        let next = last(&run, is_running("b"));
        assert!(next.is_none() || bad < next, "the next batch begins when the host is well again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cannot_be_asked_pauses_the_wait_and_a_promotion_then_waits_for_the_resume() {
    let blind = turns(20, &[vec![Health::Error; 30], vec![Health::Good]].concat());
    let stanza = "    batches: [1]\n    promote: manual\n    pause_timeout: 10m";
    let run = rollout_with(stanza, &[blind.clone(), good()], |log, operator| async move {
        until(&log, |kind| matches!(kind, EventKind::Paused { .. })).await;
        until(&log, waits_for("resume")).await;
        send(&operator, [said(Command::Promote)]).await;
        until(&log, |kind| matches!(kind, EventKind::Promoted { .. })).await;
        send(&operator, [said(Command::Resume)]).await;
    })
    .await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed; 2], 0));
    let nobody =
        rollout_with(stanza, &[blind, good()], |log, _| async move { until(&log, waits_for("resume")).await }).await;
    assert_eq!(states(&nobody), [RolledBack, NeverStarted], "pause_timeout");
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_does_not_fill_the_journal_with_good_news() {
    let stanza = "    batches: [1]\n    promote: manual";
    let run = rollout_with(stanza, &[turns(500, &[Health::Bad, Health::Good]), good()], |log, operator| async move {
        until(&log, waits_for("promotion")).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        send(&operator, [said(Command::Promote)]).await;
    })
    .await;
    assert_eq!(states(&run), [Changed; 2]);
    let baked = run.kinds().filter(|kind| matches!(kind, EventKind::Probed { phase: ProbePhase::Bake, .. }));
    assert_eq!(baked.count(), 2, "the bad round, and the first good one after it");
}

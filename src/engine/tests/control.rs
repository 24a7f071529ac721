//! What stops a run and what lifts it, in paused time: pauses, promotions, `on_failure` in its four forms.

use super::{
    scene::{good, rollout, rollout_with, sick},
    script::{Health, Script, StepFault},
    support::{Log, Outcome, Seen, reason, states},
};
use crate::{
    engine::{Command, Order, Signal},
    journal::{Event, EventKind, HostState, StopCause},
};
use HostState::{Changed, Failed, NeverStarted, RollbackFailed, RolledBack};
use std::time::Duration;
use tokio::sync::mpsc;

pub(super) fn said(command: Command) -> Signal {
    let reason = Some("because".to_owned());
    Signal::Order(Order { command, cause: StopCause::Operator { uid: 0, user: Some("ops".to_owned()), reason } })
}

/// Waits for an event; the first one that fits.
pub(super) async fn until(log: &Log, fits: impl Fn(&EventKind) -> bool) {
    loop {
        let there =
            log.lock().expect("lock").iter().any(|seen| matches!(seen, Seen::Event(event) if fits(&event.kind)));
        if there {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(super) fn waits_for(what: &str) -> impl Fn(&EventKind) -> bool {
    let what = what.to_owned();
    move |kind| matches!(kind, EventKind::Waits { what: it, .. } if *it == what)
}

pub(super) fn is_running(host: &str) -> impl Fn(&EventKind) -> bool {
    let host = host.to_owned();
    move |kind| matches!(kind, EventKind::HostChanged { host: it, state: HostState::Running, .. } if *it == host)
}

fn at(run: &Outcome, fits: impl Fn(&EventKind) -> bool) -> Option<&Event> {
    run.events.iter().find(|event| fits(&event.kind))
}

fn outcomes(run: &Outcome) -> Vec<&str> {
    run.kinds()
        .filter_map(|kind| match kind {
            EventKind::BatchEnded { outcome, .. } => Some(outcome.as_str()),
            _ => None,
        })
        .collect()
}

fn undone(run: &Outcome) -> usize {
    run.kinds().filter(|kind| matches!(kind, EventKind::RollbackIntent { .. })).count()
}

pub(super) async fn send(operator: &mpsc::Sender<Signal>, signals: impl IntoIterator<Item = Signal>) {
    for signal in signals {
        operator.send(signal).await.expect("sent");
    }
}

#[tokio::test(start_paused = true)]
async fn row_39_the_first_signal_pauses_hosts_in_flight_finish_and_a_resumed_run_goes_on() {
    let slow = Script { steps: vec![StepFault::Slow(100)], ..Script::default() };
    let run = rollout_with("    batches: [2]\n    max_parallel: 1", &[slow, good()], |log, operator| async move {
        until(&log, is_running("a")).await;
        send(&operator, [Signal::Interrupt]).await;
        until(&log, waits_for("resume")).await;
        tokio::time::sleep(Duration::from_secs(7200)).await;
        send(&operator, [said(Command::Resume)]).await;
    })
    .await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed, Changed], 0));
    let healthy = |kind: &EventKind| matches!(kind, EventKind::HostChanged { host, state: HostState::Healthy, .. } if host == "a");
    let seq = |fits: &dyn Fn(&EventKind) -> bool| at(&run, fits).expect("it happened").seq;
    let resumed = |kind: &EventKind| matches!(kind, EventKind::Resumed { cause: StopCause::Operator { reason: Some(why), .. } } if why == "because");
    assert!(seq(&healthy) < seq(&waits_for("resume")), "what is in flight finishes, and only then it waits");
    assert!(seq(&resumed) < seq(&is_running("b")), "nothing starts while the run is paused, however long that is");
}

#[tokio::test(start_paused = true)]
async fn row_39_the_second_signal_aborts_also_a_run_that_waits() {
    let run = rollout_with("    batches: [1]", &[good(), good()], |log, operator| async move {
        until(&log, is_running("a")).await;
        send(&operator, [Signal::Interrupt]).await;
        until(&log, waits_for("resume")).await;
        send(&operator, [Signal::Terminate]).await;
    })
    .await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RolledBack, NeverStarted], 2));
    assert_eq!(outcomes(&run), ["aborted"]);
}

#[tokio::test(start_paused = true)]
async fn row_39_one_signal_during_a_rollback_does_not_end_it() {
    let run = rollout_with("    batches: [2]", &[sick(), good()], |log, operator| async move {
        until(&log, |kind| matches!(kind, EventKind::Aborted { .. })).await;
        send(&operator, [Signal::Interrupt, Signal::Interrupt, Signal::Hangup]).await;
    })
    .await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RolledBack, RolledBack], 2));
    let warned =
        run.kinds().filter(|kind| matches!(kind, EventKind::Warning { message, .. } if message.contains("SIGINT")));
    assert_eq!(warned.count(), 2, "each is answered");
}

#[tokio::test(start_paused = true)]
async fn row_39_a_closed_terminal_or_pipe_pauses_and_never_more() {
    let run = rollout_with("    batches: [1]", &[good(), good()], |log, operator| async move {
        until(&log, is_running("a")).await;
        send(&operator, [Signal::Hangup, Signal::Pipe, Signal::Hangup, Signal::Pipe]).await;
        until(&log, waits_for("resume")).await;
        send(&operator, [said(Command::Resume)]).await;
    })
    .await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed, Changed], 0));
}

#[tokio::test(start_paused = true)]
async fn row_16_a_probe_that_cannot_be_asked_pauses_and_rolls_nothing_back() {
    use Health::{Error, Good};
    // It is silent for longer than `healthy_deadline`, and then answers again.
    let blind = Script { after: [vec![Error; 40], vec![Good; 1]].concat(), ..Script::default() };
    let run = rollout_with("    batches: [1]", &[blind, good()], |log, operator| async move {
        until(&log, |kind| matches!(kind, EventKind::Paused { cause: StopCause::Inconclusive { .. } })).await;
        until(&log, waits_for("resume")).await;
        send(&operator, [said(Command::Resume)]).await;
    })
    .await;
    assert_eq!((states(&run), run.outcome.exit_code, undone(&run)), (vec![Changed, Changed], 0, 0));
}

#[tokio::test(start_paused = true)]
async fn row_16_a_pause_that_nobody_answers_ends_with_the_rollback_of_its_batch() {
    let blind = Script { after: vec![Health::Error], ..Script::default() };
    let run = rollout("    batches: [1, 1]\n    pause_timeout: 20m", &[good(), blind, good()]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed, RolledBack, NeverStarted], 2));
    let paused = at(&run, |kind| matches!(kind, EventKind::Paused { .. })).expect("paused").elapsed_ms;
    let ended = at(
        &run,
        |kind| matches!(kind, EventKind::Aborted { cause: StopCause::Deadline { deadline, .. }, .. } if deadline == "pause_timeout"),
    );
    let waited = ended.expect("it ended").elapsed_ms - paused;
    assert!((1_200_000..1_205_000).contains(&waited), "{waited} ms");
}

#[tokio::test(start_paused = true)]
async fn on_inconclusive_has_three_forms() {
    let blind = Script { after: vec![Health::Error], restored: vec![Health::Good], ..Script::default() };
    let stanza = |form: &str| format!("    batches: [2]\n    on_failure: continue\n    on_inconclusive: {form}");
    let scripts = [blind, good(), good()];
    let run = rollout(&stanza("abort"), &scripts).await;
    assert_eq!(states(&run), [RolledBack, Changed, Changed], "an abort does what on_failure says");
    let run = rollout(&stanza("rollback"), &scripts).await;
    assert_eq!(states(&run), [RolledBack, RolledBack, NeverStarted]);
    let run = rollout(&stanza("pause"), &scripts).await;
    assert_eq!(states(&run), [RolledBack, RolledBack, NeverStarted], "when nobody has answered");
}

#[tokio::test(start_paused = true)]
async fn on_failure_pause_keeps_the_batch_until_an_operator_or_time_decides() {
    let stanza = "    batches: [2, 1]\n    on_failure: pause\n    pause_timeout: 10m";
    let scripts = [good(), sick(), good()];
    // The failed host is put back at once (R5); the other one waits.
    let held = |run: &Outcome| {
        let waited = at(run, waits_for("failure")).expect("it waited").seq;
        let back =
            at(run, |kind| matches!(kind, EventKind::HostChanged { host, state: RolledBack, .. } if host == "b"));
        assert!(back.is_some_and(|event| event.seq < waited));
    };
    let run = rollout(stanza, &scripts).await;
    held(&run);
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RolledBack, RolledBack, NeverStarted], 2));
    let answer = |command: Command| {
        move |log: Log, operator: mpsc::Sender<Signal>| async move {
            until(&log, waits_for("failure")).await;
            send(&operator, [said(command)]).await;
        }
    };
    let run = rollout_with(stanza, &scripts, answer(Command::Abort)).await;
    held(&run);
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RolledBack, RolledBack, NeverStarted], 2));
    let run = rollout_with(stanza, &scripts, answer(Command::Resume)).await;
    held(&run);
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed, RolledBack, Changed], 2));
    assert_eq!(outcomes(&run), ["continued", "promoted"]);
}

#[tokio::test(start_paused = true)]
async fn on_failure_rolls_back_batch_or_run_or_goes_on() {
    let scripts = [good(), good(), sick(), good()];
    let stanza = |form: &str| format!("    batches: [1, 2, 1]\n    on_failure: {form}");
    let run = rollout(&stanza("rollback_batch"), &scripts).await;
    assert_eq!(states(&run), [Changed, RolledBack, RolledBack, NeverStarted]);
    let run = rollout(&stanza("rollback_run"), &scripts).await;
    assert_eq!(states(&run), [RolledBack, RolledBack, RolledBack, NeverStarted]);
    let begun = |host: &str| {
        let host = host.to_owned();
        at(&run, move |kind| matches!(kind, EventKind::RollbackIntent { host: it, .. } if *it == host))
            .expect("begun")
            .seq
    };
    assert!(begun("b") < begun("a"), "the latest batch first");
    let run = rollout(&(stanza("continue") + "\n    max_fail: 1"), &scripts).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed, Changed, RolledBack, Changed], 2));
}

#[tokio::test(start_paused = true)]
async fn a_trigger_s_action_may_be_each_of_the_four() {
    let action = |action: &str| {
        format!(
            "    batches: [1, 2, 1]\n    max_fail: 1\n    pause_timeout: 5m\n    triggers:\n      - name: sick\n        \
             when: alive.consecutive_failures >= 3\n        action: {action}"
        )
    };
    let scripts = [good(), sick(), good(), good()];
    let run = rollout(&action("fail_host"), &scripts).await;
    assert_eq!(states(&run), [Changed, RolledBack, Changed, Changed]);
    let run = rollout(&action("abort_batch"), &scripts).await;
    assert_eq!(states(&run), [Changed, RolledBack, RolledBack, NeverStarted]);
    let run = rollout(&action("rollback_run"), &scripts).await;
    assert_eq!(states(&run), [RolledBack, RolledBack, RolledBack, NeverStarted]);
    let run = rollout(&action("pause"), &scripts).await;
    // The host itself fails by its `healthy_deadline`; the rest of its batch waits, and nobody answers.
    assert_eq!(states(&run), [Changed, RolledBack, RolledBack, NeverStarted]);
    let stanza = action("pause");
    let resumed = rollout_with(&stanza, &scripts, |log, operator| async move {
        until(&log, waits_for("resume")).await;
        send(&operator, [said(Command::Resume)]).await;
    });
    assert_eq!(states(&resumed.await), [Changed, RolledBack, Changed, Changed]);
}

#[tokio::test(start_paused = true)]
async fn promote_manual_waits_after_every_batch_but_the_last() {
    let stanza = "    batches: [1]\n    promote: manual";
    let run = rollout_with(stanza, &[good(), good(), good()], |log, operator| async move {
        for host in ["a", "b"] {
            let healthy = |kind: &EventKind| matches!(kind, EventKind::HostChanged { host: it, state: HostState::Healthy, .. } if it == host);
            until(&log, healthy).await;
            tokio::time::sleep(Duration::from_secs(3600)).await;
            send(&operator, [said(Command::Promote)]).await;
        }
    })
    .await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed, Changed, Changed], 0));
    let promoted = run.kinds().filter(|kind| matches!(kind, EventKind::Promoted { .. }));
    assert_eq!(promoted.count(), 2);
    let refused = rollout_with(stanza, &[good(), good()], |log, operator| async move {
        until(&log, waits_for("promotion")).await;
        send(&operator, [said(Command::Resume), said(Command::Abort)]).await;
    })
    .await;
    assert_eq!(states(&refused), [RolledBack, NeverStarted], "a batch that is not promoted is put back");
}

#[tokio::test(start_paused = true)]
async fn row_24_health_that_does_not_come_back_waits_for_an_operator() {
    let down = Script { after: vec![Health::Bad], restored: vec![Health::Bad], ..Script::default() };
    let back = Script { after: vec![Health::Bad], ..Script::default() };
    let scripts = [down.clone(), down, back.clone(), back];
    let stanza = "    batches: [4]\n    max_parallel: 4\n    rollback: { max_parallel: 1 }";
    let run = rollout(stanza, &scripts).await;
    let mut ends = states(&run);
    ends.sort();
    assert_eq!((ends, run.outcome.exit_code), (vec![Failed, Failed, RollbackFailed, RollbackFailed], 3));
    let run = rollout_with(stanza, &scripts, |log, operator| async move {
        until(&log, waits_for("rollback")).await;
        send(&operator, [said(Command::Resume)]).await;
    })
    .await;
    let mut ends = states(&run);
    ends.sort();
    assert_eq!((ends, run.outcome.exit_code), (vec![RolledBack, RolledBack, RollbackFailed, RollbackFailed], 3));
}

#[tokio::test(start_paused = true)]
async fn row_34_a_canary_that_does_not_regain_its_health_pauses_and_nothing_else_is_touched() {
    let down = Script { after: vec![Health::Bad], restored: vec![Health::Bad], ..Script::default() };
    let run = rollout("    batches: [1, 2]\n    max_fail: 2\n    on_failure: continue", &[down, good(), good()]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RollbackFailed, NeverStarted, NeverStarted], 3));
    assert!(run.kinds().any(|kind| matches!(kind, EventKind::Paused { cause: StopCause::Environment })));
    assert!(reason(&run, "a").contains("environment"), "{}", reason(&run, "a"));
}

#[tokio::test(start_paused = true)]
async fn row_23_a_rollback_that_fails_may_pause_that_of_the_others() {
    let stuck = Script { revert_fails: 9, after: vec![Health::Bad], ..Script::default() };
    // The others are in a step until the first one has failed.
    let slow = Script { steps: vec![StepFault::Slow(20)], ..Script::default() };
    let scripts = [stuck, slow.clone(), slow];
    let stanza = "    batches: [3]\n    rollback: { max_parallel: 1, on_failure: pause, min_healthy_time: 8s }";
    let run = rollout(stanza, &scripts).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RollbackFailed, Failed, Failed], 3));
    let run = rollout_with(stanza, &scripts, |log, operator| async move {
        until(&log, waits_for("rollback")).await;
        send(&operator, [said(Command::Resume)]).await;
    })
    .await;
    assert_eq!(states(&run), [RollbackFailed, RolledBack, RolledBack]);
    let of = |state: HostState| {
        at(
            &run,
            move |kind| matches!(kind, EventKind::HostChanged { host, state: it, .. } if host == "b" && *it == state),
        )
        .expect("it came")
        .elapsed_ms
    };
    let took = of(RolledBack) - of(HostState::RollingBack);
    assert!(took >= 8_000, "healthy for min_healthy_time before it is called rolled back: {took} ms");
}

#[tokio::test(start_paused = true)]
async fn a_host_out_of_reach_from_the_beginning_counts_as_unreachable_in_the_recap() {
    let dead = Script { unreachable: true, ..Script::default() };
    let run = rollout("    batches: [2]\n    max_fail: 1", &[dead, good()]).await;
    let recap = run.outcome.hosts[0].recap;
    assert_eq!((recap.ok, recap.unreachable), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn row_13_timers_follow_the_monotonic_clock_whatever_the_wall_clock_says() {
    let blind = Script { after: vec![Health::Error], ..Script::default() };
    let run = rollout("    batches: [1]\n    bake_time: 10m\n    pause_timeout: 1h", &[good(), blind]).await;
    assert_eq!(states(&run), [Changed, RolledBack]);
    // An hour and more passed by the monotonic clock, and next to nothing by the wall clock: nothing was decided by it.
    let (first, last) = (run.events.first().expect("an event"), run.events.last().expect("an event"));
    assert!(last.elapsed_ms - first.elapsed_ms > 4_200_000, "{} ms", last.elapsed_ms);
    assert!(last.at.duration_since(first.at).as_secs() < 600, "{} to {}", first.at, last.at);
    assert!(run.events.iter().map(|event| event.seq).eq(1..=run.events.len() as u64), "in the order of their numbers");
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_cannot_be_told_is_named_as_such() {
    let stanza = "    batches: [1]\n    on_inconclusive: rollback\n    triggers:\n      - name: odd\n        \
                  when: alive.consecutive_failures >= 0 and no_such_variable > 3";
    let run = rollout(stanza, &[good(), good()]).await;
    assert_eq!(states(&run), [RolledBack, NeverStarted]);
    let cause = run.kinds().find_map(|kind| match kind {
        EventKind::Aborted { cause, evidence, .. } => Some((cause.clone(), evidence.clone())),
        _ => None,
    });
    let Some((StopCause::Unreadable { trigger, host }, evidence)) = cause else { panic!("{cause:?}") };
    assert_eq!((trigger.as_str(), host.as_str()), ("odd", "a"));
    assert!(evidence.contains("no_such_variable") && !evidence.ends_with(".."), "{evidence}");
}

#[tokio::test(start_paused = true)]
async fn row_39_the_first_signal_to_a_failed_batch_that_waits_says_so_and_the_second_rolls_it_back() {
    let stanza = "    batches: [2]\n    on_failure: pause\n    pause_timeout: 10h";
    let run = rollout_with(stanza, &[good(), sick()], |log, operator| async move {
        until(&log, waits_for("failure")).await;
        send(&operator, [Signal::Interrupt]).await;
        let told = |kind: &EventKind| matches!(kind, EventKind::Warning { message, .. } if message.contains("waits for an operator"));
        until(&log, told).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        send(&operator, [Signal::Interrupt]).await;
    })
    .await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RolledBack, RolledBack], 2));
}

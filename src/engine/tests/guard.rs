//! The controller and the guards of its hosts, in paused time; named after the rows of the contract's failure matrix.

use super::{
    control::{said, send, until, waits_for},
    scene::{Scene, good},
    script::{Health, Script, StepFault},
    support::{Log, Outcome, Seen, reason},
};
use crate::{
    engine::{Command, Signal},
    journal::{EventKind, HostState},
};
use HostState::{Changed, Failed, RollbackFailed, RolledBack, Unchanged, Unknown};
use futures::future::BoxFuture;
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

/// Hosts `h00`, `h01`, ... in a play whose own deadlines are far.
fn scene(stanza: &str, scripts: Vec<Script>) -> Scene {
    let names: Vec<String> = (0..scripts.len()).map(|n| format!("h{n:02}")).collect();
    let hosts: Vec<_> = names.iter().zip(scripts).map(|(name, script)| (name.as_str(), "", script)).collect();
    Scene::of(&format!("    healthy_deadline: 1h\n    rollback_deadline: 10m\n{stanza}"), &hosts)
}

fn calls(run: &Outcome, wanted: &str) -> Vec<String> {
    let call = |seen: &Seen| match seen {
        Seen::Call { host, call } if call == wanted => Some(host.clone()),
        _ => None,
    };
    run.log.iter().filter_map(call).collect()
}

/// The place of the first event of this kind.
fn first(run: &Outcome, is: impl Fn(&EventKind) -> bool) -> usize {
    run.kinds().position(is).expect("it happened")
}

#[tokio::test(start_paused = true)]
async fn each_host_is_armed_before_its_first_step_and_confirmed_anew_when_it_is_healthy() {
    let scene = scene("    batches: [1]\n    min_healthy_time: 4s", vec![good(), good()]);
    let run = scene.run().await;
    assert_eq!(run.states().into_iter().map(|(_, state)| state).collect::<Vec<_>>(), [Changed, Changed]);
    assert_eq!(calls(&run, "arm"), ["h00", "h01"]);
    assert_eq!(calls(&run, "confirm anew"), ["h00", "h01"]);
    let armed = first(&run, |kind| matches!(kind, EventKind::GuardArmed { .. }));
    let task = run.log.iter().position(|seen| matches!(seen, Seen::Call { call, .. } if call.contains("change")));
    let arm = run.log.iter().position(|seen| matches!(seen, Seen::Call { call, .. } if call == "arm"));
    assert!(arm < task && task.is_some());
    let confirmed = first(&run, |kind| matches!(kind, EventKind::ConfirmResult { refused: None, .. }));
    let healthy = first(&run, |kind| matches!(kind, EventKind::HostChanged { state: HostState::Healthy, .. }));
    assert!(armed < confirmed && confirmed < healthy, "a host is told as healthy once it is confirmed");
    assert!(scene.hosts.iter().all(|host| !scene.fleet.is_armed(host)));
    let text = serde_json::to_string(&run.events).expect("JSON");
    assert!(text.contains("nonce_sha256") && !text.contains("\"nonce\""), "only its digest is written down");
}

#[tokio::test(start_paused = true)]
async fn per_batch_confirms_nobody_before_the_bake_is_over() {
    let stanza = "    batches: [2]\n    min_healthy_time: 4s\n    bake_time: 300s\n    confirm: per_batch\n    guard_timeout: 20s";
    let scene = scene(stanza, vec![good(), good()]);
    let run = scene.run().await;
    assert_eq!(run.state("h00"), Changed);
    let bake = first(&run, |kind| matches!(kind, EventKind::BakeStarted { .. }));
    let intent = first(&run, |kind| matches!(kind, EventKind::ConfirmIntent { .. }));
    let ended = first(&run, |kind| matches!(kind, EventKind::BatchEnded { .. }));
    assert!(bake < intent && intent < ended, "a lease of 20 s is extended through a bake of 300");
    assert!(!run.kinds().any(|kind| matches!(kind, EventKind::GuardFired { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_nothing_changed_keeps_no_guard_and_needs_no_new_connection() {
    let unchanged = Script { steps: vec![StepFault::Unchanged], ..Script::default() };
    let scene = scene("    batches: [1]\n    min_healthy_time: 0s", vec![unchanged]);
    let run = scene.run().await;
    assert_eq!(run.state("h00"), Unchanged);
    assert_eq!((calls(&run, "confirm").len(), calls(&run, "confirm anew").len()), (1, 0));
    assert!(!scene.fleet.is_armed("h00"));
}

#[tokio::test(start_paused = true)]
async fn row_4_a_confirmation_after_the_guard_has_fired_is_refused_and_the_host_is_no_success() {
    let deaf = Script { deaf: true, ..Script::default() };
    let stanza = "    batches: [2]\n    min_healthy_time: 4s\n    bake_time: 60s\n    confirm: per_batch\n    guard_timeout: 20s\n    revert_budget: 5s\n    max_unavailable: 2";
    let scene = scene(stanza, vec![good(), deaf]);
    let run = scene.run().await;
    assert_eq!(run.state("h01"), RolledBack);
    assert!(reason(&run, "h01").contains("reverted_by_guard"), "{}", reason(&run, "h01"));
    assert!(run.kinds().any(|kind| matches!(kind, EventKind::GuardFired { host, .. } if host == "h01")));
    let refused =
        |kind: &EventKind| matches!(kind, EventKind::ConfirmResult { host, refused: Some(_), .. } if host == "h01");
    let kept = |kind: &EventKind| matches!(kind, EventKind::ConfirmResult { host, refused: None, .. } if host == "h01");
    assert!(run.kinds().any(refused) && !run.kinds().any(kept), "never confirmed");
    assert_eq!(run.outcome.exit_code, 2, "a refused confirmation is a failure");
    assert_eq!(run.state("h00"), RolledBack, "and its batch goes back with it");
    assert!(!scene.fleet.is_changed("h01"));
}

#[tokio::test(start_paused = true)]
async fn row_32_a_long_verification_is_held_by_extensions() {
    let slow = Script { after: vec![Health::Bad, Health::Bad, Health::Good], ..Script::default() };
    let stanza = "    batches: [1]\n    min_healthy_time: 600s\n    guard_timeout: 5s";
    let scene = scene(stanza, vec![slow]);
    let run = scene.run().await;
    assert_eq!(run.state("h00"), Changed);
    assert!(run.events.last().is_some_and(|event| event.elapsed_ms >= 600_000));
}

#[tokio::test(start_paused = true)]
async fn row_32_if_the_guard_fires_while_verification_is_still_going_the_revert_wins() {
    let deaf = Script { deaf: true, ..Script::default() };
    let stanza = "    batches: [1]\n    min_healthy_time: 60s\n    guard_timeout: 20s\n    revert_budget: 5s";
    let scene = scene(stanza, vec![deaf]);
    let run = scene.run().await;
    assert_eq!(run.state("h00"), RolledBack);
    assert!(reason(&run, "h00").contains("reverted_by_guard"));
    assert_eq!(run.outcome.exit_code, 2);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_broke_the_way_in_is_not_confirmed_and_is_put_back_over_the_old_connection() {
    let locked = Script { locked: true, ..Script::default() };
    let stanza = "    batches: [1]\n    min_healthy_time: 4s\n    guard_timeout: 20s";
    let scene = scene(stanza, vec![locked]);
    let run = scene.run().await;
    assert_eq!(run.state("h00"), RolledBack);
    assert!(reason(&run, "h00").contains("new connection"), "{}", reason(&run, "h00"));
    assert!(calls(&run, "confirm anew").is_empty());
    assert!(!scene.fleet.is_changed("h00"));
}

/// Kills the controller after so long: three signals.
async fn kill_after(sender: &mpsc::Sender<Signal>, after: Duration) {
    sleep(after).await;
    for _ in 0..3 {
        sender.send(Signal::Interrupt).await.expect("a run under way");
        sleep(Duration::from_millis(1)).await;
    }
    std::future::pending::<()>().await;
}

async fn killed(scene: &Scene, after: Duration) -> Outcome {
    let (sender, signals) = mpsc::channel(4);
    tokio::select! {
        run = scene.project.run_with(|_| scene.fleet.clone(), &scene.log, signals) => run,
        () = kill_after(&sender, after) => unreachable!("it waits for ever"),
    }
}

/// The most windows open at one moment.
fn most_at_once(windows: &[(Instant, Instant)]) -> usize {
    let open = |at: Instant| windows.iter().filter(|(from, to)| *from <= at && at < *to).count();
    windows.iter().map(|(from, _)| open(*from)).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn row_33_fifty_armed_hosts_of_a_dead_controller_never_revert_more_than_max_unavailable_at_once() {
    // At moments that cut the rounds of extensions in different places.
    for after in [100.0, 107.3, 111.9, 118.4, 129.8] {
        let stanza = "    batches: [50]\n    max_unavailable: 5\n    min_healthy_time: 4s\n    bake_time: 1h\n    confirm: per_batch\n    guard_timeout: 40s\n    revert_budget: 30s";
        let scene = scene(stanza, (0..50).map(|_| good()).collect());
        let run = killed(&scene, Duration::from_secs_f64(after)).await;
        assert!(run.states().iter().all(|(_, state)| *state == Unknown), "{:?}", run.states());
        let windows = scene.fleet.windows();
        assert_eq!(windows.len(), 50);
        assert!(most_at_once(&windows) <= 5, "{} at once", most_at_once(&windows));
        // As the plan said: the lease, nine slots, and the revert itself.
        let last = windows.iter().map(|(_, to)| *to).max().expect("windows");
        assert!(last <= Instant::now() + Duration::from_secs(40 + 9 * (30 + 10) + 30));
        tokio::time::sleep_until(last).await;
        let left: Vec<&String> = scene.hosts.iter().filter(|host| scene.fleet.is_changed(host)).collect();
        assert!(left.is_empty(), "{left:?} hold the change");
    }
}

/// Two hosts that do not regain their health when put back, and two that nobody has put back yet.
async fn held_back(operator: impl FnOnce(Log, mpsc::Sender<Signal>) -> BoxFuture<'static, ()>) -> (Scene, Outcome) {
    let down = Script { after: vec![Health::Bad], restored: vec![Health::Bad], ..Script::default() };
    let slow = Script { steps: vec![StepFault::Slow(30)], after: vec![Health::Bad], ..Script::default() };
    let stanza = "    batches: [4]\n    rollback: { max_parallel: 1 }\n    pause_timeout: 30m\n    guard_timeout: 20s\n    revert_budget: 5s\n    abort_grace: 2m";
    let scene = scene(stanza, vec![down.clone(), down, slow.clone(), slow]);
    let run = scene.run_with(operator).await;
    let mut ends: Vec<HostState> = run.states().into_iter().map(|(_, state)| state).collect();
    ends.sort();
    assert_eq!((ends, run.outcome.exit_code), (vec![Failed, Failed, RollbackFailed, RollbackFailed], 3));
    let fired = run.kinds().any(|kind| matches!(kind, EventKind::GuardFired { .. }));
    assert!(!fired, "no guard fires while the run waits");
    let told = run.kinds().find_map(|kind| match kind {
        EventKind::Waits { what, armed, guards_ms, .. } if what == "rollback" => Some((*armed, *guards_ms)),
        _ => None,
    });
    // A lease, no slot but the first, and the revert.
    assert_eq!(told, Some((2, Some(25_000))), "the wait says what its guards will do");
    (scene, run)
}

fn left(run: &Outcome) -> Vec<String> {
    run.states().into_iter().filter(|(_, state)| *state == Failed).map(|(host, _)| host).collect()
}

#[tokio::test(start_paused = true)]
async fn hosts_that_an_operator_leaves_as_they_are_are_confirmed_and_stay_so() {
    let (scene, run) = held_back(|log, operator| {
        Box::pin(async move {
            until(&log, waits_for("rollback")).await;
            // Long after their deadlines: the guards are held.
            sleep(Duration::from_secs(600)).await;
            send(&operator, [said(Command::Abort)]).await;
        })
    })
    .await;
    sleep(Duration::from_secs(3600)).await;
    for host in left(&run) {
        assert!(reason(&run, &host).contains("left as it is by an operator"), "{}", reason(&run, &host));
        assert!(scene.fleet.is_changed(&host) && !scene.fleet.is_armed(&host), "{host} stays as it is");
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_of_which_nobody_says_anything_put_themselves_back_when_the_run_has_ended() {
    let (scene, run) = held_back(|_, _| Box::pin(async {})).await;
    for host in left(&run) {
        assert!(scene.fleet.is_changed(&host) && scene.fleet.is_armed(&host));
        let why = reason(&run, &host);
        assert!(why.contains("its guard puts it back by itself, within 25s"), "{why}");
        let warned = |kind: &EventKind| matches!(kind, EventKind::Warning { host: Some(of), message } if *of == host && message.contains("puts it back by itself"));
        assert!(run.kinds().any(warned));
    }
    sleep(Duration::from_secs(25)).await;
    assert!(!scene.hosts.iter().any(|host| scene.fleet.is_changed(host)), "as before, all of them");
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_is_confirmed_by_nobody_and_the_second_change_is() {
    for confirm in ["per_host", "per_batch"] {
        let stanza = format!(
            "    batches: [2]\n    rehearse: true\n    min_healthy_time: 4s\n    guard_timeout: 5s\n    confirm: {confirm}"
        );
        let scene = scene(&stanza, vec![good(), good()]);
        let run = scene.run().await;
        assert_eq!(run.states().into_iter().map(|(_, state)| state).collect::<Vec<_>>(), [Changed, Changed]);
        assert_eq!(
            (calls(&run, "arm"), calls(&run, "revert")),
            (vec!["h00".to_owned(), "h00".into(), "h01".into()], vec!["h00".to_owned()])
        );
        let armed: Vec<&String> = run
            .kinds()
            .filter_map(|kind| match kind {
                EventKind::GuardArmed { host, txn, .. } if host == "h00" => Some(txn),
                _ => None,
            })
            .collect();
        let confirmed: Vec<&String> = run
            .kinds()
            .filter_map(|kind| match kind {
                EventKind::ConfirmIntent { host, txn } if host == "h00" => Some(txn),
                _ => None,
            })
            .collect();
        assert_eq!(confirmed, [armed[1]], "the rehearsed change is never confirmed");
        let rehearsed = first(&run, |kind| matches!(kind, EventKind::Rehearsed { failed: None, .. }));
        assert!(rehearsed < first(&run, |kind| matches!(kind, EventKind::ConfirmIntent { .. })));
        assert!(scene.hosts.iter().all(|host| !scene.fleet.is_armed(host) && scene.fleet.is_changed(host)));
    }
}

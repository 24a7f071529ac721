//! `rehearse: true`: on real agents, byte for byte, and with hosts whose rollback does not work.

use super::{
    sandbox::Sandbox,
    scene::{good, rollout},
    script::{Health, Script, StepFault},
    support::{Outcome, states, why_aborted},
};
use crate::journal::{EventKind, HostState, StopCause};
use HostState::{Changed, NeverStarted, RollbackFailed, RolledBack, Unchanged, Unknown};

fn path(run: &Outcome, wanted: &str) -> Vec<HostState> {
    run.kinds()
        .filter_map(|kind| match kind {
            EventKind::HostChanged { host, state, .. } if host == wanted => Some(*state),
            _ => None,
        })
        .collect()
}

const PLAYBOOK: &str = "- hosts: all
  gather_facts: false
  rollout:
    batches: [2, 1]
    rehearse: true
    min_healthy_time: 100ms
    healthy_deadline: 20s
    probes:
      - name: service
        command: test ! -e {{ root }}/sick
        interval: 50ms
        timeout: 5s
  tasks:
    - name: Configure
      copy: { content: new, dest: '{{ root }}/app.conf' }
      notify: restart
    - name: Once a batch
      shell: echo {{ inventory_hostname }} >> {{ root }}/once
      run_once: true
      undo:
        - file: { path: '{{ root }}/once', state: absent }
  handlers:
    - name: restart
      copy: { src: '{{ root }}/app.conf', dest: '{{ root }}/active', remote_src: true }
";

#[tokio::test]
async fn the_first_host_is_changed_put_back_compared_and_changed_again_before_any_other() {
    let sandbox = Sandbox::new(PLAYBOOK, 3);
    for host in ["h1", "h2", "h3"] {
        sandbox.write(host, "app.conf", "old");
        sandbox.write(host, "active", "old");
    }
    let run = sandbox.run().await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed, Changed, Changed], 0), "{:#?}", run.outcome);
    use HostState::{Healthy, Pending, RollingBack, Verifying};
    assert_eq!(
        path(&run, "h1"),
        [HostState::Running, Verifying, RollingBack, Pending, HostState::Running, Verifying, Healthy, Changed]
    );
    assert_eq!(sandbox.read("h1", "once").as_deref(), Some("h1\n"), "run_once ran again after it was undone");
    let position = |wanted: &dyn Fn(&EventKind) -> bool| run.kinds().position(wanted).expect("an event");
    let rehearsed = position(&|kind| matches!(kind, EventKind::Rehearsed { .. }));
    let again = position(&|kind| matches!(kind, EventKind::HostChanged { host, state: Healthy, .. } if host == "h1"));
    let other = position(
        &|kind| matches!(kind, EventKind::HostChanged { host, state: HostState::Running, .. } if host == "h2"),
    );
    assert!(rehearsed < again && rehearsed < other);
    let evidence = run.kinds().find_map(|kind| match kind {
        EventKind::Rehearsed { host, compared, probes, failed: None, .. } => {
            Some((host.as_str(), *compared > 0, probes.clone()))
        }
        _ => None,
    });
    assert_eq!(evidence, Some(("h1", true, vec!["service".to_owned()])));
    let view = crate::report::RunView::of(&run.events);
    let close = crate::report::close_report(&view);
    assert!(close.contains("## Backout") && close.contains("Rehearsed on h1 at"), "{close}");
    assert!(close.contains("changed again and healthy"), "{close}");
    assert!(crate::report::html::report(&view).contains("<b>Backout.</b> Rehearsed on h1"));
}

async fn scripted(extra: &str, scripts: Vec<Script>) -> Outcome {
    rollout(&format!("    rehearse: true\n    triggers: []\n{extra}"), &scripts).await
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_that_fails_stops_the_rollout_with_the_host_as_the_rollback_left_it() {
    let stuck = Script { revert_fails: 9, ..Script::default() };
    let run =
        scripted("    batches: [3]\n    max_fail: 2\n    on_failure: continue", vec![stuck, good(), good()]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RollbackFailed, NeverStarted, NeverStarted], 3));
    let (cause, evidence) = why_aborted(&run).expect("aborted");
    assert_eq!(cause, StopCause::Rehearsal { host: "a".to_owned() });
    assert!(evidence.contains("its undo fails"), "{evidence}");
    let ill = Script { restored: vec![Health::Bad], ..Script::default() };
    let run = scripted("    batches: [3]", vec![ill, good(), good()]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RollbackFailed, NeverStarted, NeverStarted], 3));
    assert!(why_aborted(&run).is_some_and(|(_, evidence)| evidence.contains("alive was healthy and is unhealthy")));
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_that_fails_after_another_abort_ends_the_run_all_the_same() {
    for on_failure in ["continue", "pause"] {
        let ill = Script { restored: vec![Health::Bad], ..Script::default() };
        let stanza = format!(
            "    batches: [1]\n    max_fail: 1\n    max_unavailable: 2\n    healthy_deadline: 40s\n    progress_deadline: 41s\n    on_failure: {on_failure}"
        );
        let run = scripted(&stanza, vec![ill, good(), good()]).await;
        let expected = (vec![RollbackFailed, NeverStarted, NeverStarted], 3);
        assert_eq!((states(&run), run.outcome.exit_code), expected, "{on_failure}");
        let causes: Vec<_> = run.kinds().filter(|kind| matches!(kind, EventKind::Aborted { .. })).collect();
        assert_eq!(causes.len(), 2, "no progress, then the rehearsal: {causes:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_lost_in_its_rehearsal_is_unknown() {
    // In reach until its watch is over: the second probe round after the change and all that follows are lost.
    let lost = Script { lost_at_revert: true, ..Script::default() };
    let run = scripted("    batches: [2]", vec![lost, good()]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Unknown, NeverStarted], 3));
}

#[tokio::test(start_paused = true)]
async fn the_first_host_that_changes_is_the_one() {
    let idle = Script { steps: vec![StepFault::Unchanged], ..Script::default() };
    let fails = Script { steps: vec![StepFault::Fails], ..Script::default() };
    let run = scripted("    batches: [1, 4]\n    max_fail: 1", vec![idle, fails, good(), good(), good()]).await;
    assert_eq!(states(&run), [Unchanged, RolledBack, Changed, Changed, Changed]);
    let rehearsed: Vec<&String> = run
        .kinds()
        .filter_map(|kind| match kind {
            EventKind::Rehearsed { host, failed: None, .. } => Some(host),
            _ => None,
        })
        .collect();
    assert_eq!(rehearsed, ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_fails_the_second_time_is_rolled_back_like_any_other() {
    let second = Script { steps: vec![StepFault::None, StepFault::Fails], ..Script::default() };
    let run = scripted("    batches: [1]", vec![second, good()]).await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![RolledBack, NeverStarted], 2));
}

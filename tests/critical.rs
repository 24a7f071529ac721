//! Critical steps are never cut (rollout.md 2.4): not by an abort, not by a kill, neither in the play nor in an undo.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test")]

#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "each test binary uses its part")]
mod fleet;
#[path = "support/sshd.rs"]
#[expect(dead_code, reason = "each test binary uses its part")]
mod sshd;
#[path = "support/transcript.rs"]
#[expect(dead_code, reason = "each test binary uses its part")]
mod transcript;

use fleet::Fleet;
use rollgate::journal::{EventKind, HostState, StepStatus};
use sshd::missing;

/// On h1 a critical step waits for the gate, on h2 one that is not. Each says when it begins, and when it is cut.
const STEPS: &str = "\
- name: Change
  hosts: h1,h2
  gather_facts: false
  rollout: { min_healthy_time: 0s, abort_grace: 0s, guard_timeout: 1h }
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\" }
    - name: Critical
      shell: &step |
        trap 'touch {{ root }}.cut; exit 1' TERM
        touch {{ root }}.begun
        until test -e {{ gate }}; do sleep 0.02; done
        echo whole > {{ root }}.whole
      critical: true
      when: inventory_hostname == 'h1'
      accept_irreversible: true
    - name: Not critical
      shell: *step
      when: inventory_hostname == 'h2'
      accept_irreversible: true
";

fn result_of(fleet: &Fleet, host: &str, task: &str) -> Option<StepStatus> {
    let events = fleet.events();
    let step = events.iter().find_map(|kind| match kind {
        EventKind::StepIntent { id, info } if id.host == host && info.task == task => Some(id.clone()),
        _ => None,
    })?;
    events.into_iter().find_map(|kind| match kind {
        EventKind::StepResult { id, status, .. } if id == step => Some(status),
        _ => None,
    })
}

fn there(fleet: &Fleet, file: &str) -> bool {
    fleet.place.path().join(file).exists()
}

#[test]
fn an_abort_cuts_what_is_not_critical_and_waits_for_what_is() {
    if missing("an_abort_cuts_what_is_not_critical_and_waits_for_what_is") {
        return;
    }
    for aborts in ["INT INT", "abort"] {
        let fleet = Fleet::new(STEPS);
        let mut run = fleet.start(&fleet.run());
        fleet.until_there("h1.begun");
        fleet.until_there("h2.begun");
        if aborts == "abort" {
            assert_eq!(fleet.place.rollgate("abort").code, Some(0));
        } else {
            run.signal("INT");
            run.until("PAUSED");
            run.signal("INT");
        }
        run.until("ABORTED");
        // The grace is over: the other host's step was cut, and the host is as before.
        fleet.until(
            "h2 is back",
            |kind| matches!(kind, EventKind::HostChanged { host, state: HostState::RolledBack, .. } if host == "h2"),
        );
        assert!(there(&fleet, "h2.cut") && !there(&fleet, "h2.whole"));
        assert!(!there(&fleet, "h1.cut") && result_of(&fleet, "h1", "Critical").is_none(), "it is still at it");
        assert_eq!(fleet.conf("h1"), "mode=new\n", "nothing is undone under a step");
        fleet.open_the_gate();
        let (code, said) = run.end();
        assert_eq!(code, Some(2), "{said}");
        assert!(there(&fleet, "h1.whole") && !there(&fleet, "h1.cut"), "{said}");
        assert_eq!(result_of(&fleet, "h1", "Critical"), Some(StepStatus::Changed), "it ended by itself");
        assert_eq!(fleet.files(), ["mode=old\n"; 3], "{said}");
    }
}

#[test]
fn a_kill_ends_the_controller_and_the_host_lets_a_critical_step_end() {
    if missing("a_kill_ends_the_controller_and_the_host_lets_a_critical_step_end") {
        return;
    }
    let fleet = Fleet::new(&STEPS.replace("abort_grace: 0s", "abort_grace: 1h"));
    let mut run = fleet.start(&fleet.run());
    fleet.until_there("h1.begun");
    fleet.until_there("h2.begun");
    for word in ["PAUSED", "ABORTED", "KILLED"] {
        run.signal("INT");
        run.until(word);
    }
    let (code, said) = run.end();
    assert_eq!(code, Some(3), "{said}");
    fleet.until_there("h2.cut");
    assert!(!there(&fleet, "h1.cut") && !there(&fleet, "h1.whole"));
    fleet.open_the_gate();
    fleet.until_there("h1.whole");
    assert!(!there(&fleet, "h1.cut") && !there(&fleet, "h2.whole"));
    // The hosts say themselves how it stands, and go back by hand.
    let back = fleet.rollgate(&format!("rollback {}", fleet.runs().pop().unwrap()));
    assert_eq!(back.code, Some(0), "{}", back.transcript());
    assert_eq!(fleet.files(), ["mode=old\n"; 3]);
}

/// The undo of the second step waits for the gate.
const UNDO: &str = "\
- name: Change
  hosts: h1
  gather_facts: false
  rollout: { min_healthy_time: 0s, abort_grace: 0s, guard_timeout: 1h }
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\" }
    - name: Register
      shell: touch {{ root }}.registered
      undo:
        - shell: |
            trap 'touch {{ root }}.cut; exit 1' TERM
            touch {{ root }}.undoing
            until test -e {{ gate }}; do sleep 0.02; done
            rm {{ root }}.registered
    - name: Fail
      shell: exit 1
      changed_when: false
";

#[test]
fn no_signal_cuts_an_undo() {
    if missing("no_signal_cuts_an_undo") {
        return;
    }
    let fleet = Fleet::new(UNDO);
    let mut run = fleet.start(&fleet.run());
    run.until("ABORTED");
    fleet.until_there("h1.undoing");
    for _ in 0..2 {
        run.signal("INT");
        run.until("SIGINT");
    }
    assert_eq!(fleet.place.rollgate("abort").code, Some(0), "it is aborted already, and says so");
    assert!(!there(&fleet, "h1.cut") && there(&fleet, "h1.registered"));
    fleet.open_the_gate();
    let (code, said) = run.end();
    assert_eq!((code, fleet.ends().1), (Some(2), vec![HostState::RolledBack]), "{said}");
    assert!(!there(&fleet, "h1.cut") && !there(&fleet, "h1.registered"));
    assert_eq!(fleet.conf("h1"), "mode=old\n");
}

#[test]
fn a_kill_leaves_an_undo_to_the_host_which_ends_it() {
    if missing("a_kill_leaves_an_undo_to_the_host_which_ends_it") {
        return;
    }
    let fleet = Fleet::new(UNDO);
    let mut run = fleet.start(&fleet.run());
    run.until("ABORTED");
    fleet.until_there("h1.undoing");
    // One after the other: signals that wait to be taken are one.
    for word in ["SIGINT", "SIGINT", "KILLED"] {
        run.signal("INT");
        run.until(word);
    }
    let (code, said) = run.end();
    assert_eq!((code, fleet.ends().1), (Some(3), vec![HostState::Unknown]), "{said}");
    fleet.open_the_gate();
    // The rollback went on without a controller, to its end.
    while fleet.conf("h1") != "mode=old\n" {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(!there(&fleet, "h1.cut") && !there(&fleet, "h1.registered"));
    let again = fleet.rollgate(&format!("rollback {}", fleet.runs().pop().unwrap()));
    assert_eq!(again.code, Some(0), "{}", again.transcript());
}

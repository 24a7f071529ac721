//! A rehearsal under the real guard: what was put back is never confirmed, and the second change has a guard of its own.
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

use fleet::{Fleet, HOSTS};
use rollgate::journal::{EventKind, HostState};
use sshd::missing;

const PLAYBOOK: &str = "\
- name: Change
  hosts: all
  gather_facts: false
  rollout:
    batches: [2, 1]
    rehearse: true
    confirm: CONFIRM
    min_healthy_time: 100ms
    guard_timeout: 5s
    probes:
      - { name: there, command: 'test -e {{ root }}/conf', interval: 50ms }
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\" }
  rollback:
    - shell: touch {{ root }}.undoing; until test -e {{ gate }}; do sleep 0.02; done
";

/// The transactions of a host of which an event of this kind speaks, in order.
fn txns(events: &[EventKind], of: impl Fn(&EventKind) -> Option<(&String, &String)>) -> Vec<String> {
    events.iter().filter_map(of).filter(|(host, _)| *host == "h1").map(|(_, txn)| txn.clone()).collect()
}

/// What the host's own record says of a guard.
fn guard(fleet: &Fleet, txn: &str) -> String {
    let path = fleet.place.path().join(format!("h1.state/txn/{txn}/guard.json"));
    let record: serde_json::Value = serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap();
    record["state"].as_str().unwrap().to_owned()
}

#[test]
fn nothing_is_confirmed_before_the_rehearsal_is_over() {
    if missing("nothing_is_confirmed_before_the_rehearsal_is_over") {
        return;
    }
    for confirm in ["per_host", "per_batch"] {
        let fleet = Fleet::new(&PLAYBOOK.replace("CONFIRM", confirm));
        let run = fleet.start(&fleet.run());
        fleet.until_there("h1.undoing");
        let early = fleet.events();
        let confirmed = |events: &[EventKind]| {
            txns(events, |kind| match kind {
                EventKind::ConfirmIntent { host, txn } => Some((host, txn)),
                _ => None,
            })
        };
        let armed = |events: &[EventKind]| {
            txns(events, |kind| match kind {
                EventKind::GuardArmed { host, txn, .. } => Some((host, txn)),
                _ => None,
            })
        };
        assert_eq!((armed(&early).len(), confirmed(&early).len()), (1, 0), "healthy, armed, and not confirmed");
        fleet.open_the_gate();
        let (code, said) = run.end();
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(fleet.files(), ["mode=new\n"; 3]);
        let events = fleet.events();
        let guards = armed(&events);
        assert_eq!(guards.len(), 2, "one for the rehearsal, one for the change");
        assert_eq!(confirmed(&events), guards[1..], "only the second change is confirmed");
        assert_eq!((guard(&fleet, &guards[0]), guard(&fleet, &guards[1])), ("reverted".into(), "confirmed".into()));
        assert!(!events.iter().any(|kind| matches!(kind, EventKind::GuardFired { .. })));
        assert!(events.iter().any(|kind| matches!(kind, EventKind::Rehearsed { failed: None, .. })));
    }
}

#[test]
fn a_controller_that_dies_in_the_rehearsal_leaves_every_host_as_before() {
    if missing("a_controller_that_dies_in_the_rehearsal_leaves_every_host_as_before") {
        return;
    }
    let fleet = Fleet::new(&PLAYBOOK.replace("CONFIRM", "per_host"));
    let run = fleet.start(&fleet.run());
    fleet.until_there("h1.undoing");
    run.signal("KILL");
    let _ = run.end();
    fleet.open_the_gate();
    // The host finishes by itself, and says so when it is asked.
    let back = fleet.rollgate(&format!("rollback {}", fleet.runs().pop().unwrap()));
    assert_eq!(back.code, Some(0), "{}", back.transcript());
    assert!(HOSTS.iter().all(|host| fleet.conf(host) == "mode=old\n"), "{}", back.transcript());
    let states = fleet.ends().1;
    assert!(!states.contains(&HostState::Unknown) && !states.contains(&HostState::RollbackFailed), "{states:?}");
}

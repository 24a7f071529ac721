//! What hosts do by themselves while their controller is cut off (rows 4 and 32) or dead (row 33).

use crate::{
    fleet::{Fleet, HOSTS},
    proxy::Proxy,
    sshd::missing,
};
use rollgate::journal::{EventKind, HostState};

/// The first host waits for the gate when it is changed.
const PLAYBOOK: &str = "\
- name: Change
  hosts: all
  gather_facts: false
  rollout:
    batches: [3]
    max_unavailable: 3
    min_healthy_time: SETTLE
    rollback_deadline: 60s
    confirm: per_batch
    guard_timeout: 5s
    revert_budget: 5s
    probes:
      - name: there
        tcp: '127.0.0.1:{{ listens }}'
        interval: 100ms
        timeout: 10s
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\", mode: '0600' }
    - copy: { dest: \"{{ root }}/added\", content: \"x\\n\" }
    - name: Wait
      shell: until test -e {{ gate }}; do sleep 0.02; done
      changed_when: false
      when: inventory_hostname == 'h1'
";

/// Three hosts, the second one's connection passing through a proxy. A probe asks the server's own port.
fn cuttable(settle: &str) -> (Fleet, Proxy, String) {
    let playbook = PLAYBOOK.replace("SETTLE", settle);
    let playbook = if settle == "0s" { without_probe(&playbook) } else { playbook };
    let fleet = Fleet::new(&playbook);
    let proxy = Proxy::on_the_way_to(&fleet, "h2");
    let run = format!("{} --known-hosts known -e listens={}", fleet.run(), fleet.sshd.port());
    (fleet, proxy, run)
}

/// Where nothing is to be asked of a host between its last step and its confirmation.
fn without_probe(playbook: &str) -> String {
    let (head, rest) = playbook.split_once("    probes:\n").unwrap();
    let (_, tasks) = rest.split_once("  tasks:\n").unwrap();
    format!("{head}  tasks:\n{tasks}")
}

fn is(host: &str, wanted: HostState) -> impl Fn(&EventKind) -> bool {
    move |kind| matches!(kind, EventKind::HostChanged { host: of, state, .. } if of == host && *state == wanted)
}

#[test]
fn row_4_a_confirmation_after_the_guard_has_fired_is_refused_and_every_host_is_as_before() {
    if missing("row_4_a_confirmation_after_the_guard_has_fired_is_refused_and_every_host_is_as_before") {
        return;
    }
    let (fleet, proxy, run) = cuttable("0s");
    let before = fleet.trees();
    let going = fleet.start(&run);
    fleet.until("h2 is healthy", is("h2", HostState::Healthy));
    fleet.until("h1 waits", |kind| matches!(kind, EventKind::StepIntent { info, .. } if info.task == "Wait"));
    proxy.cut_off();
    assert_eq!(fleet.settled("h2"), ["reverted_by_guard"]);
    assert_eq!(fleet.trees()[1], before[1]);
    fleet.open_the_gate();
    // The partition heals when the controller has begun to confirm.
    fleet.until("it confirms h2", |kind| matches!(kind, EventKind::ConfirmIntent { host, .. } if host == "h2"));
    proxy.heal();
    let (code, said) = going.end();
    assert_eq!((code, fleet.ends().1), (Some(2), vec![HostState::RolledBack; 3]), "{said}");
    assert_eq!(fleet.trees(), before, "{said}");
    let of_h2 = |kind: EventKind| match kind {
        EventKind::ConfirmResult { host, refused, .. } if host == "h2" => Some(refused),
        _ => None,
    };
    let confirmed: Vec<Option<String>> = fleet.events().into_iter().filter_map(of_h2).collect();
    assert!(matches!(&confirmed[..], [Some(why)] if why.contains("it has reverted this host")), "{confirmed:?}");
    assert!(fleet.events().iter().any(|kind| matches!(kind, EventKind::GuardFired { host, .. } if host == "h2")));
    assert_eq!(fleet.settled("h2"), ["reverted_by_guard"], "never confirmed");
}

#[test]
fn row_32_a_guard_that_fires_during_the_verification_wins() {
    if missing("row_32_a_guard_that_fires_during_the_verification_wins") {
        return;
    }
    let (fleet, proxy, run) = cuttable("4m");
    let before = fleet.trees();
    fleet.open_the_gate();
    let going = fleet.start(&run);
    for host in HOSTS {
        fleet.until("it is verified", is(host, HostState::Verifying));
    }
    proxy.cut_off();
    assert_eq!(fleet.settled("h2"), ["reverted_by_guard"]);
    assert_eq!(fleet.trees()[1], before[1]);
    proxy.heal();
    let (code, said) = going.end();
    assert_eq!((code, fleet.ends().1), (Some(2), vec![HostState::RolledBack; 3]), "{said}");
    assert_eq!(fleet.trees(), before, "{said}");
    assert!(
        fleet.events().iter().any(|kind| matches!(kind, EventKind::GuardFired { host, .. } if host == "h2")),
        "{said}"
    );
    let confirmed = |kind: &EventKind| matches!(kind, EventKind::ConfirmResult { refused: None, .. });
    assert!(!fleet.events().iter().any(confirmed), "{said}");
}

/// The verification takes longer than the guard's deadline, which is extended all the while.
#[test]
fn row_32_a_verification_longer_than_the_deadline_is_held_by_extensions() {
    if missing("row_32_a_verification_longer_than_the_deadline_is_held_by_extensions") {
        return;
    }
    let (fleet, _proxy, run) = cuttable("9s");
    let new = fleet.trees()[0]["conf"].0 & 0o777;
    fleet.open_the_gate();
    let (code, said) = fleet.start(&run).end();
    assert_eq!((code, fleet.ends().1), (Some(0), vec![HostState::Changed; 3]), "{said}");
    assert!(!fleet.events().iter().any(|kind| matches!(kind, EventKind::GuardFired { .. })), "{said}");
    for (host, tree) in HOSTS.iter().zip(fleet.trees()) {
        assert_eq!(fleet.settled(host), ["confirmed"]);
        let of = |name: &str| (tree[name].0 & 0o777, tree[name].3.as_slice());
        assert_eq!(
            (of("conf"), of("added"), tree.len()),
            ((0o600, &b"mode=new\n"[..]), (new, &b"x\n"[..]), 2),
            "{host}"
        );
    }
}

const ARMED: &str = "\
- name: Change
  hosts: all
  gather_facts: false
  rollout:
    batches: [3]
    max_unavailable: 1
    min_healthy_time: 0s
    confirm: per_batch
    guard_timeout: 5s
    revert_budget: 10s
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\", mode: '0600' }
    - name: Wait
      shell: until test -e {{ gate }}; do sleep 0.02; done
      changed_when: false
      delegate_to: localhost
      when: inventory_hostname == 'h3'
  rollback:
    - shell: sleep 1
";

#[test]
fn row_33_hosts_of_a_killed_controller_revert_one_after_the_other_and_are_as_before() {
    if missing("row_33_hosts_of_a_killed_controller_revert_one_after_the_other_and_are_as_before") {
        return;
    }
    let fleet = Fleet::new(ARMED);
    let before = fleet.trees();
    let run = fleet.start(&fleet.run());
    fleet.until("all are changed", |kind| matches!(kind, EventKind::StepIntent { info, .. } if info.task == "Wait"));
    run.signal("KILL");
    let (code, said) = run.end();
    assert_eq!(code, None, "{said}");
    let mut fired = Vec::new();
    for host in HOSTS {
        assert_eq!(fleet.settled(host), ["reverted_by_guard"]);
        let found = &fleet.guards(host)[0]["fired"];
        fired.push((found["begun_ms"].as_u64().unwrap(), found["ended_ms"].as_u64().unwrap()));
    }
    assert_eq!(fleet.trees(), before);
    fired.sort_unstable();
    assert!(fired.windows(2).all(|pair| pair[0].1 <= pair[1].0), "no two at once: {fired:?}");
}

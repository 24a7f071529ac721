//! Connections that stand and do nothing (row 19) and connections that are found dead (row 20).

use crate::{
    fleet::{Fleet, HOSTS},
    proxy::Proxy,
    sshd::{Options, Sshd, missing},
};
use rollgate::journal::{EventKind, HostState};
use std::path::Path;

/// Steps that are no more than counted, around a wait on the controller: nothing is under way on any host meanwhile.
const PLAYBOOK: &str = "\
- name: Change
  hosts: all
  gather_facts: false
  rollout:
    batches: [3]
    max_unavailable: 3
    max_fail: MAX_FAIL
    min_healthy_time: 0s
    rollback_deadline: 3s
    guard_timeout: 5s
    revert_budget: 5s
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\", mode: '0600' }
    - shell: echo one >> {{ root }}.ran
      accept_irreversible: true
    - name: Wait
      shell: until test -e {{ gate }}; do sleep 0.02; done
      delegate_to: localhost
      changed_when: false
    - name: Go on
      shell: echo two >> {{ root }}.ran; touch {{ root }}.within; until test -e {{ end }}; do sleep 0.02; done
      accept_irreversible: true
    - copy: { dest: \"{{ root }}/added\", content: \"x\\n\" }
";

/// The playbook of a run that tolerates so many failed hosts.
fn playbook(max_fail: usize) -> String {
    PLAYBOOK.replace("MAX_FAIL", &max_fail.to_string())
}

/// How often the steps that only count were run.
fn ran(fleet: &Fleet) -> [String; 3] {
    HOSTS.map(|host| fs_err::read_to_string(fleet.place.path().join(format!("{host}.ran"))).unwrap_or_default())
}

/// Arguments of a run whose last step but one ends at once, or only when the test says so.
fn run(fleet: &Fleet, waits: bool) -> String {
    let end = if waits { "end" } else { "site.yml" };
    format!("{} -e end={}", fleet.run(), fleet.place.path().join(end).display())
}

/// Waits until every one of these hosts is between two of its steps.
fn until_between(fleet: &Fleet, hosts: &[&str]) {
    for host in hosts {
        fleet.until(
            "it waits",
            |kind| matches!(kind, EventKind::StepIntent { id, info } if id.host == *host && info.task == "Wait"),
        );
    }
}

#[test]
fn row_20_a_connection_cut_between_steps_is_made_again_once_and_nothing_is_repeated() {
    if missing("row_20_a_connection_cut_between_steps_is_made_again_once_and_nothing_is_repeated") {
        return;
    }
    let fleet = Fleet::new(&playbook(0));
    let proxy = Proxy::on_the_way_to(&fleet, "h2");
    let before = fleet.trees();
    let going = fleet.start(&format!("{} --known-hosts known", run(&fleet, false)));
    until_between(&fleet, &HOSTS);
    assert_eq!(proxy.made(), 1);
    proxy.cut();
    fleet.open_the_gate();
    let (code, said) = going.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(ran(&fleet), ["one\ntwo\n"; 3], "each step once: {said}");
    assert_eq!(proxy.made(), 3, "once for the steps that were left, once to confirm over a new connection: {said}");
    let after = fleet.trees();
    assert_eq!((&after[1], &after[2]), (&after[0], &after[0]));
    assert_eq!(fleet.conf("h2"), "mode=new\n");
    let back = fleet.rollgate(&format!("rollback {} --known-hosts known", fleet.runs().pop().unwrap()));
    assert_eq!(back.code, Some(0), "{}", back.transcript());
    assert_eq!(fleet.trees(), before, "its record outlived the connection: {}", back.transcript());
}

#[test]
fn row_20_a_step_that_a_cut_connection_leaves_behind_is_not_sent_again() {
    if missing("row_20_a_step_that_a_cut_connection_leaves_behind_is_not_sent_again") {
        return;
    }
    let fleet = Fleet::new(&playbook(0));
    let proxy = Proxy::on_the_way_to(&fleet, "h2");
    let before = fleet.trees();
    fleet.open_the_gate();
    let going = fleet.start(&format!("{} --known-hosts known", run(&fleet, true)));
    for host in HOSTS {
        fleet.until_there(&format!("{host}.within"));
    }
    proxy.cut();
    // Whether it was done is not known: the host is put back.
    fleet.until("h2 is lost", |kind| matches!(kind, EventKind::RollbackIntent { host, .. } if host == "h2"));
    fleet.place.file("end", "");
    let (code, said) = going.end();
    assert_eq!((code, fleet.ends().1), (Some(2), vec![HostState::RolledBack; 3]), "{said}");
    assert_eq!(ran(&fleet), ["one\ntwo\n"; 3], "each step once: {said}");
    assert_eq!(fleet.trees(), before, "{said}");
}

/// A server whose login shell hangs for as long as a file is there.
fn hanging(base: &Path) -> Sshd {
    let hang = base.join("hang");
    let config = format!(
        "ForceCommand if test -e {}; then exec sleep 1000; else exec sh -c \"$SSH_ORIGINAL_COMMAND\"; fi",
        hang.display()
    );
    Sshd::start(&Options { config, ..Options::default() })
}

#[test]
fn row_19_a_host_whose_shell_never_starts_costs_nobody_else_and_is_never_started() {
    if missing("row_19_a_host_whose_shell_never_starts_costs_nobody_else_and_is_never_started") {
        return;
    }
    let fleet = Fleet::new(&playbook(1));
    let hung = hanging(fleet.place.path());
    fleet.place.file("hang", "");
    fleet.open_the_gate();
    let to = format!("ansible_port={} ansible_ssh_private_key_file={}", hung.port(), hung.key().display());
    fleet.vary("h2", &to);
    let before = fleet.trees();
    let known = hung.known_hosts();
    let (code, said) = fleet.start(&format!("{} --known-hosts {}", run(&fleet, false), known.display())).end();
    assert!(said.contains("h2: unreachable") && said.contains("login shell"), "{said}");
    let after = fleet.trees();
    assert_eq!(after[1], before[1], "{said}");
    assert_eq!(after[0], after[2]);
    assert_eq!(ran(&fleet), ["one\ntwo\n", "", "one\ntwo\n"], "{said}");
    assert_eq!(
        (code, fleet.ends().1),
        (Some(4), vec![HostState::Changed, HostState::NeverStarted, HostState::Changed]),
        "{said}"
    );
}

/// The host answers no more in the middle of its change: its connection is gone, and new shells never start.
#[test]
fn row_19_a_host_that_hangs_in_mid_change_is_unknown_and_seen_by_a_fresh_connection_later() {
    if missing("row_19_a_host_that_hangs_in_mid_change_is_unknown_and_seen_by_a_fresh_connection_later") {
        return;
    }
    let fleet = Fleet::new(&playbook(0));
    let hung = hanging(fleet.place.path());
    let proxy = Proxy::start(hung.port());
    let to = format!("ansible_port={} ansible_ssh_private_key_file={}", proxy.port(), hung.key().display());
    fleet.vary("h2", &to);
    fleet.place.file("known", &format!("[127.0.0.1]:{} {}\n", proxy.port(), hung.host_key()));
    let before = fleet.trees();
    let going = fleet.start(&format!("{} --known-hosts known", run(&fleet, false)));
    until_between(&fleet, &HOSTS);
    fleet.place.file("hang", "");
    proxy.cut();
    fleet.open_the_gate();
    let (code, said) = going.end();
    assert!(said.contains("h2: unreachable") && said.contains("login shell"), "{said}");
    let expected = vec![HostState::RolledBack, HostState::Unknown, HostState::RolledBack];
    assert_eq!((code, fleet.ends().1), (Some(3), expected), "{said}");
    let after = fleet.trees();
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]), "the others are as before: {said}");

    fs_err::remove_file(fleet.place.path().join("hang")).unwrap();
    let back = fleet.rollgate(&format!("rollback {} --known-hosts known", fleet.runs().pop().unwrap()));
    assert_eq!(back.code, Some(0), "{}", back.transcript());
    assert_eq!(fleet.trees(), before, "{}", back.transcript());
    assert_eq!(ran(&fleet)[1], "one\n", "nothing more was run there");
}

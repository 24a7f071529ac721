//! Rollbacks that fail (row 23) or do not help (row 24) or meet what an operator
//! wrote meanwhile (row 30), and hosts that were sick before (row 36).

use crate::{
    fleet::{Fleet, HOSTS, tree::tree},
    sshd::missing,
};
use rollgate::journal::{EventKind, HostState, StopCause};

const STUCK: &str = "\
- name: Change
  hosts: all
  gather_facts: false
  rollout: { batches: [3], max_unavailable: 3, min_healthy_time: 0s }
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\", mode: '0600' }
    - name: Register
      shell: touch {{ root }}/registered
      undo:
        - shell: test ! -e {{ root }}.stuck && rm {{ root }}/registered
    - name: Meet
      shell: touch {{ root }}.there; until test -e {{ gate }}; do sleep 0.02; done
      changed_when: false
    - name: Fail on the last
      shell: exit 1
      changed_when: false
      when: inventory_hostname == 'h3'
";

#[test]
fn row_23_an_undo_that_fails_on_one_host_stops_no_other_and_can_be_done_later() {
    if missing("row_23_an_undo_that_fails_on_one_host_stops_no_other_and_can_be_done_later") {
        return;
    }
    let fleet = Fleet::new(STUCK);
    fleet.place.file("h2.stuck", "");
    let before = fleet.trees();
    let run = fleet.start(&fleet.run());
    for host in HOSTS {
        fleet.until_there(&format!("{host}.there"));
    }
    let changed = fleet.trees();
    fleet.open_the_gate();
    let (code, said) = run.end();
    let expected = vec![HostState::RolledBack, HostState::RollbackFailed, HostState::RolledBack];
    assert_eq!((code, fleet.ends().1), (Some(3), expected), "{said}");
    let after = fleet.trees();
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]), "{said}");
    assert_eq!(after[1], changed[1], "nothing before the part that fails is undone out of its order: {said}");
    let tries = |kind: &EventKind| matches!(kind, EventKind::RollbackIntent { host, .. } if host == "h2");
    assert_eq!(fleet.events().iter().filter(|kind| tries(kind)).count(), 3, "{said}");

    fs_err::remove_file(fleet.place.path().join("h2.stuck")).unwrap();
    let back = fleet.rollgate(&format!("rollback {}", fleet.runs().pop().unwrap()));
    assert_eq!(back.code, Some(0), "{}", back.transcript());
    assert_eq!(fleet.trees(), before);
}

#[test]
fn row_30_a_file_edited_during_the_run_is_kept_with_what_it_was_put_aside_and_the_others_are_as_before() {
    if missing("row_30_a_file_edited_during_the_run_is_kept_with_what_it_was_put_aside_and_the_others_are_as_before") {
        return;
    }
    let fleet = Fleet::new(STUCK);
    let mut before = fleet.trees();
    let run = fleet.start(&fleet.run());
    for host in HOSTS {
        fleet.until_there(&format!("{host}.there"));
    }
    fleet.place.file("h2/conf", "mode=mine\n");
    let edited = fleet.trees()[1]["conf"].clone();
    fleet.open_the_gate();
    let (code, said) = run.end();
    let expected = vec![HostState::RolledBack, HostState::RollbackFailed, HostState::RolledBack];
    assert_eq!((code, fleet.ends().1), (Some(3), expected), "{said}");
    assert!(said.contains("drifted"), "{said}");
    before[1].insert("conf".to_owned(), edited);
    assert_eq!(fleet.trees(), before, "theirs is kept, and all else is put back: {said}");
    let records = tree(&fleet.place.path().join("h2.state/txn"));
    let mut aside = records.iter().filter(|(path, _)| path.contains("/drifted/conf."));
    assert!(
        aside.any(|(_, (.., bytes))| bytes == b"mode=old\n"),
        "what it was is beside the record: {:?}",
        records.keys()
    );
}

const DEPENDS: &str = "\
- name: Change
  hosts: all
  gather_facts: false
  rollout:
    batches: [3]
    max_unavailable: 3
    max_fail: 0
    min_healthy_time: 100ms
    healthy_deadline: 3s
    pause_timeout: 1s
    guard_timeout: 5s
    revert_budget: 5s
    probes:
      - { name: serves, command: 'test -e {{ dependency }}', interval: 50ms }
    triggers:
      - { name: it does not serve, when: serves.consecutive_failures >= 3 }
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\", mode: '0600' }
    - shell: echo once >> {{ root }}.ran
      accept_irreversible: true
    - name: Meet
      shell: touch {{ root }}.there; until test -e {{ gate }}; do sleep 0.02; done
      changed_when: false
";

/// What all hosts depend on goes away while they are changed: the change is not to blame, and putting back does not help.
#[test]
fn row_24_hosts_that_stay_sick_when_they_are_put_back_stop_the_rollback_and_end_as_before() {
    if missing("row_24_hosts_that_stay_sick_when_they_are_put_back_stop_the_rollback_and_end_as_before") {
        return;
    }
    let fleet = Fleet::new(DEPENDS);
    fleet.place.file("dependency", "");
    let before = fleet.trees();
    let run =
        fleet.start(&format!("{} -e dependency={}", fleet.run(), fleet.place.path().join("dependency").display()));
    for host in HOSTS {
        fleet.until_there(&format!("{host}.there"));
    }
    let changed = fleet.trees();
    fs_err::remove_file(fleet.place.path().join("dependency")).unwrap();
    fleet.open_the_gate();
    let (code, said) = run.end();
    assert_eq!(code, Some(3), "{said}");
    let paused = |kind: &EventKind| matches!(kind, EventKind::Paused { cause: StopCause::Environment });
    assert!(fleet.events().iter().any(paused), "{said}");
    let states = fleet.ends().1;
    let restored = states.iter().filter(|state| **state == HostState::RollbackFailed).count();
    let left = states.iter().filter(|state| **state == HostState::Failed).count();
    assert_eq!((restored, left), (2, 1), "after two that stay sick the third waits: {said}");
    for (host, state) in HOSTS.iter().zip(states) {
        let number = HOSTS.iter().position(|it| it == host).unwrap();
        if state == HostState::Failed && fleet.guards(host)[0]["state"] == "armed" {
            assert_eq!(fleet.trees()[number], changed[number], "{said}");
        }
        // Nobody answered: its guard was let go.
        fleet.settled(host);
        assert_eq!(fleet.trees()[number], before[number], "{host}: {said}");
        let ran = fs_err::read_to_string(fleet.place.path().join(format!("{host}.ran"))).unwrap();
        assert_eq!(ran, "once\n", "no ping-pong");
    }
}

const SICK: &str = "\
- name: Change
  hosts: all
  gather_facts: false
  rollout:
    batches: [3]
    max_unavailable: MOST
    min_healthy_time: 100ms
    healthy_deadline: 60s
    probes:
      - { name: serves, command: 'test ! -e {{ root }}/broken', interval: 50ms }
    triggers:
      - { name: it does not serve, when: serves.consecutive_failures >= 3 }
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\", mode: '0600' }
";

#[test]
fn row_36_a_host_broken_before_takes_up_the_budget_and_is_not_blamed_on_the_change() {
    if missing("row_36_a_host_broken_before_takes_up_the_budget_and_is_not_blamed_on_the_change") {
        return;
    }
    let run = |most: usize, broken: &[&str]| {
        let fleet = Fleet::new(&SICK.replace("MOST", &most.to_string()));
        for host in broken {
            fleet.place.file(&format!("{host}/broken"), "");
        }
        let before = fleet.trees();
        let (code, said) = fleet.start(&fleet.run()).end();
        (fleet, before, code, said)
    };
    let (fleet, before, code, said) = run(1, &["h1", "h3"]);
    assert_eq!((code, fleet.ends().1), (Some(2), vec![HostState::NeverStarted; 3]), "{said}");
    assert_eq!(fleet.trees(), before, "two sick ones are more than the budget: {said}");

    let (fleet, before, code, said) = run(2, &["h3"]);
    assert_eq!((code, fleet.ends().1), (Some(0), vec![HostState::Changed; 3]), "{said}");
    assert!(said.contains("as sick as before"), "{said}");
    for (mut before, after) in before.into_iter().zip(fleet.trees()) {
        let conf = before.get_mut("conf").unwrap();
        (conf.0, conf.3) = (conf.0 & !0o777 | 0o600, b"mode=new\n".to_vec());
        assert_eq!(after, before, "changed, and nothing else: {said}");
    }
}

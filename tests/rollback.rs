//! `rollgate rollback RUN`, against a real sshd: rows 25 and 30 of the failure matrix among them.
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

use fleet::{Fleet, HOSTS, tree::Tree};
use rollgate::journal::HostState;
use sshd::missing;

/// A rollout of two batches that changes a file, makes another, and has one written by its handler.
const PLAYBOOK: &str = "\
- name: Change
  hosts: all
  gather_facts: false
  rollout: { batches: [1, 2], min_healthy_time: 0s }
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\", mode: '0600' }
      notify: follow
    - copy: { dest: \"{{ root }}/added\", content: \"x\\n\" }
  handlers:
    - name: follow
      accept_irreversible: true
      shell: \"cat {{ root }}/conf >> {{ root }}/log\"
  rollback:
    - shell: \"echo back > {{ root }}/back\"
";

/// Changes all hosts; the run's id.
fn changed(fleet: &Fleet) -> String {
    let said = fleet.rollgate("run -i hosts.ini site.yml");
    assert_eq!(said.code, Some(0), "{}", said.transcript());
    fleet.runs().pop().unwrap()
}

/// What a host holds when it has been put back: all that was there, and what the handler and `rollback:` have written.
fn put_back(before: &Tree) -> Tree {
    let mut after = before.clone();
    let new = (before["conf"].0, 0, 0);
    for (name, text) in [("log", "mode=new\nmode=old\n"), ("back", "back\n")] {
        after.insert(name.to_owned(), (new.0, new.1, new.2, text.into()));
    }
    after
}

fn is_as_before(fleet: &Fleet, host: &str) -> bool {
    let mode = std::fs::metadata(fleet.place.path().join(host).join("conf")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777;
    fleet.conf(host) == "mode=old\n" && mode == 0o644 && !fleet.place.path().join(host).join("added").exists()
}

#[test]
fn a_run_is_put_back_by_hand_later_without_its_playbook_or_inventory() {
    if missing("a_run_is_put_back_by_hand_later_without_its_playbook_or_inventory") {
        return;
    }
    let fleet = Fleet::new(PLAYBOOK);
    let run = changed(&fleet);
    fs_err::remove_file(fleet.place.path().join("site.yml")).unwrap();
    fs_err::remove_file(fleet.place.path().join("hosts.ini")).unwrap();

    let check = fleet.rollgate(&format!("rollback {run} --check"));
    assert_eq!(check.code, Some(0), "{}", check.transcript());
    for part in ["put back path", "h3/conf: was", "run handler follow", "run rollback"] {
        assert!(check.stdout.contains(part), "{part} is missing: {}", check.stdout);
    }
    assert!(HOSTS.iter().all(|host| fleet.conf(host) == "mode=new\n"), "a check changes nothing");

    let back = fleet.rollgate(&format!("rollback {run} -l h2,h3"));
    assert_eq!(back.code, Some(0), "{}", back.transcript());
    assert!(is_as_before(&fleet, "h2") && is_as_before(&fleet, "h3"), "{}", back.transcript());
    assert_eq!(fleet.conf("h1"), "mode=new\n", "hosts outside the limit are left alone");
    assert_eq!(fs_err::read_to_string(fleet.place.path().join("h2/log")).unwrap(), "mode=new\nmode=old\n");
    assert_eq!(fs_err::read_to_string(fleet.place.path().join("h2/back")).unwrap(), "back\n");

    let rest = fleet.rollgate(&format!("rollback {run}"));
    assert_eq!(rest.code, Some(0), "{}", rest.transcript());
    assert!(is_as_before(&fleet, "h1"));
    assert!(rest.stdout.contains("2 unchanged") && rest.stdout.contains("no-op"), "{}", rest.stdout);
    assert_eq!(fs_err::read_to_string(fleet.place.path().join("h2/log")).unwrap(), "mode=new\nmode=old\n", "once");
    let shown = fleet.place.rollgate("show");
    assert_eq!(shown.stdout, rest.stdout, "it is a run of its own");
    assert!(fleet.place.rollgate("runs").stdout.contains("1 rolled back"));
}

#[test]
fn row_25_no_op_and_no_target_execute_nothing_and_are_named() {
    if missing("row_25_no_op_and_no_target_execute_nothing_and_are_named") {
        return;
    }
    let fleet = Fleet::new(PLAYBOOK);
    let run = changed(&fleet);
    let again = fleet.rollgate("run -i hosts.ini site.yml");
    assert_eq!(again.code, Some(0), "{}", again.transcript());
    let changed = fleet.trees();
    let nothing = fleet.runs().pop().unwrap();
    let said = fleet.rollgate(&format!("rollback {nothing}"));
    assert_eq!(said.code, Some(0), "{}", said.transcript());
    assert!(said.stdout.contains("no target") && !said.stdout.contains("rolling back"), "{}", said.stdout);
    assert_eq!(fleet.trees(), changed);
    for host in HOSTS {
        fs_err::remove_dir_all(fleet.place.path().join(format!("{host}.state/txn"))).unwrap();
    }
    let gone = fleet.rollgate(&format!("rollback {run}"));
    assert_eq!(gone.code, Some(0), "{}", gone.transcript());
    assert!(gone.stdout.contains("its undo record is gone"), "{}", gone.stdout);
    assert_eq!(fleet.trees(), changed);
}

/// A step whose name for what it made is known only afterwards, in a loop and by itself; the last host's batch fails.
const MADE: &str = "\
- name: Make
  hosts: all
  gather_facts: false
  rollout: { batches: [3], min_healthy_time: 0s }
  tasks:
    - name: Make one
      shell: \"mktemp {{ root }}/one.XXXXXX\"
      register: made
      undo:
        - file: { path: \"{{ made.stdout }}\", state: absent }
    - name: Make several
      shell: \"mktemp {{ root }}/{{ item }}.XXXXXX\"
      loop: [two, three]
      register: made
      undo:
        - file: { path: \"{{ made.stdout }}\", state: absent }
        - file: { path: \"{{ root }}/{{ item }}.log\", state: absent }
    - command: test {{ inventory_hostname }} != h3
      changed_when: false
";

#[test]
fn what_a_step_has_made_is_undone_by_what_it_registered() {
    if missing("what_a_step_has_made_is_undone_by_what_it_registered") {
        return;
    }
    let fleet = Fleet::new(MADE);
    let before = fleet.trees();
    let plan = fleet.rollgate("plan -i hosts.ini site.yml");
    assert!(
        plan.stdout.contains("it is added when the step has run, and the guard does not have it before"),
        "{}",
        plan.stdout
    );
    let failed = fleet.rollgate("run -i hosts.ini site.yml");
    assert_eq!(failed.code, Some(2), "{}", failed.transcript());
    assert!(failed.stdout.contains("Make several"), "{}", failed.stdout);
    assert_eq!(fleet.trees(), before, "{}", failed.transcript());
    fleet.place.file("site.yml", &MADE.replace(" != h3", " != h9"));
    let run = changed(&fleet);
    assert!(fleet.trees().iter().zip(&before).all(|(after, before)| after.len() == before.len() + 3));
    let said = fleet.rollgate(&format!("rollback {run}"));
    assert_eq!((said.code, fleet.trees()), (Some(0), before), "{}", said.transcript());
}

#[test]
fn row_30_a_file_that_an_operator_edited_is_kept_and_the_host_is_named() {
    if missing("row_30_a_file_that_an_operator_edited_is_kept_and_the_host_is_named") {
        return;
    }
    let fleet = Fleet::new(PLAYBOOK);
    let before = fleet.trees();
    let run = changed(&fleet);
    fleet.place.file("h2/conf", "mode=mine\n");
    let edited = fleet.trees()[1]["conf"].clone();
    let check = fleet.rollgate(&format!("rollback {run} --check"));
    assert!(check.stdout.contains("changed by somebody else since"), "{}", check.stdout);
    let said = fleet.rollgate(&format!("rollback {run}"));
    assert_eq!(said.code, Some(3), "{}", said.transcript());
    assert_eq!(fleet.conf("h2"), "mode=mine\n", "their file is kept");
    assert!(said.stdout.contains("1 rollback failed") && said.stdout.contains("drifted"), "{}", said.stdout);
    let after = fleet.trees();
    assert_eq!((&after[0], &after[2]), (&put_back(&before[0]), &put_back(&before[2])), "one host stops no other");
    assert_eq!(after[1]["conf"], edited, "{:?}", after[1]);
}

#[test]
fn a_host_out_of_reach_needs_an_operator_and_stops_no_other() {
    if missing("a_host_out_of_reach_needs_an_operator_and_stops_no_other") {
        return;
    }
    let fleet = Fleet::new(PLAYBOOK);
    let run = changed(&fleet);
    let hosts = fs_err::read_to_string(fleet.place.path().join("hosts.ini")).unwrap();
    fleet.place.file("moved.ini", &hosts.replace("h2 root", "h2 ansible_port=1 root"));
    let said = fleet.rollgate(&format!("rollback {run} -i moved.ini --deadline 1"));
    assert_eq!(said.code, Some(3), "{}", said.transcript());
    assert!(said.stdout.contains("unknown") && said.stdout.contains("h2: unreachable"), "{}", said.stdout);
    assert!(is_as_before(&fleet, "h1") && is_as_before(&fleet, "h3"));
    assert_eq!(fleet.conf("h2"), "mode=new\n");
}

/// A rollback by hand in the background whose first host waits for the gate; the others follow one by one.
fn slow_rollback() -> (Fleet, fleet::Running) {
    let waits = "touch {{ root }}/undoing; until test -e {{ gate }}; do sleep 0.02; done; echo back";
    let fleet = Fleet::new(&PLAYBOOK.replace("echo back", waits));
    let run = changed(&fleet);
    let mut rollback = fleet.start(&fleet.on_hosts(&format!("rollback {run} --forks 1")));
    rollback.until("host: [h2] rolling back");
    fleet.until_there("h2/undoing");
    (fleet, rollback)
}

const ONE_IS_BACK: [&str; 3] = ["mode=new\n", "mode=old\n", "mode=new\n"];

#[test]
fn a_rollback_is_paused_and_resumed_from_another_terminal_between_hosts() {
    if missing("a_rollback_is_paused_and_resumed_from_another_terminal_between_hosts") {
        return;
    }
    let (fleet, mut rollback) = slow_rollback();
    let paused = fleet.place.rollgate("pause --reason lunch");
    assert_eq!(paused.code, Some(0), "{}", paused.transcript());
    assert!(paused.stdout.contains("1 host in flight finishes first: h2"), "{}", paused.stdout);
    let promote = fleet.place.rollgate("promote");
    assert!(promote.code == Some(1) && promote.stderr.contains("does not wait for a promotion"), "{}", promote.stderr);
    fleet.open_the_gate();
    rollback.until("WAITS");
    assert_eq!(fleet.files(), ONE_IS_BACK, "the host under way is finished, no other is begun");
    assert_eq!(fleet.place.rollgate("resume").code, Some(0));
    let (code, said) = rollback.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(HOSTS.iter().all(|host| is_as_before(&fleet, host)), "{said}");
}

#[test]
fn the_second_signal_ends_a_rollback_after_the_host_under_way() {
    if missing("the_second_signal_ends_a_rollback_after_the_host_under_way") {
        return;
    }
    let (fleet, mut rollback) = slow_rollback();
    rollback.signal("INT");
    rollback.until("PAUSED");
    rollback.signal("INT");
    rollback.until("ABORTED");
    fleet.open_the_gate();
    let (code, said) = rollback.end();
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(fleet.files(), ONE_IS_BACK, "{said}");
    let expected = vec![HostState::RolledBack, HostState::NeverStarted, HostState::NeverStarted];
    assert_eq!(fleet.ends(), (3, expected), "{said}");
    let again = fleet.rollgate(&format!("rollback {}", fleet.runs()[0]));
    assert_eq!(again.code, Some(0), "{}", again.transcript());
    assert!(HOSTS.iter().all(|host| is_as_before(&fleet, host)), "what is left is put back later");
}

#[test]
fn the_third_signal_drops_the_connections_of_a_rollback_and_the_host_finishes_by_itself() {
    if missing("the_third_signal_drops_the_connections_of_a_rollback_and_the_host_finishes_by_itself") {
        return;
    }
    let (fleet, mut rollback) = slow_rollback();
    for word in ["PAUSED", "ABORTED", "KILLED"] {
        rollback.signal("INT");
        rollback.until(word);
    }
    let (code, said) = rollback.end();
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(fleet.ends().1, [HostState::Unknown, HostState::NeverStarted, HostState::NeverStarted], "{said}");
    fleet.open_the_gate();
    fleet.until_there("h2/back");
    assert_eq!(fleet.files(), ONE_IS_BACK);
    let again = fleet.rollgate(&format!("rollback {}", fleet.runs()[0]));
    assert_eq!(again.code, Some(0), "{}", again.transcript());
    assert!(HOSTS.iter().all(|host| is_as_before(&fleet, host)));
}

//! Two controllers on one host: at the same time (row 11), and one that wakes up when the other has taken over (row 12).

use crate::{
    fleet::{Fleet, HOSTS, Running, tree::tree},
    sshd::missing,
};
use rollgate::journal::{EventKind, Reader, StepStatus};
use std::process::Command;

/// Each run writes its own value, and waits on its controller before it goes on.
const PLAYBOOK: &str = "\
- name: Change
  hosts: all
  gather_facts: false
  rollout:
    batches: [3]
    max_unavailable: 3
    min_healthy_time: 0s
    guard_timeout: TIMEOUT
    revert_budget: 5s
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode={{ value }}\\n\", mode: '0600' }
    - name: Wait
      shell: until test -e {{ opened }}; do sleep 0.02; done
      delegate_to: localhost
      changed_when: false
    - name: Go on
      copy: { dest: \"{{ root }}/{{ value }}\", content: \"{{ value }}\\n\" }
";

/// A run by a controller that keeps its runs in a directory of its own.
fn start(fleet: &Fleet, controller: &str, opened: &str) -> Running {
    let mut command = fleet.command(env!("CARGO_BIN_EXE_rollgate"));
    command.args(fleet.run().split_whitespace()).env("ROLLGATE_STATE_DIR", fleet.place.path().join(controller));
    command.args(["-e", &format!("value={controller} opened={}", fleet.place.path().join(opened).display())]);
    Running::start(&mut command)
}

/// What a controller's only run has written down, and the run's name.
fn run_of(fleet: &Fleet, controller: &str) -> (String, Vec<EventKind>) {
    let Ok(mut runs) = fs_err::read_dir(fleet.place.path().join(controller).join("runs")) else {
        return Default::default();
    };
    let Some(run) = runs.next() else { return Default::default() };
    let run = run.unwrap();
    let read = Reader::open(&run.path().join("journal.jsonl")).ok();
    let events = read.into_iter().flat_map(Reader::into_events).map(|event| event.kind).collect();
    (run.file_name().into_string().unwrap(), events)
}

fn until(what: &str, fits: impl Fn() -> bool) {
    for _ in 0..2400 {
        if fits() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    panic!("it never came to this: {what}");
}

/// The hosts on which a run waits between two steps.
fn waiting(events: &[EventKind]) -> usize {
    events.iter().filter(|kind| matches!(kind, EventKind::StepIntent { info, .. } if info.task == "Wait")).count()
}

/// Why steps of this name were refused.
fn refused<'a>(events: &'a [EventKind], host: &str) -> Option<&'a str> {
    events.iter().find_map(|kind| match kind {
        EventKind::StepResult { id, status: StepStatus::Failed, message: Some(why), .. } if id.host == host => {
            Some(why.as_str())
        }
        _ => None,
    })
}

/// What a host that this controller has changed holds.
fn changed(fleet: &Fleet, host: &str, controller: &str) -> bool {
    let names = ["conf".to_owned(), controller.to_owned()];
    fleet.conf(host) == format!("mode={controller}\n")
        && tree(&fleet.place.path().join(host)).into_keys().collect::<Vec<_>>() == names
}

#[test]
fn row_11_the_second_of_two_controllers_is_refused_by_each_host_and_told_of_the_first() {
    if missing("row_11_the_second_of_two_controllers_is_refused_by_each_host_and_told_of_the_first") {
        return;
    }
    let fleet = Fleet::new(&PLAYBOOK.replace("TIMEOUT", "10m"));
    let first = start(&fleet, "first", "gate");
    until("the first waits on every host", || waiting(&run_of(&fleet, "first").1) == 3);
    let (name, _) = run_of(&fleet, "first");
    let held = fleet.trees();
    let (code, said) = start(&fleet, "second", "site.yml").end();
    assert_eq!(code, Some(2), "{said}");
    let (_, events) = run_of(&fleet, "second");
    for host in HOSTS {
        assert!(refused(&events, host).is_some_and(|why| why.contains(&name)), "{host}: {said}");
    }
    assert_eq!(fleet.trees(), held, "nothing was changed by it: {said}");

    // Nor is the run itself done by two: not on this controller, where it is locked.
    let same = fleet
        .command(env!("CARGO_BIN_EXE_rollgate"))
        .args(["rollback", &name, "--state-dir", "first"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&same.stderr);
    assert!(same.status.code() == Some(1) && said.contains("is under way"), "{said}");
    assert_eq!(fleet.trees(), held);
    fleet.open_the_gate();
    let (code, said) = first.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(HOSTS.iter().all(|host| changed(&fleet, host, "first")), "{:?}", fleet.trees());
}

/// By force: another machine has a copy of the run, and puts it back while it is under way.
#[test]
fn row_11_who_was_overtaken_by_force_is_refused_by_each_host() {
    if missing("row_11_who_was_overtaken_by_force_is_refused_by_each_host") {
        return;
    }
    let fleet = Fleet::new(&PLAYBOOK.replace("TIMEOUT", "10m"));
    let before = fleet.trees();
    let first = start(&fleet, "first", "gate");
    until("the first waits on every host", || waiting(&run_of(&fleet, "first").1) == 3);
    let (name, _) = run_of(&fleet, "first");
    let at = |name: &str| fleet.place.path().join(name);
    assert!(Command::new("cp").arg("-a").arg(at("first")).arg(at("copied")).status().unwrap().success());
    let back = fleet.rollgate(&format!("rollback {name} --state-dir copied"));
    assert_eq!(back.code, Some(0), "{}", back.transcript());
    assert_eq!(fleet.trees(), before);
    fleet.open_the_gate();
    let (code, said) = first.end();
    assert_eq!(code, Some(2), "{said}");
    let (_, events) = run_of(&fleet, "first");
    assert!(HOSTS.iter().all(|host| refused(&events, host).is_some()), "{said}");
    assert_eq!(fleet.trees(), before, "its later steps were refused: {said}");
}

#[test]
fn row_11_two_controllers_in_a_race_leave_every_host_to_one_or_as_before() {
    if missing("row_11_two_controllers_in_a_race_leave_every_host_to_one_or_as_before") {
        return;
    }
    let fleet = Fleet::new(&PLAYBOOK.replace("TIMEOUT", "10m"));
    let before = fleet.trees();
    let runs = ["left", "right"].map(|controller| start(&fleet, controller, "gate"));
    let met = |controller: &&str| {
        let (_, events) = run_of(&fleet, controller);
        waiting(&events) > 0 || HOSTS.iter().any(|host| refused(&events, host).is_some())
    };
    until("each has got a host or was refused", || ["left", "right"].iter().all(met));
    fleet.open_the_gate();
    let ends = runs.map(Running::end);
    let won: Vec<&str> = ["left", "right"]
        .into_iter()
        .zip(&ends)
        .filter(|(_, (code, _))| *code == Some(0))
        .map(|(who, _)| who)
        .collect();
    match won[..] {
        [] => assert_eq!(fleet.trees(), before, "{ends:?}"),
        [one] => assert!(HOSTS.iter().all(|host| changed(&fleet, host, one)), "{ends:?}"),
        _ => panic!("both have done it: {ends:?}"),
    }
    let lost: Vec<_> = ends.iter().filter(|(code, _)| *code != Some(0)).collect();
    assert!(lost.iter().all(|(code, _)| *code == Some(2)), "{ends:?}");
}

#[test]
fn row_12_a_stopped_controller_that_wakes_after_another_took_over_is_refused_by_each_host() {
    if missing("row_12_a_stopped_controller_that_wakes_after_another_took_over_is_refused_by_each_host") {
        return;
    }
    let fleet = Fleet::new(&PLAYBOOK.replace("TIMEOUT", "5s"));
    let before = fleet.trees();
    let first = start(&fleet, "first", "gate");
    until("the first waits on every host", || waiting(&run_of(&fleet, "first").1) == 3);
    first.signal("STOP");
    for host in HOSTS {
        assert_eq!(fleet.settled(host), ["reverted_by_guard"]);
    }
    assert_eq!(fleet.trees(), before);
    let (code, said) = start(&fleet, "second", "site.yml").end();
    assert_eq!(code, Some(0), "{said}");
    assert!(HOSTS.iter().all(|host| changed(&fleet, host, "second")), "{:?}", fleet.trees());
    let taken = fleet.trees();

    fleet.open_the_gate();
    first.signal("CONT");
    let (code, said) = first.end();
    assert_eq!(fleet.trees(), taken, "the hosts keep what the second did: {said}");
    assert_eq!(code, Some(3), "{said}");
    let (_, events) = run_of(&fleet, "first");
    for host in HOSTS {
        assert!(
            refused(&events, host).is_some_and(|why| why.contains("no longer open")),
            "{host}: {:?}",
            refused(&events, host)
        );
    }
}

//! Stop words to a real run, over a real sshd: signals, another terminal, a terminal that goes away (row 39 of the
//! failure matrix).
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

use fleet::{Fleet, Running, tree::Tree};
use rollgate::journal::{EventKind, HostState, StopCause};
use sshd::missing;
use std::process::Stdio;

/// Each host changes its file, says so, and waits for a gate to open.
fn waiting(stanza: &str) -> Fleet {
    let playbook = "\
- name: Change
  hosts: all
  gather_facts: false
  rollout: { min_healthy_time: 0s, STANZA }
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\" }
    - name: Wait
      shell: trap 'touch {{ root }}.ended; exit 1' TERM; until test -e {{ gate }}; do sleep 0.05; done
      changed_when: false
";
    Fleet::new(&playbook.replace("STANZA", stanza))
}

/// What a host holds when it is changed: its file alone, of the mode that it had.
fn is_changed(fleet: &Fleet, before: &[Tree; 3]) -> [bool; 3] {
    let after = fleet.trees();
    [0, 1, 2].map(|host| {
        let mut changed = before[host].clone();
        changed.get_mut("conf").unwrap().3 = b"mode=new\n".to_vec();
        assert!(after[host] == changed || after[host] == before[host], "{:?}", after[host]);
        after[host] == changed
    })
}

fn waits(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Waits { what, .. } if what == "resume")
}

fn is_waiting_in_its_step(host: &str) -> impl Fn(&EventKind) -> bool {
    move |kind| matches!(kind, EventKind::StepIntent { id, info } if id.host == host && info.task == "Wait")
}

#[test]
fn another_terminal_pauses_resumes_and_promotes() {
    if missing("another_terminal_pauses_resumes_and_promotes") {
        return;
    }
    let fleet = waiting("batches: [1, 2], max_parallel: 1, promote: manual");
    let nothing = fleet.place.rollgate("pause");
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.stderr.contains("no run is under way"), "{}", nothing.stderr);
    let mut run = fleet.start(&fleet.run());
    run.until("host: [h1] running");
    let early = fleet.place.rollgate("promote");
    assert!(early.code == Some(1) && early.stderr.contains("does not wait for a promotion"), "{}", early.stderr);
    fleet.open_the_gate();
    let line = run.until("WAITS");
    let id = line.split("rollgate promote ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    assert_eq!(fleet.files(), ["mode=new\n", "mode=old\n", "mode=old\n"]);
    let paused = fleet.place.rollgate(&format!("pause {} --reason lunch", &id[..16]));
    assert!(paused.code == Some(0) && paused.stdout.contains("no new host starts"), "{}", paused.transcript());
    let promoted = fleet.place.rollgate("promote");
    assert!(promoted.stdout.contains("the run is paused"), "{}", promoted.transcript());
    run.until("WAITS");
    assert_eq!(fleet.files(), ["mode=new\n", "mode=old\n", "mode=old\n"], "a paused run begins nothing");
    let resumed = fleet.place.rollgate("resume --reason back");
    assert_eq!(resumed.code, Some(0), "{}", resumed.transcript());
    let (code, said) = run.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fleet.files(), ["mode=new\n"; 3]);
    let who = fleet.events().into_iter().find_map(|kind| match kind {
        EventKind::Paused { cause } => Some(cause),
        _ => None,
    });
    let (user, reason) = (Some("root".to_owned()), Some("lunch".to_owned()));
    assert_eq!(who, Some(StopCause::Operator { uid: 0, user, reason }));
    let late = fleet.place.rollgate(&format!("abort {id}"));
    assert!(late.code == Some(1) && late.stderr.contains("has ended, with exit code 0"), "{}", late.stderr);
}

#[test]
fn another_terminal_aborts_a_paused_run_and_its_batch_is_put_back() {
    if missing("another_terminal_aborts_a_paused_run_and_its_batch_is_put_back") {
        return;
    }
    let fleet = waiting("batches: [3], max_parallel: 1");
    let mut run = fleet.start(&fleet.run());
    run.until("host: [h1] running");
    assert_eq!(fleet.place.rollgate("pause").code, Some(0));
    fleet.open_the_gate();
    run.until("WAITS");
    assert_eq!(fleet.files(), ["mode=new\n", "mode=old\n", "mode=old\n"]);
    let aborted = fleet.place.rollgate("abort --reason wrong");
    assert!(aborted.stdout.contains("rolled back"), "{}", aborted.transcript());
    let (code, said) = run.end();
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(fleet.files(), ["mode=old\n"; 3]);
    assert!(said.contains("root said so: wrong"), "{said}");
}

#[test]
fn a_run_without_a_controller_says_so() {
    if missing("a_run_without_a_controller_says_so") {
        return;
    }
    let fleet = waiting("batches: [1]");
    let mut run = fleet.start(&fleet.run());
    let id = run.until("Run ").split(' ').nth(1).unwrap().to_owned();
    run.until("host: [h1] running");
    run.signal("KILL");
    let _ = run.end();
    let resume = fleet.place.rollgate(&format!("resume {id}"));
    assert_eq!(resume.code, Some(1));
    assert!(resume.stderr.contains("is gone") && resume.stderr.contains("cannot be taken over"), "{}", resume.stderr);
    let none = fleet.place.rollgate("abort 1999");
    assert!(none.stderr.contains("there is no run 1999"), "{}", none.stderr);
}

#[test]
fn row_39_ctrl_c_once_twice_and_three_times() {
    if missing("row_39_ctrl_c_once_twice_and_three_times") {
        return;
    }
    let fleet = waiting("batches: [2, 1], max_parallel: 1");
    let before = fleet.trees();
    let mut run = fleet.start(&fleet.run());
    fleet.until("h1 is in its step", is_waiting_in_its_step("h1"));
    run.signal("INT");
    run.until("PAUSED");
    fleet.open_the_gate();
    run.until("WAITS");
    assert_eq!(is_changed(&fleet, &before), [true, false, false]);
    run.signal("INT");
    let (code, said) = run.end();
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(fleet.trees(), before, "{said}");

    let fleet = waiting("batches: [2, 1], max_parallel: 1, abort_grace: 10m");
    let before = fleet.trees();
    let mut run = fleet.start(&fleet.run());
    fleet.until("h1 is in its step", is_waiting_in_its_step("h1"));
    for word in ["PAUSED", "ABORTED", "KILLED"] {
        run.signal("INT");
        run.until(word);
    }
    let (code, said) = run.end();
    assert_eq!(code, Some(3), "{said}");
    let (_, states) = fleet.ends();
    assert!(states.contains(&HostState::Unknown) && states.contains(&HostState::NeverStarted), "{states:?}");
    // What was under way was ended on the host, and the journal is whole.
    let ended = fleet.place.path().join("h1.ended");
    while !ended.exists() {
        std::thread::yield_now();
    }
    assert_eq!(fleet.place.rollgate("show").code, Some(0));
    assert_eq!(
        is_changed(&fleet, &before),
        [true, false, false],
        "the host under way stays as it was when it was let go"
    );
    let back = fleet.rollgate(&format!("rollback {}", fleet.runs().pop().unwrap()));
    assert_eq!(back.code, Some(0), "{}", back.transcript());
    assert_eq!(fleet.trees(), before);
}

#[test]
fn row_39_a_closed_output_pipe_is_no_crash_and_pauses() {
    if missing("row_39_a_closed_output_pipe_is_no_crash_and_pauses") {
        return;
    }
    let fleet = waiting("batches: [1], max_parallel: 1");
    let before = fleet.trees();
    let Running { mut child, lines, .. } = fleet.start(&fleet.run());
    fleet.until("h1 is in its step", is_waiting_in_its_step("h1"));
    drop(lines);
    fleet.open_the_gate();
    fleet.until("it waits", waits);
    assert_eq!(fleet.place.rollgate("resume").code, Some(0));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(is_changed(&fleet, &before), [true; 3]);
    let cause = |kind: &EventKind| matches!(kind, EventKind::Paused { cause: StopCause::Signal { signal } } if signal == "SIGPIPE");
    assert!(fleet.events().iter().any(cause));
}

#[test]
fn row_39_a_closed_terminal_pauses() {
    if missing("row_39_a_closed_terminal_pauses") {
        return;
    }
    let fleet = waiting("batches: [1], max_parallel: 1");
    let before = fleet.trees();
    let run = format!("{} {}", env!("CARGO_BIN_EXE_rollgate"), fleet.run());
    let mut terminal = fleet.command("script");
    let mut terminal = terminal.args(["-qc", &run, "/dev/null"]).stdout(Stdio::null()).spawn().unwrap();
    fleet.until("h1 is in its step", is_waiting_in_its_step("h1"));
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    fleet.until("it is paused", |kind| matches!(kind, EventKind::Paused { .. }));
    fleet.open_the_gate();
    fleet.until("it waits", waits);
    assert_eq!(is_changed(&fleet, &before), [true, false, false]);
    assert_eq!(fleet.place.rollgate("resume").code, Some(0));
    fleet.until("it ended", |kind| matches!(kind, EventKind::RunEnded { .. }));
    assert_eq!(fleet.ends(), (0, vec![HostState::Changed; 3]));
    assert_eq!(is_changed(&fleet, &before), [true; 3]);
}

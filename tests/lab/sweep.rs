//! A fault at every step of the runbook and at every part of its undoing: failed before it is done, failed when it is
//! done, done twice. Whatever becomes of the run, the host ends as it was before, at the latest by `rollgate rollback`.

use crate::support::{Lab, Outcome, Sweep, assert_as_before};
use fs_err as fs;
use rollgate::journal::{EventKind, HostState};
use std::path::Path;

/// Points of a sweep that the default tier tries.
const SAMPLE: usize = 6;

/// Where the agent looks for a fault of an undoing.
const FAULT: &str = "/var/lib/rollgate/fault";

/// The runbook with the shortest waits, and few starts of containers a round.
pub(crate) fn runbook(lab: &Lab, settings: &[(&str, &str)]) -> String {
    let path = lab.runbook(&[&[("min_healthy_time", "100ms"), ("bake_time", "100ms")], settings].concat());
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("        count: 20\n"));
    let text = text.replace("        count: 20\n", "        count: 2\n").replace("interval: 5s", "interval: 1s");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A run in which nothing goes wrong: the names of its steps, and how many parts undoing them by hand has. The host is as
/// before then.
fn counted(lab: &Lab, args: &[&str]) -> (Vec<String>, usize) {
    let host = lab.hosts().next().unwrap().to_owned();
    let lab = lab.only(&host);
    let before = lab.state(&host);
    let trace = lab.scratch().join("steps");
    let variables = [("ROLLGATE_FAULT_TRACE", trace.to_str().unwrap())];
    let playbook = runbook(&lab, &[]);
    let run = lab.start_with(&variables, "run", &[&[playbook.as_str()], args].concat()).end().expect_code(0);
    let undone = by_hand(&lab, run.run_id());
    is_as_before(&lab, &before);
    let parts = undone.events.iter().filter(|event| matches!(event.kind, EventKind::RollbackStep { .. })).count();
    (fs::read_to_string(trace).unwrap().lines().map(str::to_owned).collect(), parts)
}

/// `rollgate rollback RUN`, which must succeed.
pub(crate) fn by_hand(lab: &Lab, run: &str) -> Outcome {
    lab.start("rollback", &[run]).end().expect_code(0)
}

pub(crate) fn is_as_before(lab: &Lab, before: &str) {
    let host = lab.hosts().next().unwrap();
    lab.wait_healthy(host);
    assert_as_before(host, before, &lab.state(host));
    let left = lab.ssh(host, "sudo find /etc /var/lib/workspace -name '.rollgate*'");
    assert_eq!(left, "", "files half written were left on {host}");
    let open = "sudo sh -c 'grep -lE \"\\\"(open|reverting)\\\"\" /var/lib/rollgate/txn/*/state || true'";
    assert_eq!(lab.ssh(host, open), "", "a transaction was left open on {host}");
}

fn points(fault: &str, count: usize, modes: &[&str]) -> Vec<String> {
    (1..=count).flat_map(|number| modes.iter().map(move |mode| format!("{fault}:{number}:{mode}"))).collect()
}

#[test]
fn a_fault_at_any_step_leaves_the_host_changed_or_as_before() {
    let Some(lab) = Lab::with("step-faults", &["h1", "h2", "h3"]) else { return };
    let (steps, _) = counted(&lab, &[]);
    let modes = ["fail-before", "fail-after", "repeat", "again"];
    Sweep::new("steps", points("step", steps.len(), &modes), SAMPLE).over(&lab, |lab, point, before| {
        let trace = lab.scratch().join("steps");
        drop(fs::remove_file(&trace));
        let variables = [("ROLLGATE_FAULT_AT", point), ("ROLLGATE_FAULT_TRACE", trace.to_str().unwrap())];
        let run = lab.start_with(&variables, "run", &[&runbook(lab, &[])]).end();
        let step = met(&trace, point);
        match run.code {
            // Put back by the run itself, or before its first change.
            2 if !point.ends_with(":again") => {}
            // What is retried, and what changes nothing, may well be asked for again.
            0 if !point.contains("fail") || is_retried(&run) => {
                by_hand(lab, run.run_id());
            }
            _ => panic!("exit code {} after a fault at '{step}'\n{}", run.code, run.account()),
        }
        is_as_before(lab, before);
    });
}

/// The step at which the run met its fault.
fn met(trace: &Path, point: &str) -> String {
    let number: usize = point.split(':').nth(1).unwrap().parse().unwrap();
    let steps = fs::read_to_string(trace).unwrap();
    steps.lines().nth(number - 1).unwrap_or_else(|| panic!("the run did not come to {point}")).to_owned()
}

fn is_retried(run: &Outcome) -> bool {
    run.has(|event| {
        matches!(event, EventKind::StepResult { message: Some(said), .. } if said.contains("a fault on purpose"))
    })
}

#[test]
fn a_fault_at_any_part_of_an_undoing_is_told_and_the_next_undoing_ends_it() {
    let Some(lab) = Lab::with("undo-faults", &["h1", "h2", "h3"]) else { return };
    let args = ["--skip-tags", "verify"];
    let (steps, parts) = counted(&lab, &args);
    let last = format!("step:{}:fail-after", steps.len());
    let modes = ["fail-before", "fail-after", "repeat"];
    Sweep::new("undo", points("undo", parts, &modes), SAMPLE).over(&lab, |lab, point, before| {
        let host = lab.hosts().next().unwrap();
        lab.ssh(host, &format!("sudo sh -c 'umask 077; mkdir -p -m 711 /var/lib/rollgate; echo {point} >{FAULT}'"));
        let playbook = runbook(lab, &[]);
        let args = [&[playbook.as_str()], &args[..]].concat();
        let run = lab.start_with(&[("ROLLGATE_FAULT_AT", &last)], "run", &args).end();
        lab.ssh(host, &format!("sudo rm {FAULT}"));
        if point.contains("fail") {
            let run = run.expect_code(3);
            run.expect_states(&[(host, HostState::RollbackFailed)]);
            assert!(run.reason(host).contains("a fault on purpose"), "{}", run.reason(host));
            by_hand(lab, run.run_id());
        } else {
            run.expect_code(2).expect_states(&[(host, HostState::RolledBack)]);
        }
        is_as_before(lab, before);
    });
}

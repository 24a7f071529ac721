//! The four triggers, each provoked by a fault that the change itself brings out. The runbook's own verification is left
//! out, so that only probes and triggers can notice.

use crate::support::{Lab, NO_STARTS, Outcome, assert_as_before};
use rollgate::journal::{EventKind, HostState, StopCause};

/// Runs the runbook in `batches` with `fault` armed on `sick`.
fn provoke(lab: &Lab, batches: &str, sick: &str, fault: &[&str], settings: &[&str]) -> (Outcome, Vec<String>) {
    lab.fault(sick, fault);
    let before = lab.states();
    let runbook = lab.runbook(&[("batches", batches)]);
    let args = [&[runbook.to_str().unwrap(), "--skip-tags", "verify"], settings].concat();
    let run = lab.start("run", &args).end().expect_code(2);
    (run, before)
}

/// The trigger fired on `sick`, the journal says why, and the run was aborted for it.
fn aborted_by(run: &Outcome, trigger: &str, sick: &str, evidence: &[&str]) {
    let (fired, host, said) = run.fired();
    assert_eq!((fired.as_str(), host.as_deref()), (trigger, Some(sick)), "{}", run.account());
    for part in evidence {
        assert!(said.contains(part), "'{part}' is not in the evidence '{said}'");
    }
    let (cause, why) = run.aborted();
    assert!(
        matches!(&cause, StopCause::Trigger { trigger: by, host } if by == trigger && host.as_deref() == Some(sick)),
        "{cause:?}"
    );
    assert!(!why.is_empty());
    // No task begins on any host once the run is aborted.
    let aborted = run.events.iter().position(|event| matches!(event.kind, EventKind::Aborted { .. })).unwrap();
    assert!(
        !run.events[aborted..].iter().any(|event| matches!(event.kind, EventKind::BatchStarted { .. })),
        "{}",
        run.account()
    );
}

/// These hosts' fingerprints are what they were.
fn are_as_before(lab: &Lab, hosts: &[&str], before: &[String]) {
    for ((host, before), after) in lab.hosts().zip(before).zip(lab.states()) {
        if hosts.contains(&host) {
            assert_as_before(host, before, &after);
        }
    }
}

fn is_remapped(lab: &Lab, host: &str) -> bool {
    lab.ssh(host, "sudo docker info --format '{{.SecurityOptions}}'").contains("name=userns")
}

#[test]
fn three_containers_that_cannot_be_created_put_the_batch_back_and_later_ones_are_not_touched() {
    let Some(lab) = Lab::with("containers-fail", &["h1", "h2", "h3"]) else { return };
    let (run, before) = provoke(&lab, "[2, 1]", "h2", &["containers-fail-when-remapped"], &[]);
    aborted_by(&run, "container creation keeps failing", "h2", &["consecutive_failures"]);
    run.expect_states(&[("h1", HostState::RolledBack), ("h2", HostState::RolledBack), ("h3", HostState::NeverStarted)]);
    are_as_before(&lab, &["h1", "h2", "h3"], &before);
}

#[test]
fn every_socket_down_puts_the_batch_back_and_keeps_the_canary() {
    let Some(lab) = Lab::with("proxy-down", &["h1", "h2", "h3"]) else { return };
    let (run, before) = provoke(&lab, "[1, 2]", "h3", &["proxy-down-when-remapped"], &["-e", NO_STARTS]);
    aborted_by(&run, "every proxy socket is down", "h3", &["all_unhealthy"]);
    run.expect_states(&[("h1", HostState::Changed), ("h2", HostState::RolledBack), ("h3", HostState::RolledBack)]);
    are_as_before(&lab, &["h2", "h3"], &before);
    assert!(is_remapped(&lab, "h1"));
}

#[test]
fn a_health_document_that_says_unhealthy_puts_the_batch_back_and_keeps_the_canary() {
    let Some(lab) = Lab::with("unhealthy", &["h1", "h2", "h3"]) else { return };
    let (run, before) = provoke(&lab, "[1, 2]", "h2", &["unhealthy-when-remapped"], &["-e", NO_STARTS]);
    aborted_by(&run, "Docker reports unhealthy", "h2", &["unhealthy"]);
    run.expect_states(&[("h1", HostState::Changed), ("h2", HostState::RolledBack), ("h3", HostState::RolledBack)]);
    are_as_before(&lab, &["h2", "h3"], &before);
    assert!(is_remapped(&lab, "h1"));
}

#[test]
fn starts_much_slower_than_before_put_the_batch_back_and_later_ones_are_not_touched() {
    let Some(lab) = Lab::with("slow-start", &["h1", "h2", "h3"]) else { return };
    // Each start takes 4 s longer, whatever else this machine does: it is above the limit, and a healthy host far below.
    let limits = ["-e", "p95_limit_s=4", "-e", "p95_floor_s=1"];
    let (run, before) = provoke(&lab, "[2, 1]", "h1", &["slow-start-when-remapped", "4"], &limits);
    aborted_by(&run, "container start got slow", "h1", &["p95", "baseline"]);
    run.expect_states(&[("h1", HostState::RolledBack), ("h2", HostState::RolledBack), ("h3", HostState::NeverStarted)]);
    are_as_before(&lab, &["h1", "h2", "h3"], &before);
}

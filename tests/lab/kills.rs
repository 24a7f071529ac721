//! The controller killed by SIGKILL in the runbook: once at each kind of record of its journal, once in the middle of each
//! request to an agent (row 1 of the failure matrix). At the latest when deadline and revert budget have passed, the host
//! is changed and confirmed, or as before.

use crate::{
    support::{Lab, Sweep},
    sweep::{by_hand, is_as_before, runbook},
};
use fs_err as fs;
use rollgate_agent::protocol::GuardState;
use std::collections::BTreeSet;

/// Points that the default tier tries; a restart of Docker, which `guard.rs` always tries, is the sixth.
const SAMPLE: usize = 5;

/// Short, and long enough for the steps before one is waited for.
const TIMEOUT: (&str, &str) = ("guard_timeout", "8s");

/// The points of a run that nobody kills. Its host is as before then.
fn points(lab: &Lab) -> Vec<String> {
    let lab = lab.only("h1");
    let before = lab.state("h1");
    let trace = lab.scratch().join("requests");
    let variables = [("ROLLGATE_CRASH_TRACE", trace.to_str().unwrap())];
    let run = lab.start_with(&variables, "run", &[&runbook(&lab, &[TIMEOUT])]).end().expect_code(0);
    by_hand(&lab, run.run_id());
    is_as_before(&lab, &before);
    let mut seen = BTreeSet::new();
    let kinds = run.events.iter().filter(|event| {
        let event = serde_json::to_value(&event.kind).unwrap();
        seen.insert(event["kind"].to_string())
    });
    let records = kinds.map(|event| format!("{}:record", event.seq));
    let requests = fs::read_to_string(trace).unwrap().lines().count();
    records.chain((1..=requests).map(|number| format!("{number}:sent"))).collect()
}

#[test]
fn row_1_a_controller_killed_at_any_kind_of_record_or_step_leaves_no_host_half_changed() {
    let Some(lab) = Lab::with("kills", &["h1", "h2", "h3"]) else { return };
    Sweep::new("kills", points(&lab), SAMPLE).over(&lab, |lab, point, before| {
        let (number, kind) = point.split_once(':').unwrap();
        let at = format!("{kind}:{number}");
        let playbook = runbook(lab, &[TIMEOUT]);
        let (killed, run) = lab.start_with(&[("ROLLGATE_CRASH_AT", &at)], "run", &[&playbook]).died();
        // How many heartbeats of a guard there are differs a little, so that the last points may be past the end.
        let host = lab.hosts().next().unwrap();
        let mut confirmed = !killed;
        let agent = lab.agent_path(host);
        let guards = if agent.is_empty() { Vec::new() } else { lab.settled_guards(host, &agent) };
        for guard in guards.into_iter().filter(|guard| run.as_ref() == Some(&guard.run)) {
            match guard.state {
                GuardState::Confirmed => confirmed = true,
                GuardState::RevertedByGuard => {
                    let fired = guard.fired.unwrap();
                    assert_eq!((fired.error, fired.verify.unwrap().different), (None, Vec::new()));
                    assert!(fired.ended_ms.unwrap() <= guard.deadline_ms + guard.revert_budget_ms, "too late");
                }
                other => panic!("killed at {at}, the guard of {host} is {other:?}"),
            }
        }
        if confirmed {
            let info = lab.ssh(host, "sudo docker info --format '{{.SecurityOptions}}'");
            assert!(info.contains("name=userns"), "killed at {at}, {host} is confirmed and not changed: {info}");
        }
        // One that had opened a transaction and armed nothing yet has changed nothing; another run would be refused.
        if confirmed || is_open(lab, host) {
            by_hand(lab, &run.unwrap());
        }
        is_as_before(lab, before);
    });
}

fn is_open(lab: &Lab, host: &str) -> bool {
    !lab.ssh(host, "sudo sh -c 'grep -lE \"\\\"open\\\"\" /var/lib/rollgate/txn/*/state || true'").is_empty()
}

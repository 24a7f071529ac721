//! Faults from outside: a host that stops answering or is cut off, a disk that is full.

use crate::support::{Lab, NO_STARTS, assert_as_before};
use rollgate::journal::{EventKind, HostState, StepStatus};
use rollgate_agent::protocol::GuardCause;

#[test]
fn a_host_frozen_in_mid_batch_is_unknown_and_the_others_are_put_back() {
    let Some(lab) = Lab::with("pause", &["h1", "h2", "h3"]) else { return };
    let before = lab.states();
    let settings = [("batches", "[3]"), ("rollback_deadline", "20s"), ("guard_timeout", "30s")];
    let runbook = lab.runbook(&settings);
    let mut run = lab.start("run", &[runbook.to_str().unwrap(), "-e", NO_STARTS]);
    run.until_task("h2", "Name the user in daemon.json");
    let frozen = lab.pause("h2");
    let run = run.end().expect_code(3);

    run.expect_states(&[("h1", HostState::RolledBack), ("h2", HostState::Unknown), ("h3", HostState::RolledBack)]);
    assert!(run.reason("h2").contains("unreachable"), "{}", run.reason("h2"));
    assert!(
        run.has(|event| matches!(event, EventKind::StepResult { id, status: StepStatus::Unreachable, .. } if id.host == "h2")),
        "{}",
        run.account()
    );
    for host in [0, 2] {
        let name = ["h1", "h2", "h3"][host];
        assert_as_before(name, &before[host], &lab.state(name));
    }

    frozen.end();
    // Nobody confirmed it, and its deadline passed while it was frozen: its own guard puts it back, and exits.
    lab.ssh("h2", "sudo timeout 240 sh -c 'while pgrep -x rollgate-agent; do sleep 0.2; done'");
    assert_as_before("h2", &before[1], &lab.state("h2"));
    let left = lab.ssh("h2", "ls -A /etc/docker");
    assert!(!left.contains(".rollgate"), "a file half written was left: {left}");
}

#[test]
fn row_3_a_host_cut_off_in_the_middle_of_a_docker_restart_puts_itself_back() {
    let Some(lab) = Lab::with("partition", &["h1", "h2"]) else { return };
    // For the cut to come while Docker starts. It is gone with the next boot.
    let slow = "/run/systemd/system/docker.service.d";
    lab.ssh(
        "h2",
        &format!(
            "sudo sh -ec 'mkdir -p {slow}; printf \"[Service]\\nExecStartPre=/bin/sleep 4\\n\" >{slow}/slow.conf; \
             systemctl daemon-reload'"
        ),
    );
    let before = lab.states();
    let runbook = lab.runbook(&[("batches", "[2]"), ("guard_timeout", "10s"), ("rollback_deadline", "10s")]);
    let mut run = lab.start("run", &[runbook.to_str().unwrap(), "-e", NO_STARTS]);
    run.until_task("h2", "start docker");
    let state = "systemctl is-active docker.service || true";
    lab.inside("h2", &format!("timeout 60 sh -c 'until [ \"$({state})\" = activating ]; do sleep 0.1; done'"));
    let cut = lab.cut("h2");
    assert_eq!(lab.inside("h2", state), "activating\n");
    let fired = "until grep -q reverted_by_guard /var/lib/rollgate/txn/*/guard.json; do sleep 0.2; done";
    lab.inside("h2", &format!("timeout 240 sh -c '{fired}'"));
    let run = run.end().expect_code(3);
    cut.end();

    run.expect_states(&[("h1", HostState::RolledBack), ("h2", HostState::Unknown)]);
    assert!(run.reason("h2").contains("unreachable"), "{}", run.reason("h2"));
    let guards = lab.settled_guards("h2", &lab.agent_path("h2"));
    assert_eq!(guards.len(), 1);
    let fired = guards[0].fired.clone().unwrap();
    assert_eq!((fired.cause, fired.error), (GuardCause::Deadline, None));
    assert!(fired.ended_ms.unwrap() <= guards[0].deadline_ms + guards[0].revert_budget_ms);
    for (host, before) in lab.hosts().zip(&before) {
        lab.wait_healthy(host);
        assert_as_before(host, before, &lab.state(host));
    }
    // The journal learns of it, and nothing is done twice.
    let asked = lab.start("rollback", &[run.run_id()]).end().expect_code(0);
    let no_op = |host| (host, HostState::Unchanged);
    asked.expect_states(&[no_op("h1"), no_op("h2")]);
    assert_as_before("h2", &before[1], &lab.state("h2"));
}

#[test]
fn a_host_frozen_before_its_first_change_was_never_started_and_counts() {
    let Some(lab) = Lab::with("pause-early", &["h1", "h3"]) else { return };
    let before = lab.states();
    let frozen = lab.pause("h3");
    let runbook = lab.runbook(&[("batches", "[2]")]);
    let run = lab.start("run", &[runbook.to_str().unwrap(), "-e", NO_STARTS]).end().expect_code(4);
    let states: Vec<_> = run.final_hosts().iter().map(|host| (host.host.as_str(), host.state)).collect();
    assert!(
        matches!(
            states[..],
            [("h1", HostState::RolledBack | HostState::NeverStarted), ("h3", HostState::NeverStarted)]
        ),
        "{}",
        run.account()
    );
    assert!(run.reason("h3").contains("unreachable"), "{}", run.reason("h3"));
    frozen.end();
    for ((host, before), after) in lab.hosts().zip(&before).zip(lab.states()) {
        assert_as_before(host, before, &after);
    }
}

#[test]
fn row_7_a_full_disk_below_daemon_json_leaves_it_as_it_was() {
    let Some(lab) = Lab::with("disk-full", &["h1"]) else { return };
    lab.ssh(
        "h1",
        "sudo sh -ec 'cp -a /etc/docker /run/etc-docker; mount -t tmpfs -o size=64k,mode=755 tmpfs /etc/docker; \
         cp -a /run/etc-docker/. /etc/docker/; ! dd if=/dev/zero of=/etc/docker/fill bs=4k 2>/dev/null'",
    );
    let all = |host: &str| {
        lab.state(host) + &lab.ssh(host, "sudo sh -c 'ls -lA --time-style=+ /etc/docker; sha256sum /etc/docker/*'")
    };
    let before = all("h1");
    let runbook = lab.runbook(&[]);
    let run = lab.start("run", &[runbook.to_str().unwrap(), "-e", NO_STARTS]).end().expect_code(2);
    run.expect_states(&[("h1", HostState::RolledBack)]);
    assert_eq!(run.tasks("h1", StepStatus::Failed), ["Name the user in daemon.json"]);
    assert!(run.account().contains("No space left on device"), "{}", run.account());
    assert_as_before("h1", &before, &all("h1"));
}

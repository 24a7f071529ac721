//! Hosts that the runbook refuses before it changes anything, and what it says of them.

use crate::{
    support::{Lab, NO_STARTS, assert_as_before},
    sweep::runbook,
};
use rollgate::journal::{EventKind, HostState, StepStatus};

/// What a host or its settings are like, and the check that refuses it.
struct Case {
    check: &'static str,
    /// What it says.
    says: &'static str,
    /// Scripts, as root: what makes the host like that, and what takes it back.
    makes: &'static str,
    ends: &'static str,
    settings: &'static str,
}

const CASE: Case = Case { check: "", says: "", makes: "true", ends: "true", settings: "existing_data=keep_aside" };

/// Another ExecStart for the engine, which goes on running as it was started.
const FLAG: &str = "mkdir -p /run/systemd/system/docker.service.d
    printf \"[Service]\\nExecStart=\\nExecStart=/usr/sbin/dockerd -H fd:// $FLAG\\n\" >/run/systemd/system/docker.service.d/flag.conf
    systemctl daemon-reload";
const NO_FLAG: &str = "rm -r /run/systemd/system/docker.service.d && systemctl daemon-reload";

const CASES: [Case; 9] = [
    Case {
        check: "The maintenance window is open",
        says: "non-zero return code 1",
        settings: "maintenance_window_command=false",
        ..CASE
    },
    Case {
        check: "There is room for a second root",
        says: "MiB are free below /var/lib/docker, 99999999 MiB are needed.",
        settings: "min_free_mb=99999999",
        ..CASE
    },
    Case { check: "A range of subordinate ids is free", says: "alice", settings: "subid_start=100000", ..CASE },
    Case {
        check: "The files of subordinate ids can be merged",
        says: "/etc/subuid or /etc/subgid holds lines that are not user:start:count",
        makes: "cp -p /etc/subuid /root/subuid && echo broken >>/etc/subuid",
        ends: "mv /root/subuid /etc/subuid",
        ..CASE
    },
    Case {
        check: "The engine's settings can be merged",
        says: "daemon.json is not strict JSON",
        makes: "cp -p /etc/docker/daemon.json /root/daemon.json && sed -i 1s/{/{\\\"debug\\\":true,\\\"debug\\\":true,/ /etc/docker/daemon.json",
        ends: "mv /root/daemon.json /etc/docker/daemon.json",
        ..CASE
    },
    Case {
        check: "A mapped user can reach the data root",
        says: "below a directory without o+x: /var/lib",
        makes: "chmod o-x /var/lib",
        ends: "chmod o+x /var/lib",
        ..CASE
    },
    Case {
        check: "Live-restore can be turned off for the change",
        says: "The unit's ExecStart has --live-restore",
        makes: "FLAG=--live-restore",
        ends: NO_FLAG,
        ..CASE
    },
    Case {
        check: "The swarm can do without this node for a while",
        says: "Swarm is active.",
        makes: "docker swarm init --advertise-addr lo",
        ends: "docker swarm leave --force",
        ..CASE
    },
    Case {
        check: "The engine can be remapped",
        says: "The Docker engine does not answer",
        makes: "systemctl stop docker.socket docker.service",
        ends: "systemctl start docker.socket docker.service",
        ..CASE
    },
];

#[test]
fn each_check_before_the_change_refuses_the_host_that_it_is_for_and_nothing_changes() {
    // Its first user has the range 100000.
    let Some(lab) = Lab::with("refusals", &["h2"]) else { return };
    let playbook = runbook(&lab, &[]);
    for case in &CASES {
        let root = |script: &str| lab.ssh("h2", &format!("sudo sh -e -c '{script}'"));
        root(&format!("{}\n{}", case.makes, if case.makes.starts_with("FLAG=") { FLAG } else { "" }));
        let run = lab.start("run", &[playbook.as_str(), "-e", NO_STARTS, "-e", case.settings]).end().expect_code(2);
        root(case.ends);
        let account = run.account();
        run.expect_states(&[("h2", HostState::Failed)]);
        assert_eq!(run.tasks("h2", StepStatus::Failed), [case.check], "{account}");
        assert!(account.contains(case.says), "{} does not say {:?}\n{account}", case.check, case.says);
        assert!(!run.has(|event| matches!(event, EventKind::StepIntent { info, .. } if info.mutating)), "{account}");
    }
    lab.wait_healthy("h2");
}

#[test]
fn a_host_that_holds_data_is_refused_before_anything_changes() {
    let Some(lab) = Lab::with("refusal", &["h1", "h2"]) else { return };
    let before = lab.states();
    let runbook = lab.runbook(&[]);
    let run = lab
        .start("run", &[runbook.to_str().unwrap(), "-e", NO_STARTS, "-e", "existing_data=refuse"])
        .end()
        .expect_code(2);
    run.expect_states(&[("h1", HostState::Failed), ("h2", HostState::NeverStarted)]);
    assert_eq!(run.tasks("h1", StepStatus::Failed), ["Data on this host may be left aside"]);
    let account = run.account();
    assert!(account.contains("The host holds 1 images, 2 containers and 0 volumes"), "{account}");
    assert!(account.contains("existing_data: migrate to take them along, or keep_aside"), "{account}");
    assert!(!run.has(|event| matches!(event, EventKind::StepIntent { info, .. } if info.mutating)), "{account}");
    for ((host, before), after) in lab.hosts().zip(&before).zip(lab.states()) {
        assert_as_before(host, before, &after);
    }
}

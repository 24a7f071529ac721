//! The guard's systemd units, on hosts whose controller is dead (failure matrix, rows 1 and 5). But where a controller is
//! killed, the agent is driven by itself: no controller is there to help.

use crate::support::{
    Lab, NO_STARTS,
    agent::{Agent, NONCE, TXN},
    assert_as_before,
};
use rollgate::journal::HostState;
use rollgate_agent::protocol::{AgentErrorKind, Answer, Call, GuardCause, GuardForm, GuardState};
use serde_json::json;
use std::time::Duration;

const SETTINGS: &str = "/etc/docker/daemon.json";

/// Long enough to do the steps in.
const SHORT: Duration = Duration::from_secs(8);

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

/// Arms a guard, gives the engine a label and restarts it.
fn changed(lab: &Lab, host: &str, path: &str, timeout: Duration) -> Agent {
    let mut agent = lab.agent(host, path, "run1");
    let armed = agent.arm("run1", timeout);
    assert_eq!((armed.state, armed.form, armed.weak), (GuardState::Armed, GuardForm::Systemd, None));
    let notify = |step: &mut rollgate_agent::protocol::Step| step.notify = vec!["restart docker".to_owned()];
    let settings = lab.ssh(host, &format!("cat {SETTINGS}")).replacen('{', "{\n    \"labels\": [\"changed=yes\"],", 1);
    agent.step(1, "copy", json!({"dest": SETTINGS, "content": settings}), notify);
    agent.step(2, "systemd", json!({"name": "docker", "state": "restarted"}), |step| {
        step.handler = Some((0, "restart docker".to_owned()));
    });
    agent
}

fn is_changed(lab: &Lab, host: &str) -> bool {
    lab.ssh(host, "sudo docker info --format '{{.Labels}}'").contains("changed")
}

#[test]
fn row_1_a_host_with_a_dead_controller_reverts_by_its_unit_within_deadline_and_budget() {
    let Some(lab) = Lab::with("guard", &["h1"]) else { return };
    let before = lab.state("h1");
    let path = lab.install_agent("h1");
    let agent = changed(&lab, "h1", &path, SHORT);
    assert!(is_changed(&lab, "h1"));
    agent.kill();
    // The guard's own process, too: systemd starts it again.
    lab.ssh("h1", "sudo pkill -KILL -x rollgate-agent");
    let found = lab.wait_for_guard("h1", &path, GuardState::RevertedByGuard);
    let fired = found.fired.unwrap();
    assert_eq!((fired.cause, fired.error), (GuardCause::Deadline, None));
    assert!(fired.begun_ms >= found.deadline_ms, "not before its deadline");
    assert!(fired.ended_ms.unwrap() <= found.deadline_ms + found.revert_budget_ms);
    assert_eq!(fired.verify.unwrap().different, []);
    assert!(!is_changed(&lab, "h1"));
    lab.wait_healthy("h1");
    assert_as_before("h1", &before, &lab.state("h1"));
    let mut late = lab.agent("h1", &path, "run1");
    let refused = late.call(Call::GuardConfirm { txn: TXN.to_owned(), nonce: NONCE.to_owned() }).unwrap_err();
    assert_eq!(refused.kind, AgentErrorKind::GuardLost);
    let listed = lab.ssh("h1", &format!("sudo {path} guard list"));
    assert!(listed.contains("reverted by its guard (systemd)"), "{listed}");
}

#[test]
fn row_1_a_controller_killed_in_the_middle_of_a_docker_restart_leaves_every_engine_as_it_was() {
    let Some(lab) = Lab::with("guard-killed", &["h1", "h2", "h3"]) else { return };
    let before = lab.states();
    let runbook = lab.runbook(&[("batches", "[3]"), ("guard_timeout", "20s")]);
    let mut run = lab.start("run", &[runbook.to_str().unwrap(), "-e", NO_STARTS]);
    run.until_task("h2", "stop docker");
    run.kill();
    for (host, before) in lab.hosts().zip(&before) {
        let guards = lab.settled_guards(host, &lab.agent_path(host));
        assert!(!guards.is_empty(), "{host} was changed without a guard");
        for guard in guards {
            assert_eq!(guard.state, GuardState::RevertedByGuard, "{host}");
            let fired = guard.fired.unwrap();
            assert_eq!((fired.cause, fired.error), (GuardCause::Deadline, None), "{host}");
            assert_eq!(fired.verify.unwrap().different, [], "{host}");
            let late = guard.deadline_ms + guard.revert_budget_ms;
            assert!(fired.ended_ms.unwrap() <= late, "{host} took longer than its budget");
        }
        lab.wait_healthy(host);
        assert_as_before(host, before, &lab.state(host));
    }
}

#[test]
fn row_5_a_host_that_loses_power_comes_back_as_it_was_before_docker_starts() {
    let Some(lab) = Lab::with("guard-boot", &["h1"]) else { return };
    let before = lab.state("h1");
    let path = lab.install_agent("h1");
    let agent = changed(&lab, "h1", &path, LONG);
    lab.power_cut("h1");
    drop(agent);
    let found = lab.wait_for_guard("h1", &path, GuardState::RevertedByGuard);
    let fired = found.fired.unwrap();
    assert_eq!((fired.cause, fired.error), (GuardCause::Reboot, None));
    assert_eq!(fired.verify.unwrap().different, []);
    let since = |unit: &str, when: &str| -> u64 {
        lab.ssh("h1", &format!("systemctl show --value -p {when} {unit}")).trim().parse().unwrap()
    };
    let restored = since("rollgate-guard-boot.service", "ExecMainExitTimestampMonotonic");
    assert!(restored > 0 && restored <= since("containerd.service", "ExecMainStartTimestampMonotonic"));
    assert!(!is_changed(&lab, "h1"));
    lab.wait_healthy("h1");
    assert_as_before("h1", &before, &lab.state("h1"));
}

/// A change in whose middle the host loses its power: `gate` is there once it is up again.
const REBOOTED: &str = "\
- name: Across a reboot
  hosts: all
  become: true
  gather_facts: false
  rollout: { batches: [1], expect_reboot: true, guard_timeout: 60s, min_healthy_time: 0s }
  tasks:
    - copy: { dest: /etc/rollgate-first, content: \"1\\n\" }
    - name: Lose power
      command: sleep 600
      accept_irreversible: true
      ignore_unreachable: true
    - wait_for: { path: \"{{ gate }}\", timeout: 240 }
      delegate_to: localhost
      become: false
    - copy: { dest: /etc/rollgate-second, content: \"2\\n\" }
";

#[test]
fn row_5_a_reboot_that_belongs_to_the_change_is_no_reason_to_put_the_host_back() {
    let Some(lab) = Lab::with("expect-reboot", &["h1"]) else { return };
    let (playbook, gate) = (lab.scratch().join("reboot.yml"), lab.scratch().join("gate"));
    fs_err::write(&playbook, REBOOTED).unwrap();
    let place = format!("gate={}", gate.display());
    let mut run = lab.start("run", &[playbook.to_str().unwrap(), "-e", &place]);
    run.until_task("h1", "Lose power");
    lab.power_cut("h1");
    fs_err::write(&gate, "").unwrap();
    let run = run.end().expect_code(0);
    run.expect_states(&[("h1", HostState::Changed)]);
    assert_eq!(lab.ssh("h1", "cat /etc/rollgate-first /etc/rollgate-second"), "1\n2\n", "{}", run.account());
    let path = lab.agent_path("h1");
    let states: Vec<_> = lab.settled_guards("h1", &path).into_iter().map(|guard| guard.state).collect();
    assert_eq!(states, [GuardState::Confirmed], "{}", run.account());
}

#[test]
fn an_undoing_starts_a_service_whose_limit_of_starts_is_used_up() {
    let Some(lab) = Lab::with("start-limit", &["h1"]) else { return };
    let settings = lab.ssh("h1", &format!("cat {SETTINGS}"));
    let path = lab.install_agent("h1");
    let mut agent = changed(&lab, "h1", &path, LONG);
    lab.ssh("h1", "sudo timeout 60 sh -c 'while systemctl restart docker; do :; done' 2>/dev/null");
    let stuck = lab.ssh("h1", "sudo systemctl start docker 2>&1 || true");
    assert!(stuck.contains("too often"), "{stuck}");
    match agent.call(Call::Revert { txn: TXN.to_owned() }).unwrap() {
        Answer::Revert(report) => assert_eq!(report.failed, None),
        other => panic!("{other:?}"),
    }
    assert_eq!(lab.ssh("h1", "systemctl is-active docker"), "active\n");
    assert_eq!(lab.ssh("h1", &format!("cat {SETTINGS}")), settings);
}

#[test]
fn a_confirmed_change_outlives_guard_and_reboot() {
    let Some(lab) = Lab::with("guard-confirm", &["h1"]) else { return };
    let path = lab.install_agent("h1");
    let agent = changed(&lab, "h1", &path, LONG);
    agent.kill();
    let mut fresh = lab.agent("h1", &path, "run1");
    let confirmed = fresh.call(Call::GuardConfirm { txn: TXN.to_owned(), nonce: NONCE.to_owned() }).unwrap();
    assert!(matches!(confirmed, Answer::Guard(report) if report.state == GuardState::Confirmed));
    drop(fresh);
    lab.ssh("h1", "timeout 60 sh -c 'while systemctl is-active --quiet \"rollgate-guard@*\"; do sleep 0.1; done'");
    lab.power_cut("h1");
    assert_eq!(lab.agent("h1", &path, "observer").guard().state, GuardState::Confirmed);
    assert!(is_changed(&lab, "h1"));
}

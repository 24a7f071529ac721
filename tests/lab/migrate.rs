//! The runbook on hosts that hold data, which it takes along (`existing_data: migrate`), and back.

use crate::{
    rollout::engines,
    support::{Data, Lab, MIGRATE, NO_STARTS, Outcome, assert_as_before},
    sweep::{is_as_before, runbook},
};
use rollgate::journal::{HostState, StepStatus};

#[test]
fn data_is_taken_along_and_a_second_run_finds_nothing_to_do() {
    let Some(lab) = Lab::with("migrate", &["h1", "h2", "h3"]) else { return };
    lab.fill();
    let before = lab.all_data();
    let runbook = runbook(&lab, &[("batches", "[1, 2]")]);
    let args = [&[runbook.as_str()], &MIGRATE[..]].concat();

    let first = lab.start("run", &args).end().expect_code(0);
    first.expect_states(&[("h1", HostState::Changed), ("h2", HostState::Changed), ("h3", HostState::Changed)]);
    are_migrated(&lab, &before);

    let restarts = engines(&lab);
    let second = lab.start("run", &args).end().expect_code(0);
    second.expect_states(&[("h1", HostState::Unchanged), ("h2", HostState::Unchanged), ("h3", HostState::Unchanged)]);
    for host in lab.hosts() {
        assert_eq!(second.tasks(host, StepStatus::Changed), [""; 0], "{}", second.account());
    }
    assert_eq!(restarts, engines(&lab), "the engine was restarted");
}

/// Everything is there as it was, with the container's ids, and runs with the maps that it should have.
fn are_migrated(lab: &Lab, before: &[Data]) {
    for (host, before) in lab.hosts().zip(before) {
        // alice owns 100000 on h2, so its range is the next one.
        let start = if host == "h2" { 165_536 } else { 100_000 };
        let root = lab.ssh(host, "sudo docker info --format '{{.DockerRootDir}}'");
        assert_eq!(root.trim(), format!("/var/lib/docker/{start}.{start}"));
        lab.assert_same_data(host, before);
        let maps = lab.uid_maps(host);
        let names: Vec<&str> = maps.keys().map(String::as_str).collect();
        assert_eq!(names, ["exporter", "ledger", "warm-1", "warm-2", "web"], "{host}");
        for (name, map) in &maps {
            let wanted = if name == "exporter" { "0 0 4294967295".to_owned() } else { format!("0 {start} 65536") };
            assert_eq!(*map, wanted, "{name} on {host}");
        }
    }
}

#[test]
fn a_host_that_fails_its_probes_after_the_migration_puts_its_batch_back_with_what_was_written_meanwhile() {
    let Some(lab) = Lab::with("migrate-back", &["h1", "h2", "h3"]) else { return };
    lab.fill();
    lab.fault("h2", &["proxy-down-when-remapped"]);
    let (states, before, restarts) = (lab.states(), lab.all_data(), engines(&lab));
    // The runbook's own verification is left out: only probes and triggers notice.
    let runbook = lab.runbook(&[("batches", "[2, 1]")]);
    let args = [&[runbook.to_str().unwrap(), "--skip-tags", "verify", "-e", NO_STARTS], &MIGRATE[..]].concat();

    let run = lab.start("run", &args).end().expect_code(2);
    run.expect_states(&[("h1", HostState::RolledBack), ("h2", HostState::RolledBack), ("h3", HostState::NeverStarted)]);
    assert_eq!(run.fired().1.as_deref(), Some("h2"), "{}", run.account());
    was_migrated(&run, &["h1", "h2"]);
    for ((host, state), before) in lab.hosts().zip(&states).zip(&before) {
        lab.wait_healthy(host);
        assert_as_before(host, state, &lab.state(host));
        lab.assert_same_data(host, before);
        // No row of those is lost either.
        assert_eq!(lab.written_meanwhile(host) > 0, host != "h3", "{host}");
    }
    assert_eq!(restarts[2], engines(&lab)[2], "the engine of a host that was never started was restarted");
}

fn was_migrated(run: &Outcome, hosts: &[&str]) {
    for host in hosts {
        let changed = run.tasks(host, StepStatus::Changed);
        assert!(changed.iter().any(|task| task == "take the data along"), "{}", run.account());
    }
}

/// What the survey of the data lets pass, and its scan does not: nothing has been moved then.
const REFUSED: &str = "\
- hosts: all
  become: true
  gather_facts: false
  rollout: {batches: [1], min_healthy_time: 0s, bake_time: 0s}
  tasks:
    - systemd: {name: \"{{ item }}\", state: stopped}
      loop: [docker.socket, docker.service]
    - userns_migrate: {start: 231072, userns_host: [exporter]}
";

#[test]
fn a_migration_that_is_refused_leaves_its_engine_free_to_start() {
    let Some(lab) = Lab::with("migrate-refused", &["h1"]) else { return };
    lab.fill();
    lab.ssh("h1", "sudo install -o 70000 /dev/null /var/lib/docker/volumes/content/_data/of-70000");
    let (state, playbook) = (lab.state("h1"), lab.scratch().join("refused.yml"));
    fs_err::write(&playbook, REFUSED).unwrap();
    let run = lab.start("run", &[playbook.to_str().unwrap()]).end().expect_code(2);
    run.expect_states(&[("h1", HostState::RolledBack)]);
    assert!(run.reason("h1").contains("70000"), "{}", run.reason("h1"));
    is_as_before(&lab, &state);
    assert_eq!(lab.ssh("h1", "find /run/systemd/system -name 'rollgate-hold*'"), "");
}

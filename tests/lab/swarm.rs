//! A swarm of three managers whose engines are remapped: each node is drained, changed and let in again, one at a time.

use crate::{
    support::{Lab, Outcome},
    sweep::runbook,
};
use rollgate::journal::{HostState, StepStatus};

const SETTINGS: &str = r#"{"existing_data": "migrate", "swarm_managers": ["h1", "h2", "h3"]}"#;

/// How a node of the swarm stands, by host, asked of one of them.
fn nodes(lab: &Lab) -> Vec<String> {
    let told =
        lab.ssh("h1", "sudo docker node ls --format '{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}}'");
    let mut nodes: Vec<String> = told.lines().map(|line| line.replace("Leader", "Reachable")).collect();
    nodes.sort();
    nodes
}

/// Waits until the service has both its replicas.
fn wait_for_replicas(lab: &Lab) {
    let both = "timeout 120 sh -c 'until sudo docker service ls --format \"{{.Replicas}}\" | grep -qx 2/2; do sleep 0.2; done'";
    lab.ssh("h1", both);
}

fn run(lab: &Lab, batches: &str) -> Outcome {
    let playbook = runbook(lab, &[("batches", batches)]);
    lab.start("run", &[&playbook, "-e", SETTINGS]).end()
}

#[test]
fn managers_of_a_swarm_are_drained_one_at_a_time_and_its_services_run_on() {
    let Some(lab) = Lab::with("swarm", &["h1", "h2", "h3"]) else { return };
    lab.ssh("h1", "sudo docker swarm init --advertise-addr eth0 >/dev/null");
    let token = lab.ssh("h1", "sudo docker swarm join-token --quiet manager");
    let address = lab.ssh("h1", "sudo docker node inspect self --format '{{.ManagerStatus.Addr}}'");
    for host in ["h2", "h3"] {
        let join = format!("sudo docker swarm join --token {} {} >/dev/null", token.trim(), address.trim());
        lab.ssh(host, &join);
    }
    let service = "sudo docker service create --detach --quiet --no-resolve-image --replicas 2 --name web workspace-base \
                   sleep infinity >/dev/null";
    lab.ssh("h1", service);
    wait_for_replicas(&lab);
    let before = nodes(&lab);
    assert_eq!(before, ["h1", "h2", "h3"].map(|host| format!("{host} Ready Active Reachable")));

    let refused = run(&lab, "[3]").expect_code(2);
    assert!(refused.account().contains("at most one of them in a batch"), "{}", refused.account());
    assert!(lab.hosts().all(|host| refused.tasks(host, StepStatus::Changed).is_empty()), "{}", refused.account());

    let remapped = run(&lab, "[1]").expect_code(0);
    remapped.expect_states(&["h1", "h2", "h3"].map(|host| (host, HostState::Changed)));
    for host in lab.hosts() {
        let drained = remapped.tasks(host, StepStatus::Changed);
        assert!(drained.iter().any(|task| task == "Drain the node of its swarm"), "{host}: {drained:?}");
        assert!(lab.ssh(host, "sudo docker info --format '{{.SecurityOptions}}'").contains("userns"), "{host}");
    }
    assert_eq!(nodes(&lab), before);
    wait_for_replicas(&lab);
}

//! Hosts that hold data under an engine with live-restore, or in a swarm: looked at, taken along, and put back.

use crate::support::{Lab, assert_as_before};
use rollgate::journal::HostState;
use std::path::Path;

/// On an engine: its live-restore, whether it is remapped, and the availability of its node, if it is one of a swarm.
fn standing(lab: &Lab, host: &str) -> String {
    let script = "sudo docker info --format '{{.LiveRestoreEnabled}} {{.Swarm.LocalNodeState}} {{.SecurityOptions}}' | \
                  sed 's/\\[.*userns.*/remapped/; s/\\[.*/plain/'; \
                  sudo docker node inspect self --format '{{.Spec.Availability}}' 2>/dev/null || true";
    lab.ssh(host, script).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn run(lab: &Lab, code: i32) -> crate::support::Outcome {
    let runbook = lab.runbook(&[("batches", "[2]")]);
    let settings = r#"{"existing_data": "migrate", "swarm_managers": ["h2"], "bind_recurse_allowed": ["/srv/held"],
        "bind_policies": [{"path": "/srv/held", "policy": "chown", "recurse": true}]}"#;
    lab.start("run", &[runbook.to_str().unwrap(), "-e", settings]).end().expect_code(code)
}

#[test]
fn live_restore_and_a_swarm_are_as_the_site_had_them_after_a_rollback_and_after_the_change() {
    let Some(lab) = Lab::with("held", &["h1", "h2"]) else { return };
    // Not by a reload: 20.10 forgets its own runtimes by that, until it is started again.
    let on = "sudo sed -i '1s/{/{ \"live-restore\": true,/' /etc/docker/daemon.json && sudo systemctl restart docker";
    lab.ssh("h1", on);
    lab.wait_healthy("h1");
    lab.ssh("h2", "sudo docker swarm init --advertise-addr lo >/dev/null");
    for host in ["h1", "h2"] {
        lab.ssh(
            host,
            "sudo docker volume create kept >/dev/null; sudo install -D -o 1000 -g 1000 /dev/null /srv/held/file",
        );
    }
    let expected = [("h1", "true inactive"), ("h2", "false active")];
    let assert_standing = |remap: &str| {
        for (host, standing_before) in expected {
            let node = if host == "h2" { " active" } else { "" };
            assert_eq!(standing(&lab, host), format!("{standing_before} {remap}{node}"), "{host}");
            let held = lab.ssh(host, "stat -c %u /srv/held /srv/held/file");
            let held: Vec<u32> = held.lines().map(|uid| uid.parse().unwrap()).collect();
            // A range begins at 100000, or behind another user's.
            let start = if remap == "plain" { 0 } else { held[0] };
            assert!(held == [start, start + 1000] && (start == 0 || start >= 100_000), "{host}: {held:?}");
        }
    };
    assert_standing("plain");

    let inspect = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks/userns-inspect.yml");
    let json = format!("inspect_scan=true inspect_json={}", lab.scratch().display());
    lab.start("run", &[inspect.to_str().unwrap(), "-e", &json]).end().expect_code(0);
    let facts = fs_err::read_to_string(lab.scratch().join("h1.json")).unwrap();
    let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    assert!(facts["classes"]["remaps"].as_array().unwrap().iter().any(|name| name == "warm-1"), "{}", facts["classes"]);
    assert!(facts["scan"]["inodes"].as_u64() > Some(100), "{}", facts["scan"]);
    assert!(facts["volumes"].as_array().unwrap().iter().any(|volume| volume["name"] == "kept"));

    lab.fault("h2", &["proxy-down-when-remapped"]);
    let before = lab.states();
    run(&lab, 2).expect_states(&[("h1", HostState::RolledBack), ("h2", HostState::RolledBack)]);
    assert_standing("plain");
    for ((host, before), after) in lab.hosts().zip(&before).zip(lab.states()) {
        assert_as_before(host, before, &after);
    }

    lab.fault("h2", &["none"]);
    run(&lab, 0).expect_states(&[("h1", HostState::Changed), ("h2", HostState::Changed)]);
    assert_standing("remapped");
    for host in ["h1", "h2"] {
        assert!(lab.ssh(host, "sudo docker volume ls --quiet").lines().any(|name| name == "kept"), "{host}");
    }
}

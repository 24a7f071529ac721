//! What remaps leave behind, removed on request (`playbooks/userns-cleanup.yml`): what is named, and nothing else.

use crate::{
    support::{Lab, MIGRATE, Outcome},
    sweep::runbook,
};
use std::path::Path;

/// Trees as they stay behind: of a remap that is off, and an original that a copy has replaced.
const LEFT: [&str; 2] = ["296608.296608", "100000.100000.before.1795343078105"];

fn clean_up(lab: &Lab, settings: &str) -> Outcome {
    let playbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks/userns-cleanup.yml");
    lab.start("run", &[playbook.to_str().unwrap(), "-e", settings]).end()
}

/// What is in the data root, one name a line.
fn names(lab: &Lab) -> Vec<String> {
    lab.ssh("h1", "sudo ls /var/lib/docker").lines().map(str::to_owned).collect()
}

#[test]
fn what_a_copy_and_earlier_remaps_have_left_goes_by_name_and_the_data_in_use_stays() {
    let Some(lab) = Lab::with("cleanup", &["h1"]) else { return };
    lab.fill();
    let refused = clean_up(&lab, r#"{"cleanup_original": true}"#).expect_code(2);
    assert!(refused.account().contains("here /var/lib/docker is the data in use"), "{}", refused.account());

    let runbook = runbook(&lab, &[]);
    let args = [&[runbook.as_str(), "-e", "migrate_strategy=copy"], &MIGRATE[..]].concat();
    lab.start("run", &args).end().expect_code(0);
    let copied = lab.data("h1");
    let [remap, original] = LEFT;
    let left = format!("/var/lib/docker/{remap}/overlay2/old /var/lib/docker/{original}/volumes /run/docker.{remap}");
    lab.ssh("h1", &format!("sudo mkdir -p {left}"));
    let full = names(&lab);
    assert!(full.iter().any(|name| name == "overlay2"), "a copy leaves the original: {full:?}");

    let told = clean_up(&lab, "{}").expect_code(0).account();
    assert!(
        told.contains(&format!("In use: /var/lib/docker/100000.100000. Left in /var/lib/docker: {original}, {remap}.")),
        "{told}"
    );
    assert_eq!(names(&lab), full, "nothing was named");
    assert_eq!(lab.ssh("h1", "ls -d /run/docker.[0-9]*"), "/run/docker.100000.100000\n", "of a remap that is off");

    for wrong in ["100000.100000", "overlay2", "../../../etc", "1.1"] {
        let told = clean_up(&lab, &format!(r#"{{"cleanup_trees": ["{remap}", "{wrong}"]}}"#)).expect_code(2).account();
        assert!(told.contains(&format!("{wrong}: no directory that a remap has left")), "{told}");
        assert_eq!(names(&lab), full, "{wrong}");
    }

    clean_up(&lab, &format!(r#"{{"cleanup_trees": ["{remap}", "{original}"], "cleanup_original": true}}"#))
        .expect_code(0);
    let left = names(&lab);
    for name in LEFT.iter().chain(&["containers", "image", "network", "overlay2", "volumes", "engine-id"]) {
        assert!(!left.iter().any(|left| left == name), "{name} is still there");
    }
    lab.assert_same_data("h1", &copied);
    lab.ssh("h1", "sudo systemctl restart docker");
    lab.wait_healthy("h1");
    lab.assert_same_data("h1", &copied);
}

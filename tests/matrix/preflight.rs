//! What is found on all hosts before anything is changed on the first: sudo that asks (row 21), a changed host key
//! (row 22).

use crate::{
    fleet::{Fleet, tree::Tree},
    sshd::{Options, Sshd, make_key, missing},
    transcript::Said,
};
use rollgate::journal::{EventKind, HostState};

/// The last host is the one that cannot be reached as it must be; it would be disrupted last.
const PLAYBOOK: &str = "\
- name: Change
  hosts: all
  gather_facts: false
  become: true
  rollout: { batches: [1, 1, 1], min_healthy_time: 0s }
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\", mode: '0600' }
";

/// Nothing was asked of any host, and each is as it was; `why` says what is wrong with the last one.
fn nothing_was_done(fleet: &Fleet, said: &Said, before: &[Tree; 3], why: &[&str]) {
    assert_eq!(said.code, Some(4), "{}", said.transcript());
    for word in why {
        assert!(said.stdout.contains(word), "{word} is missing: {}", said.transcript());
    }
    assert_eq!(fleet.ends(), (4, vec![HostState::NeverStarted; 3]), "{}", said.transcript());
    let events = fleet.events();
    assert!(!events.iter().any(|kind| matches!(kind, EventKind::StepIntent { .. } | EventKind::TxnOpened { .. })));
    assert_eq!(&fleet.trees(), before);
}

#[test]
fn row_21_sudo_that_asks_is_found_on_every_host_before_the_first_is_changed() {
    let test = "row_21_sudo_that_asks_is_found_on_every_host_before_the_first_is_changed";
    if missing(test) {
        return;
    }
    if !std::path::Path::new("/usr/bin/sudo").exists() {
        eprintln!("SKIPPED {test}: sudo is not installed");
        return;
    }
    let fleet = Fleet::new(PLAYBOOK);
    let asking = Sshd::start(&Options {
        setup: "rules=$(mktemp)\nprintf 'root ALL=(ALL:ALL) ALL\\nops ALL=(ALL) ALL\\n' >$rules\nchmod 440 $rules\n\
                mount --bind $rules /etc/sudoers\nrm $rules"
            .to_owned(),
        ..Options::default()
    });
    let to = format!(
        "ansible_port={} ansible_user=ops ansible_ssh_private_key_file={}",
        asking.port(),
        asking.key().display()
    );
    fleet.vary("h3", &to);
    let before = fleet.trees();
    let known = asking.known_hosts();
    let said = fleet.rollgate(&format!("run -i hosts.ini site.yml --known-hosts {}", known.display()));
    nothing_was_done(&fleet, &said, &before, &["h3", "password is required", "NOPASSWD"]);
}

#[test]
fn row_22_a_changed_host_key_is_found_before_the_first_change_and_never_accepted() {
    if missing("row_22_a_changed_host_key_is_found_before_the_first_change_and_never_accepted") {
        return;
    }
    let fleet = Fleet::new(PLAYBOOK);
    let swapped = Sshd::start(&Options::default());
    let to = format!("ansible_port={} ansible_ssh_private_key_file={}", swapped.port(), swapped.key().display());
    fleet.vary("h3", &to);
    let was = swapped.directory().join("was");
    make_key(&was, "ed25519", "");
    let was = fs_err::read_to_string(was.with_extension("pub")).unwrap();
    fleet.place.file("known", &format!("# before\n[127.0.0.1]:{} {was}", swapped.port()));
    let known = fs_err::read(fleet.place.path().join("known")).unwrap();
    let before = fleet.trees();
    for accept in ["", "--accept-new-host-keys"] {
        // The file with the old key comes first: it is the one that new keys would be added to.
        let others = fleet.sshd.known_hosts();
        let arguments =
            format!("run -i hosts.ini site.yml {accept} --known-hosts known --known-hosts {}", others.display());
        let said = fleet.place.rollgate(&arguments);
        nothing_was_done(&fleet, &said, &before, &["h3", "known:2", "ssh-keygen -f known -R"]);
        assert_eq!(fs_err::read(fleet.place.path().join("known")).unwrap(), known);
        assert!(!swapped.log().contains("Accepted"), "nobody has logged in: {}", swapped.log());
    }
}

//! A host that is cut off in the middle of its change and never comes back (row 6).

use crate::{
    fleet::tree::tree,
    sshd::{Options, Sshd, missing},
    transcript::Place,
};
use std::os::unix::fs::PermissionsExt as _;

const PLAYBOOK: &str = "\
- name: Configure
  hosts: all
  gather_facts: false
  rollout:
    batches: [2, 1]
    min_healthy_time: 100ms
    healthy_deadline: 60s
    rollback_deadline: 3s
    pause_timeout: 1s
    probes:
      - name: there
        command: test -e BASE/{{ inventory_hostname }}/motd
        interval: 100ms
  tasks:
    - name: Write the file
      copy: { dest: 'BASE/{{ inventory_hostname }}/motd', content: new, mode: '0640' }
    - name: Take long on one
      shell: touch BASE/within; sleep 600
      when: inventory_hostname == 'h2'
      accept_irreversible: true
";

/// Each host has a server of its own; the second one's is killed, sessions and all, while a step runs there.
#[test]
fn row_6_a_host_that_never_comes_back_is_unknown_and_the_others_are_as_before() {
    if missing("row_6_a_host_that_never_comes_back_is_unknown_and_the_others_are_as_before") {
        return;
    }
    let place = Place::new();
    let base = place.path().display().to_string();
    let mut servers: Vec<Sshd> = (0..3).map(|_| Sshd::start(&Options::default())).collect();
    let mut inventory = String::new();
    let mut known = String::new();
    for (n, sshd) in servers.iter().enumerate() {
        let host = format!("h{}", n + 1);
        place.file(&format!("{host}/motd"), "old");
        let mode = std::fs::Permissions::from_mode(0o604);
        fs_err::set_permissions(place.path().join(&host).join("motd"), mode).unwrap();
        inventory.push_str(&format!(
            "{host} ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_ssh_private_key_file={} \
             rollgate_state_dir={base}/{host}-state\n",
            sshd.port(),
            sshd.key().display()
        ));
        known.push_str(&format!("[127.0.0.1]:{} {}\n", sshd.port(), sshd.host_key()));
    }
    place.file("hosts.ini", &inventory);
    place.file("known", &known);
    place.file("site.yml", &PLAYBOOK.replace("BASE", &base));
    let mut lost = servers.remove(1);
    let within = place.path().join("within");
    let cut = std::thread::spawn(move || {
        // Not by the clock: when the step is under way.
        while !within.exists() {
            std::thread::yield_now();
        }
        lost.kill();
    });
    let trees = || ["h1", "h2", "h3"].map(|host| tree(&place.path().join(host)));
    let mut before = trees();
    let said = place.rollgate("run -i hosts.ini --known-hosts known site.yml");
    cut.join().unwrap();
    assert_eq!(said.code, Some(3), "{}", said.transcript());
    assert!(said.stdout.contains("unknown") && said.stdout.contains("h2: unreachable"), "{}", said.stdout);
    // The lost one as it was when it was lost, and only there.
    let conf = before[1].get_mut("motd").unwrap();
    (conf.0, conf.3) = (conf.0 & !0o777 | 0o640, b"new".to_vec());
    assert_eq!(trees(), before, "{}", said.transcript());
    assert!(said.stdout.contains("never started"), "{}", said.stdout);
}

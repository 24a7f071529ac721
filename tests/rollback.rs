//! `rollgate rollback RUN`, against a real sshd: rows 25 and 30 of the failure matrix among them.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

#[path = "support/sshd.rs"]
#[expect(dead_code, reason = "each test binary uses its part")]
mod sshd;
#[path = "support/transcript.rs"]
#[expect(dead_code, reason = "each test binary uses its part")]
mod transcript;

use sshd::{Options, Sshd, missing};
use transcript::{Place, Said};

const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

/// Three hosts behind one sshd, each with a file that a rollout of two batches changes, another that it makes, and one
/// that its handler writes.
struct Fleet {
    sshd: Sshd,
    place: Place,
}

impl Fleet {
    fn new() -> Self {
        let sshd = Sshd::start(&Options::default());
        let place = Place::new();
        let base = place.path().display().to_string();
        let mut inventory = String::from("[all:vars]\nansible_host=127.0.0.1\nansible_user=root\n");
        inventory.push_str(&format!(
            "ansible_port={}\nansible_ssh_private_key_file={}\n[fleet]\n",
            sshd.port(),
            sshd.key().display()
        ));
        for host in HOSTS {
            fs_err::create_dir(place.path().join(host)).unwrap();
            place.file(&format!("{host}/conf"), "mode=old\n");
            inventory.push_str(&format!("{host} root={base}/{host} rollgate_state_dir={base}/{host}.state\n"));
        }
        place.file("hosts.ini", &inventory);
        place.file(
            "site.yml",
            "\
- name: Change
  hosts: all
  gather_facts: false
  rollout: { batches: [1, 2], min_healthy_time: 0s }
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\", mode: '0600' }
      notify: follow
    - copy: { dest: \"{{ root }}/added\", content: \"x\\n\" }
  handlers:
    - name: follow
      shell: \"cat {{ root }}/conf >> {{ root }}/log\"
  rollback:
    - shell: \"echo back > {{ root }}/back\"
"
            .replace("      shell: \"cat", "      accept_irreversible: true\n      shell: \"cat")
            .as_str(),
        );
        Self { sshd, place }
    }

    fn rollgate(&self, arguments: &str) -> Said {
        self.place.rollgate(&format!("{arguments} --known-hosts {}", self.sshd.known_hosts().display()))
    }

    /// Changes all hosts; the run's id.
    fn changed(&self) -> String {
        let said = self.rollgate("run -i hosts.ini site.yml");
        assert_eq!(said.code, Some(0), "{}", said.transcript());
        assert_eq!(self.conf("h3"), "mode=new\n");
        self.runs().pop().unwrap()
    }

    fn runs(&self) -> Vec<String> {
        let runs = fs_err::read_dir(self.place.path().join("state/runs")).unwrap();
        let mut runs: Vec<String> = runs.map(|run| run.unwrap().file_name().into_string().unwrap()).collect();
        runs.sort();
        runs
    }

    fn conf(&self, host: &str) -> String {
        fs_err::read_to_string(self.place.path().join(host).join("conf")).unwrap()
    }

    fn is_as_before(&self, host: &str) -> bool {
        let mode = std::fs::metadata(self.place.path().join(host).join("conf")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777;
        self.conf(host) == "mode=old\n" && mode == 0o644 && !self.place.path().join(host).join("added").exists()
    }
}

#[test]
fn a_run_is_put_back_by_hand_later_without_its_playbook_or_inventory() {
    if missing("a_run_is_put_back_by_hand_later_without_its_playbook_or_inventory") {
        return;
    }
    let fleet = Fleet::new();
    let run = fleet.changed();
    fs_err::remove_file(fleet.place.path().join("site.yml")).unwrap();
    fs_err::remove_file(fleet.place.path().join("hosts.ini")).unwrap();

    let check = fleet.rollgate(&format!("rollback {run} --check"));
    assert_eq!(check.code, Some(0), "{}", check.transcript());
    for part in ["put back path", "h3/conf: was", "run handler follow", "run rollback"] {
        assert!(check.stdout.contains(part), "{part} is missing: {}", check.stdout);
    }
    assert!(HOSTS.iter().all(|host| fleet.conf(host) == "mode=new\n"), "a check changes nothing");

    let back = fleet.rollgate(&format!("rollback {run} -l h2,h3"));
    assert_eq!(back.code, Some(0), "{}", back.transcript());
    assert!(fleet.is_as_before("h2") && fleet.is_as_before("h3"), "{}", back.transcript());
    assert_eq!(fleet.conf("h1"), "mode=new\n", "hosts outside the limit are left alone");
    assert_eq!(fs_err::read_to_string(fleet.place.path().join("h2/log")).unwrap(), "mode=new\nmode=old\n");
    assert_eq!(fs_err::read_to_string(fleet.place.path().join("h2/back")).unwrap(), "back\n");

    let rest = fleet.rollgate(&format!("rollback {run}"));
    assert_eq!(rest.code, Some(0), "{}", rest.transcript());
    assert!(fleet.is_as_before("h1"));
    assert!(rest.stdout.contains("2 unchanged") && rest.stdout.contains("no-op"), "{}", rest.stdout);
    assert_eq!(fs_err::read_to_string(fleet.place.path().join("h2/log")).unwrap(), "mode=new\nmode=old\n", "once");
    let shown = fleet.place.rollgate("show");
    assert_eq!(shown.stdout, rest.stdout, "it is a run of its own");
    assert!(fleet.place.rollgate("runs").stdout.contains("1 rolled back"));
}

#[test]
fn row_25_no_op_and_no_target_execute_nothing_and_are_named() {
    if missing("row_25_no_op_and_no_target_execute_nothing_and_are_named") {
        return;
    }
    let fleet = Fleet::new();
    let run = fleet.changed();
    let again = fleet.rollgate("run -i hosts.ini site.yml");
    assert_eq!(again.code, Some(0), "{}", again.transcript());
    let nothing = fleet.runs().pop().unwrap();
    let said = fleet.rollgate(&format!("rollback {nothing}"));
    assert_eq!(said.code, Some(0), "{}", said.transcript());
    assert!(said.stdout.contains("no target") && !said.stdout.contains("rolling back"), "{}", said.stdout);
    assert!(HOSTS.iter().all(|host| fleet.conf(host) == "mode=new\n"));
    for host in HOSTS {
        fs_err::remove_dir_all(fleet.place.path().join(format!("{host}.state/txn"))).unwrap();
    }
    let gone = fleet.rollgate(&format!("rollback {run}"));
    assert_eq!(gone.code, Some(0), "{}", gone.transcript());
    assert!(gone.stdout.contains("its undo record is gone"), "{}", gone.stdout);
    assert!(HOSTS.iter().all(|host| fleet.conf(host) == "mode=new\n"));
}

#[test]
fn row_30_a_file_that_an_operator_edited_is_kept_and_the_host_is_named() {
    if missing("row_30_a_file_that_an_operator_edited_is_kept_and_the_host_is_named") {
        return;
    }
    let fleet = Fleet::new();
    let run = fleet.changed();
    fleet.place.file("h2/conf", "mode=mine\n");
    let check = fleet.rollgate(&format!("rollback {run} --check"));
    assert!(check.stdout.contains("changed by somebody else since"), "{}", check.stdout);
    let said = fleet.rollgate(&format!("rollback {run}"));
    assert_eq!(said.code, Some(3), "{}", said.transcript());
    assert_eq!(fleet.conf("h2"), "mode=mine\n", "their file is kept");
    assert!(said.stdout.contains("1 rollback failed") && said.stdout.contains("drifted"), "{}", said.stdout);
    assert!(fleet.is_as_before("h1") && fleet.is_as_before("h3"), "one host stops no other");
}

#[test]
fn a_host_out_of_reach_needs_an_operator_and_stops_no_other() {
    if missing("a_host_out_of_reach_needs_an_operator_and_stops_no_other") {
        return;
    }
    let fleet = Fleet::new();
    let run = fleet.changed();
    let hosts = fs_err::read_to_string(fleet.place.path().join("hosts.ini")).unwrap();
    fleet.place.file("moved.ini", &hosts.replace("h2 root", "h2 ansible_port=1 root"));
    let said = fleet.rollgate(&format!("rollback {run} -i moved.ini --deadline 1"));
    assert_eq!(said.code, Some(3), "{}", said.transcript());
    assert!(said.stdout.contains("unknown") && said.stdout.contains("h2: unreachable"), "{}", said.stdout);
    assert!(fleet.is_as_before("h1") && fleet.is_as_before("h3"));
    assert_eq!(fleet.conf("h2"), "mode=new\n");
}

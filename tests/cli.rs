//! The commands, as transcripts of the real binary.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

#[path = "support/sshd.rs"]
#[expect(dead_code, reason = "each test binary uses its part")]
mod sshd;
#[path = "support/transcript.rs"]
mod transcript;

use rollgate::journal::Event;
use sshd::{Options, Sshd, missing};
use transcript::{Place, Said, filters};

macro_rules! transcript {
    ($place:expr, $said:expr) => {{
        let mut settings = insta::Settings::clone_current();
        for (pattern, with) in filters($place) {
            settings.add_filter(&pattern, with);
        }
        settings.bind(|| insta::assert_snapshot!($said.transcript()));
    }};
}

const INVENTORY: &str = "\
all:
  children:
    web:
      hosts:
        web[1:2]:
          http_port: 8080
      vars: { tier: front }
    db:
      hosts: { db1: { admin_password: hunter2 } }
";

const SITE: &str = "\
- name: First
  hosts: web
  tags: [base]
  tasks:
    - name: Say hello
      debug: { msg: hello }
    - name: Only later
      tags: [later]
      command: 'true'
      changed_when: false
- name: Second
  hosts: db
  tasks:
    - name: Say bye
      debug: { msg: bye }
";

fn place() -> Place {
    let place = Place::new();
    place.file("hosts.yml", INVENTORY);
    place.file("site.yml", SITE);
    place
}

#[test]
fn validate_shows_every_mistake_with_its_place() {
    let place = place();
    place.file(
        "bad.yml",
        "- hosts: web\n  taks: []\n  tasks:\n    - nme: x\n      copyy: {}\n    - command: 'true'\n      whn: yes\n",
    );
    transcript!(&place, place.rollgate("validate bad.yml"));
    transcript!(&place, place.rollgate("validate site.yml"));
}

#[test]
fn list_hosts_tasks_and_tags_read_as_ansible_s() {
    let place = place();
    transcript!(&place, place.rollgate("run -i hosts.yml site.yml --list-hosts -l web1,db1"));
    transcript!(&place, place.rollgate("run -i hosts.yml site.yml --list-tasks --list-tags -t later"));
    transcript!(&place, place.rollgate("run -i hosts.yml site.yml --syntax-check"));
}

#[test]
fn an_inventory_can_be_looked_at_and_keeps_its_secrets() {
    let place = place();
    transcript!(&place, place.rollgate("inventory -i hosts.yml --graph"));
    transcript!(&place, place.rollgate("inventory -i hosts.yml --list"));
    transcript!(&place, place.rollgate("inventory -i hosts.yml --host web2"));
    transcript!(&place, place.rollgate("inventory -i hosts.yml --host web22"));
}

#[test]
fn usage_errors_touch_nothing_and_exit_with_1() {
    let place = place();
    transcript!(&place, place.rollgate("run -i hosts.yml"));
    transcript!(&place, place.rollgate("run site.yml"));
    transcript!(&place, place.rollgate("run -i hosts.yml site.yml -l wbe1"));
    transcript!(&place, place.rollgate("show nosuchrun"));
    assert!(!place.path().join("state").exists(), "no run was made");
}

#[test]
fn steps_that_nothing_undoes_are_refused() {
    let place = place();
    let playbook = "- hosts: web\n  rollout: { batches: [1] }\n  tasks:\n    - command: rm -rf /srv\n";
    place.file("irreversible.yml", playbook);
    transcript!(&place, place.rollgate("run -i hosts.yml irreversible.yml"));
    transcript!(&place, place.rollgate("plan -i hosts.yml irreversible.yml"));
}

/// A place whose inventory is one host behind a real sshd, and a playbook that changes it.
fn reachable(sshd: &Sshd) -> Place {
    let place = Place::new();
    let base = place.path().display().to_string();
    place.file(
        "hosts.ini",
        &format!(
            "web1 ansible_host=127.0.0.1 ansible_port={} ansible_user=root ansible_ssh_private_key_file={} \
             rollgate_state_dir={base}/web1-state\n",
            sshd.port(),
            sshd.key().display()
        ),
    );
    place.file(
        "site.yml",
        &format!(
            "- name: Configure\n  hosts: all\n  gather_facts: false\n  rollout:\n    batches: [1]\n    min_healthy_time: 0s\n  tasks:\n\
             \x20   - name: Write the file\n      copy: {{ dest: {base}/motd, content: \"hello\\n\" }}\n\
             \x20   - name: Ask who we are\n      command: id -un\n      register: who\n      changed_when: false\n\
             \x20   - name: Say it\n      debug: {{ var: who.stdout }}\n"
        ),
    );
    place
}

fn with(sshd: &Sshd, command: &str) -> String {
    format!("{command} -i hosts.ini --known-hosts {} site.yml", sshd.known_hosts().display())
}

#[test]
fn a_run_over_ssh_changes_then_finds_nothing_to_change_and_can_be_shown_again() {
    if missing("a_run_over_ssh_changes_then_finds_nothing_to_change_and_can_be_shown_again") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let place = reachable(&sshd);
    transcript!(&place, place.rollgate(&with(&sshd, "plan --detailed-exitcode")));
    let first = place.rollgate(&with(&sshd, "run"));
    transcript!(&place, first);
    assert_eq!(fs_err::read_to_string(place.path().join("motd")).unwrap(), "hello\n");
    let shown = place.rollgate("show");
    assert_eq!(shown.stdout, first.stdout, "a journal shows what the live run showed");
    transcript!(&place, place.rollgate(&with(&sshd, "run -D")));
    transcript!(&place, place.rollgate(&with(&sshd, "plan --detailed-exitcode")));
    transcript!(&place, place.rollgate("runs"));
    reports_are_there(&place);
}

fn reports_are_there(place: &Place) {
    let runs: Vec<_> =
        fs_err::read_dir(place.path().join("state/runs")).unwrap().map(|run| run.unwrap().path()).collect();
    assert_eq!(runs.len(), 2);
    let reports = runs.iter().map(|run| fs_err::read_to_string(run.join("report.html")).unwrap());
    assert_eq!(reports.filter(|report| report.contains("+hello")).count(), 1, "differences are kept for the report");
    assert!(
        place
            .rollgate(&format!("show -D {}", runs.iter().min().unwrap().file_name().unwrap().display()))
            .stdout
            .contains("+hello")
    );
    for run in runs {
        let report = fs_err::read_to_string(run.join("report.html")).unwrap();
        assert!(report.contains("Content-Security-Policy") && report.contains("web1"));
        assert!(fs_err::read_to_string(run.join("close.md")).unwrap().contains("Close code: successful"));
    }
}

#[test]
fn json_lines_are_the_events_of_the_journal() {
    if missing("json_lines_are_the_events_of_the_journal") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let place = reachable(&sshd);
    let live = place.rollgate(&with(&sshd, "run --output jsonl"));
    assert_eq!(live.code, Some(0), "{}", live.transcript());
    let events =
        |said: &Said| -> Vec<Event> { said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let seen = events(&live);
    assert!(seen.iter().zip(1..).all(|(event, seq)| event.seq == seq), "no event is missing");
    assert_eq!(events(&place.rollgate("show --output jsonl")), seen);
}

#[test]
fn a_host_out_of_reach_exits_with_4_and_is_named() {
    let place = place();
    place.file("hosts.ini", "gone ansible_host=127.0.0.1 ansible_port=1\n");
    place.file("site.yml", "- hosts: all\n  gather_facts: false\n  tasks:\n    - command: 'true'\n");
    transcript!(&place, place.rollgate("run -i hosts.ini site.yml"));
}

#[test]
fn output_to_a_reader_that_has_gone_away_is_no_crash() {
    let place = place();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rollgate"));
    command.args(["inventory", "-i", "hosts.yml", "--list"]).current_dir(place.path());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = command.stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

/// Three hosts behind one sshd; on h3 the change makes the probe fail.
fn fleet(sshd: &Sshd) -> Place {
    let place = Place::new();
    let base = place.path().display().to_string();
    let hosts: String = ["h1", "h2", "h3"]
        .iter()
        .map(|host| format!("{host} rollgate_state_dir={base}/{host}-state file={base}/{host}.conf\n"))
        .collect();
    let common = format!(
        "[all:vars]\nansible_host=127.0.0.1\nansible_port={}\nansible_user=root\nansible_ssh_private_key_file={}\n",
        sshd.port(),
        sshd.key().display()
    );
    place.file("hosts.ini", &format!("{hosts}{common}"));
    for host in ["h1", "h2", "h3"] {
        place.file(&format!("{host}.conf"), "mode=old\n");
    }
    place.file(
        "site.yml",
        "\
- name: Change the mode
  hosts: all
  gather_facts: false
  rollout:
    batches: [1, 2]
    max_parallel: 1
    max_fail: 0
    min_healthy_time: 0s
    healthy_deadline: 30s
    probes:
      - name: mode
        command: \"! grep -q h3:new {{ file }}\"
        count: 5
        interval: 100ms
    triggers:
      - name: the new mode does not work
        when: mode.consecutive_failures >= 3
  tasks:
    - name: Set the mode
      copy: { dest: \"{{ file }}\", content: \"{{ inventory_hostname }}:new\\n\" }
",
    );
    place
}

#[test]
fn a_trigger_puts_its_batch_back_and_leaves_the_canary() {
    if missing("a_trigger_puts_its_batch_back_and_leaves_the_canary") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let place = fleet(&sshd);
    let run = place.rollgate(&with(&sshd, "run"));
    transcript!(&place, run);
    let file = |host: &str| fs_err::read_to_string(place.path().join(format!("{host}.conf"))).unwrap();
    assert_eq!([file("h1"), file("h2"), file("h3")], ["h1:new\n", "mode=old\n", "mode=old\n"]);
    assert_eq!(place.rollgate("show").stdout, run.stdout);
    transcript!(&place, place.rollgate("show --format ticket"));
    transcript!(&place, place.rollgate("runs"));
}

#[test]
fn a_secret_is_hidden_wherever_it_was_written() {
    let place = place();
    place.file("group_vars/all.yml", "db_password: correct-horse\n");
    place.file("hosts.yml", "all: { hosts: { here: { ansible_connection: local, api_token: battery-staple } } }\n");
    let playbook = "\
- hosts: all
  gather_facts: false
  vars: { backup_secret: stapled-horse }
  tasks:
    - debug: { msg: \"{{ db_password }} {{ api_token }} {{ backup_secret }} {{ login_pass }}\" }
    - command: \"sh -c 'echo {{ db_password }} >&2; exit 3'\"
";
    place.file("site.yml", playbook);
    let said = place.rollgate("run -i hosts.yml site.yml -e login_pass=horse-battery -vv");
    assert_eq!(said.code, Some(2), "{}", said.transcript());
    let run = fs_err::read_dir(place.path().join("state/runs")).unwrap().next().unwrap().unwrap().path();
    let journal = fs_err::read_to_string(run.join("journal.jsonl")).unwrap();
    let report = fs_err::read_to_string(run.join("report.html")).unwrap();
    for secret in ["correct-horse", "battery-staple", "stapled-horse", "horse-battery"] {
        for (what, text) in [("output", &said.stdout), ("journal", &journal), ("report", &report)] {
            assert!(!text.contains(secret), "{secret} is in the {what}: {text}");
        }
    }
}

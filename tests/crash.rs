//! The controller killed by SIGKILL at each record of its journal and at each request to an agent, in a rollout over three
//! hosts behind a real sshd with the real guard (row 1 of the failure matrix). At the latest when deadline and revert
//! budget have passed, every host is changed and confirmed, or byte for byte as before.
//!
//! Every tenth point and each kind once; with `ROLLGATE_FULL=1` all of them.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

#[path = "support/sshd.rs"]
#[expect(dead_code, reason = "each test binary uses its part")]
mod sshd;
#[path = "support/transcript.rs"]
#[expect(dead_code, reason = "each test binary uses its part")]
mod transcript;
#[path = "support/tree.rs"]
mod tree;

use sshd::{Options, Sshd, missing};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use transcript::{Place, agent};
use tree::{Tree, tree};

const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

/// Cases under way at once: most of a case is waiting for a deadline.
const AT_ONCE: usize = 8;

/// Far more than `guard_timeout` and `revert_budget`, for a machine with other work to do.
const LIMIT: Duration = Duration::from_secs(180);

const PLAYBOOK: &str = "\
- name: Change
  hosts: all
  gather_facts: false
  rollout:
    batches: [1, 2]
    min_healthy_time: 200ms
    healthy_deadline: 30s
    bake_time: 300ms
    confirm: CONFIRM
    guard_timeout: TIMEOUT
    revert_budget: 5s
    probes:
      - name: service
        command: test ! -e {{ root }}/sick
        interval: 100ms
        timeout: 10s
    triggers:
      - name: the service is sick
        when: service.consecutive_failures >= 2
  tasks:
    - name: Configure
      copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\", mode: '0600' }
      notify: restart
    - name: Add a line
      lineinfile: { path: \"{{ root }}/list\", line: mine }
    - name: Run something
      shell: \"echo ran > {{ root }}/ran\"
      undo:
        - shell: \"rm -f {{ root }}/ran\"
    - name: Break it where asked
      file: { path: \"{{ root }}/sick\", state: touch }
      when: breaks | default(false)
  handlers:
    - name: restart
      copy: { src: \"{{ root }}/conf\", dest: \"{{ root }}/active\", remote_src: true }
";

/// A scenario: what is confirmed when, and whether a host of the second batch turns sick and is put back.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    confirm: &'static str,
    timeout: &'static str,
    breaks: bool,
}

const GOOD: Scenario = Scenario { name: "good", confirm: "per_host", timeout: "5s", breaks: false };
const BATCH: Scenario = Scenario { name: "batch", confirm: "per_batch", timeout: "5s", breaks: false };
const SICK: Scenario = Scenario { name: "sick", confirm: "per_batch", timeout: "5s", breaks: true };

/// One fleet of three sandboxes.
struct Fleet {
    place: Place,
    before: BTreeMap<&'static str, Tree>,
}

impl Fleet {
    fn new(sshd: &Sshd, scenario: Scenario) -> Self {
        let place = Place::new();
        let base = place.path().display().to_string();
        let mut inventory = format!(
            "[all:vars]\nansible_host=127.0.0.1\nansible_user=root\nansible_port={}\nansible_ssh_private_key_file={}\n[fleet]\n",
            sshd.port(),
            sshd.key().display()
        );
        for host in HOSTS {
            place.file(&format!("{host}/conf"), "mode=old\n");
            place.file(&format!("{host}/list"), "theirs\n");
            let breaks = if scenario.breaks && host == "h3" { " breaks=true" } else { "" };
            inventory.push_str(&format!("{host} root={base}/{host} rollgate_state_dir={base}/{host}.state{breaks}\n"));
        }
        place.file("hosts.ini", &inventory);
        place.file("site.yml", &PLAYBOOK.replace("CONFIRM", scenario.confirm).replace("TIMEOUT", scenario.timeout));
        let before = HOSTS.map(|host| (host, tree(&place.path().join(host)))).into();
        Self { place, before }
    }

    fn run(&self, sshd: &Sshd, crash_at: Option<&str>) -> Output {
        self.rollgate(sshd, &["run", "-i", "hosts.ini", "site.yml", "--output", "jsonl"], crash_at)
    }

    fn rollgate(&self, sshd: &Sshd, words: &[&str], crash_at: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollgate"));
        command.args(words).arg("--known-hosts");
        command.arg(sshd.directory().join("known_hosts")).current_dir(self.place.path()).env_clear();
        command.env("HOME", self.place.path()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("USER", "tester");
        command.env("ROLLGATE_STATE_DIR", self.place.path().join("state")).env("ROLLGATE_AGENT", agent());
        command.env("ROLLGATE_CRASH_TRACE", self.place.path().join("requests"));
        command.envs(crash_at.map(|at| ("ROLLGATE_CRASH_AT", at))).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// The states of a host's guards, in their files; a transaction without a guard has none.
    fn guards(&self, host: &str) -> Vec<Option<String>> {
        let Ok(txns) = std::fs::read_dir(self.place.path().join(format!("{host}.state/txn"))) else {
            return Vec::new();
        };
        txns.map(|txn| {
            let path: PathBuf = txn.unwrap().path().join("guard.json");
            let text = fs_err::read_to_string(path).ok()?;
            let record: serde_json::Value = serde_json::from_str(&text).unwrap();
            Some(record["state"].as_str().unwrap().to_owned())
        })
        .collect()
    }

    /// Waits until no guard has anything to do, and says what became of the host; an error is a broken promise.
    fn settled(&self, host: &'static str, changed: &Tree) -> Result<&'static str, String> {
        let begun = Instant::now();
        loop {
            let guards = self.guards(host);
            let live = |guard: &Option<String>| matches!(guard.as_deref(), Some("armed" | "reverting"));
            if !guards.iter().any(live) {
                let now = tree(&self.place.path().join(host));
                let confirmed = guards.iter().any(|guard| guard.as_deref() == Some("confirmed"));
                return match (now == self.before[host], now == *changed) {
                    (true, _) => Ok("as before"),
                    (_, true) if confirmed => Ok("changed"),
                    (_, true) => Err(format!("{host} is changed and not confirmed: {guards:?}")),
                    _ => Err(format!("{host} is half-changed ({guards:?}): {:?}", now.keys().collect::<Vec<_>>())),
                };
            }
            if begun.elapsed() > LIMIT {
                return Err(format!("{host} has not settled within {LIMIT:?}: {guards:?}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A run that nobody kills: what hosts look like when they are changed, and the points at which it can be killed.
fn points(sshd: &Sshd, scenario: Scenario) -> (BTreeMap<&'static str, Tree>, Vec<String>) {
    let fleet = Fleet::new(sshd, scenario);
    let output = fleet.run(sshd, None);
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = if scenario.breaks { Some(2) } else { Some(0) };
    assert_eq!(output.status.code(), expected, "{text}{}", String::from_utf8_lossy(&output.stderr));
    let kinds = text.lines().map(|line| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event["kind"].as_str().unwrap().to_owned()
    });
    let requests = fs_err::read_to_string(fleet.place.path().join("requests")).unwrap();
    let mut points = chosen("record", kinds);
    for point in ["request", "sent", "answer"] {
        points.extend(chosen(point, requests.lines().map(str::to_owned)));
    }
    (HOSTS.map(|host| (host, tree(&fleet.place.path().join(host)))).into(), points)
}

/// Every tenth, and each kind once; or all.
fn chosen(point: &str, kinds: impl Iterator<Item = String>) -> Vec<String> {
    let full = std::env::var("ROLLGATE_FULL").is_ok_and(|full| full == "1");
    let mut seen = BTreeSet::new();
    kinds
        .zip(1..)
        .filter(|(kind, number)| {
            // The first of a kind for records; requests of one kind are met in three ways, at different ones.
            let new = seen.insert(kind.clone());
            full || number % 10 == 0 || (new && matches!(point, "record" | "answer"))
        })
        .map(|(_, number)| format!("{point}:{number}"))
        .collect()
}

fn crash(test: &str, scenario: Scenario) {
    if missing(test) {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    sshd.known_hosts();
    let (mut changed, points) = points(&sshd, scenario);
    if scenario.breaks {
        // The run that was not killed has put its second batch back; what it would have been is what the first one is.
        let first = changed["h1"].clone();
        changed.insert("h2", first.clone());
        changed.insert("h3", first);
    }
    let (next, killed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let broken = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fleet = Fleet::new(&sshd, scenario);
                    let output = fleet.run(&sshd, Some(point));
                    killed.fetch_add(usize::from(output.status.signal() == Some(9)), Ordering::Relaxed);
                    for host in HOSTS {
                        if let Err(why) = fleet.settled(host, &changed[host]) {
                            broken.lock().unwrap().push(format!("{} {point}: {why}", scenario.name));
                        }
                    }
                }
            });
        }
    });
    let (broken, killed) = (broken.into_inner().unwrap(), killed.into_inner());
    eprintln!("{}: killed at {killed} of {} points", scenario.name, points.len());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    // Which record is which differs a little from run to run, so that the last points may be past the end.
    assert!(killed * 10 >= points.len() * 8, "only {killed} of {} points were reached", points.len());
}

#[test]
fn row_1_killed_anywhere_while_hosts_are_confirmed_one_by_one() {
    crash("row_1_killed_anywhere_while_hosts_are_confirmed_one_by_one", GOOD);
}

#[test]
fn row_1_killed_anywhere_while_batches_are_confirmed_as_one() {
    crash("row_1_killed_anywhere_while_batches_are_confirmed_as_one", BATCH);
}

#[test]
fn row_1_killed_anywhere_while_a_batch_is_put_back() {
    crash("row_1_killed_anywhere_while_a_batch_is_put_back", SICK);
}

/// The events of a run, as JSON.
fn events(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_second_run_on_an_armed_host_is_refused_and_names_the_first_which_can_be_put_back_by_hand() {
    if missing("a_second_run_on_an_armed_host_is_refused_and_names_the_first_which_can_be_put_back_by_hand") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    sshd.known_hosts();
    let patient = Scenario { timeout: "120s", ..GOOD };
    let whole = events(&Fleet::new(&sshd, patient).run(&sshd, None));
    let done = whole.iter().find(|event| event["kind"] == "step_result" && event["status"] == "changed").unwrap();

    let fleet = Fleet::new(&sshd, patient);
    let first = fleet.run(&sshd, Some(&format!("record:{}", done["seq"])));
    assert_eq!(first.status.signal(), Some(9));
    assert_eq!(fleet.guards("h1"), [Some("armed".to_owned())]);
    let run = events(&first)[0]["run"].as_str().unwrap().to_owned();

    let second = fleet.run(&sshd, None);
    let said = String::from_utf8_lossy(&second.stdout).into_owned();
    assert!(said.contains(&run) && second.status.code() != Some(0), "{said}");
    assert_eq!(fleet.guards("h1"), [Some("armed".to_owned())], "the first run's guard is as it was");

    let back = fleet.rollgate(&sshd, &["rollback", &run, "-i", "hosts.ini"], None);
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stdout));
    let unchanged = Tree::new();
    for host in HOSTS {
        assert_eq!(fleet.settled(host, &unchanged), Ok("as before"));
    }
}

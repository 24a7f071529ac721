//! Stop words to a real run, over a real sshd: signals, another terminal, a terminal that goes away (row 39 of the
//! failure matrix).
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test")]

#[path = "support/sshd.rs"]
#[expect(dead_code, reason = "each test binary uses its part")]
mod sshd;
#[path = "support/transcript.rs"]
#[expect(dead_code, reason = "each test binary uses its part")]
mod transcript;

use rollgate::journal::{EventKind, HostState, Reader, StopCause};
use sshd::{Options, Sshd, missing};
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};
use transcript::Place;

const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

/// Three hosts behind one sshd. Each changes its file, says so, and waits for a gate to open.
struct Fleet {
    sshd: Sshd,
    place: Place,
}

impl Fleet {
    fn new(stanza: &str) -> Self {
        let sshd = Sshd::start(&Options::default());
        let place = Place::new();
        let base = place.path().display().to_string();
        let mut inventory = format!(
            "[all:vars]\nansible_host=127.0.0.1\nansible_user=root\nansible_port={}\nansible_ssh_private_key_file={}\n\
             gate={base}/gate\n[fleet]\n",
            sshd.port(),
            sshd.key().display()
        );
        for host in HOSTS {
            fs_err::create_dir(place.path().join(host)).unwrap();
            place.file(&format!("{host}/conf"), "mode=old\n");
            inventory.push_str(&format!("{host} root={base}/{host} rollgate_state_dir={base}/{host}.state\n"));
        }
        place.file("hosts.ini", &inventory);
        let playbook = "\
- name: Change
  hosts: all
  gather_facts: false
  rollout: { min_healthy_time: 0s, STANZA }
  tasks:
    - copy: { dest: \"{{ root }}/conf\", content: \"mode=new\\n\" }
    - name: Wait
      shell: trap 'touch {{ root }}.ended; exit 1' TERM; until test -e {{ gate }}; do sleep 0.05; done
      changed_when: false
";
        place.file("site.yml", &playbook.replace("STANZA", stanza));
        Self { sshd, place }
    }

    fn arguments(&self) -> String {
        format!("run -v -i hosts.ini site.yml --known-hosts {}", self.sshd.known_hosts().display())
    }

    fn open_the_gate(&self) {
        self.place.file("gate", "");
    }

    fn files(&self) -> Vec<String> {
        HOSTS.iter().map(|host| fs_err::read_to_string(self.place.path().join(host).join("conf")).unwrap()).collect()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.place.path()).env_clear();
        command.env("HOME", self.place.path()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("USER", "tester");
        command.env("ROLLGATE_STATE_DIR", self.place.path().join("state"));
        command.env("ROLLGATE_AGENT", transcript::agent()).stdin(Stdio::null());
        command
    }

    fn start(&self) -> Running {
        let mut command = self.command(env!("CARGO_BIN_EXE_rollgate"));
        let mut child = command.args(self.arguments().split_whitespace()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines, said: String::new() }
    }

    fn journal(&self) -> Option<PathBuf> {
        let runs = fs_err::read_dir(self.place.path().join("state/runs")).ok()?;
        runs.map(|run| run.unwrap().path().join("journal.jsonl")).find(|journal| journal.exists())
    }

    fn events(&self) -> Vec<EventKind> {
        let journal = self.journal().and_then(|journal| Reader::open(&journal).ok());
        journal.into_iter().flat_map(Reader::into_events).map(|event| event.kind).collect()
    }

    /// Looks at the journal until something has happened: for runs whose output cannot be read.
    fn until(&self, what: &str, fits: impl Fn(&EventKind) -> bool) {
        for _ in 0..2400 {
            if self.events().iter().any(&fits) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        panic!("it never came to this: {what}\n{:#?}", self.events());
    }

    fn ends(&self) -> (u8, Vec<HostState>) {
        let end = self.events().into_iter().find_map(|kind| match kind {
            EventKind::RunEnded { exit_code, hosts } => Some((exit_code, hosts.iter().map(|it| it.state).collect())),
            _ => None,
        });
        end.unwrap()
    }
}

/// A run in the background.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
    said: String,
}

impl Running {
    /// Reads its output up to a line with this in it.
    fn until(&mut self, what: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended before `{what}`:\n{}", self.said);
            self.said.push_str(&line);
            if line.contains(what) {
                return line;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Reads the rest and gives back the exit code.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut rest).unwrap();
        self.said.push_str(&rest);
        (self.child.wait().unwrap().code(), self.said)
    }
}

fn waits(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Waits { what, .. } if what == "resume")
}

fn is_waiting_in_its_step(host: &str) -> impl Fn(&EventKind) -> bool {
    move |kind| matches!(kind, EventKind::StepIntent { id, info } if id.host == host && info.task == "Wait")
}

#[test]
fn another_terminal_pauses_resumes_and_promotes() {
    if missing("another_terminal_pauses_resumes_and_promotes") {
        return;
    }
    let fleet = Fleet::new("batches: [1, 2], max_parallel: 1, promote: manual");
    let nothing = fleet.place.rollgate("pause");
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.stderr.contains("no run is under way"), "{}", nothing.stderr);
    let mut run = fleet.start();
    run.until("host: [h1] running");
    let early = fleet.place.rollgate("promote");
    assert!(early.code == Some(1) && early.stderr.contains("does not wait for a promotion"), "{}", early.stderr);
    fleet.open_the_gate();
    let line = run.until("WAITS");
    let id = line.split("rollgate promote ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    assert_eq!(fleet.files(), ["mode=new\n", "mode=old\n", "mode=old\n"]);
    let paused = fleet.place.rollgate(&format!("pause {} --reason lunch", &id[..16]));
    assert!(paused.code == Some(0) && paused.stdout.contains("no new host starts"), "{}", paused.transcript());
    let promoted = fleet.place.rollgate("promote");
    assert!(promoted.stdout.contains("the run is paused"), "{}", promoted.transcript());
    run.until("WAITS");
    assert_eq!(fleet.files(), ["mode=new\n", "mode=old\n", "mode=old\n"], "a paused run begins nothing");
    let resumed = fleet.place.rollgate("resume --reason back");
    assert_eq!(resumed.code, Some(0), "{}", resumed.transcript());
    let (code, said) = run.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fleet.files(), ["mode=new\n"; 3]);
    let who = fleet.events().into_iter().find_map(|kind| match kind {
        EventKind::Paused { cause } => Some(cause),
        _ => None,
    });
    let (user, reason) = (Some("root".to_owned()), Some("lunch".to_owned()));
    assert_eq!(who, Some(StopCause::Operator { uid: 0, user, reason }));
    let late = fleet.place.rollgate(&format!("abort {id}"));
    assert!(late.code == Some(1) && late.stderr.contains("has ended, with exit code 0"), "{}", late.stderr);
}

#[test]
fn another_terminal_aborts_a_paused_run_and_its_batch_is_put_back() {
    if missing("another_terminal_aborts_a_paused_run_and_its_batch_is_put_back") {
        return;
    }
    let fleet = Fleet::new("batches: [3], max_parallel: 1");
    let mut run = fleet.start();
    run.until("host: [h1] running");
    assert_eq!(fleet.place.rollgate("pause").code, Some(0));
    fleet.open_the_gate();
    run.until("WAITS");
    assert_eq!(fleet.files(), ["mode=new\n", "mode=old\n", "mode=old\n"]);
    let aborted = fleet.place.rollgate("abort --reason wrong");
    assert!(aborted.stdout.contains("rolled back"), "{}", aborted.transcript());
    let (code, said) = run.end();
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(fleet.files(), ["mode=old\n"; 3]);
    assert!(said.contains("root said so: wrong"), "{said}");
}

#[test]
fn a_run_without_a_controller_says_so() {
    if missing("a_run_without_a_controller_says_so") {
        return;
    }
    let fleet = Fleet::new("batches: [1]");
    let mut run = fleet.start();
    let id = run.until("Run ").split(' ').nth(1).unwrap().to_owned();
    run.until("host: [h1] running");
    run.signal("KILL");
    let _ = run.end();
    let resume = fleet.place.rollgate(&format!("resume {id}"));
    assert_eq!(resume.code, Some(1));
    assert!(resume.stderr.contains("is gone") && resume.stderr.contains("cannot be taken over"), "{}", resume.stderr);
    let none = fleet.place.rollgate("abort 1999");
    assert!(none.stderr.contains("there is no run 1999"), "{}", none.stderr);
}

#[test]
fn row_39_ctrl_c_once_twice_and_three_times() {
    if missing("row_39_ctrl_c_once_twice_and_three_times") {
        return;
    }
    let fleet = Fleet::new("batches: [2, 1], max_parallel: 1");
    let mut run = fleet.start();
    fleet.until("h1 is in its step", is_waiting_in_its_step("h1"));
    run.signal("INT");
    run.until("PAUSED");
    fleet.open_the_gate();
    run.until("WAITS");
    assert_eq!(fleet.files(), ["mode=new\n", "mode=old\n", "mode=old\n"]);
    run.signal("INT");
    let (code, said) = run.end();
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(fleet.files(), ["mode=old\n"; 3], "{said}");

    let fleet = Fleet::new("batches: [2, 1], max_parallel: 1, abort_grace: 10m");
    let mut run = fleet.start();
    fleet.until("h1 is in its step", is_waiting_in_its_step("h1"));
    for word in ["PAUSED", "ABORTED", "KILLED"] {
        run.signal("INT");
        run.until(word);
    }
    let (code, said) = run.end();
    assert_eq!(code, Some(3), "{said}");
    let (_, states) = fleet.ends();
    assert!(states.contains(&HostState::Unknown) && states.contains(&HostState::NeverStarted), "{states:?}");
    // What was under way was ended on the host, and the journal is whole.
    let ended = fleet.place.path().join("h1.ended");
    while !ended.exists() {
        std::thread::yield_now();
    }
    assert_eq!(fleet.place.rollgate("show").code, Some(0));
}

#[test]
fn row_39_a_closed_output_pipe_is_no_crash_and_pauses() {
    if missing("row_39_a_closed_output_pipe_is_no_crash_and_pauses") {
        return;
    }
    let fleet = Fleet::new("batches: [1], max_parallel: 1");
    let Running { mut child, lines, .. } = fleet.start();
    fleet.until("h1 is in its step", is_waiting_in_its_step("h1"));
    drop(lines);
    fleet.open_the_gate();
    fleet.until("it waits", waits);
    assert_eq!(fleet.place.rollgate("resume").code, Some(0));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(fleet.files(), ["mode=new\n"; 3]);
    let cause = |kind: &EventKind| matches!(kind, EventKind::Paused { cause: StopCause::Signal { signal } } if signal == "SIGPIPE");
    assert!(fleet.events().iter().any(cause));
}

#[test]
fn row_39_a_closed_terminal_pauses() {
    if missing("row_39_a_closed_terminal_pauses") {
        return;
    }
    let fleet = Fleet::new("batches: [1], max_parallel: 1");
    let run = format!("{} {}", env!("CARGO_BIN_EXE_rollgate"), fleet.arguments());
    let mut terminal = fleet.command("script");
    let mut terminal = terminal.args(["-qc", &run, "/dev/null"]).stdout(Stdio::null()).spawn().unwrap();
    fleet.until("h1 is in its step", is_waiting_in_its_step("h1"));
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    fleet.until("it is paused", |kind| matches!(kind, EventKind::Paused { .. }));
    fleet.open_the_gate();
    fleet.until("it waits", waits);
    assert_eq!(fleet.files(), ["mode=new\n", "mode=old\n", "mode=old\n"]);
    assert_eq!(fleet.place.rollgate("resume").code, Some(0));
    fleet.until("it ended", |kind| matches!(kind, EventKind::RunEnded { .. }));
    assert_eq!(fleet.ends(), (0, vec![HostState::Changed; 3]));
}

//! The program while it runs: its events as they come.

use super::Outcome;
use rollgate::journal::{Event, EventKind};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader, Lines, Read},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::JoinHandle,
    time::Duration,
};

/// After this a run that should have ended is killed, and the test fails. No test comes near it.
const HANGS: Duration = Duration::from_secs(900);

/// The program. One that a test leaves behind when it fails would go on with the next test's hosts.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // Ended already, where the test did not fail.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A run in progress.
pub(crate) struct Running {
    program: Program,
    pid: Pid,
    events: Lines<BufReader<ChildStdout>>,
    stderr: JoinHandle<String>,
    watch: Sender<()>,
    state_dir: PathBuf,
}

impl Running {
    /// Starts `command` with its events on standard output.
    pub(super) fn start(command: &mut Command, state_dir: &Path) -> Self {
        let mut child = command
            .args(["--output", "jsonl"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let mut errors = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).unwrap();
            text
        });
        let (watch, ended) = mpsc::channel();
        std::thread::spawn(move || {
            if ended.recv_timeout(HANGS) == Err(RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        let events = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { program: Program(child), pid, events, stderr, watch, state_dir: state_dir.to_owned() }
    }

    /// Reads on to the first event that `wanted` accepts.
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&EventKind) -> bool) -> Event {
        for line in self.events.by_ref() {
            let event: Event = serde_json::from_str(&line.unwrap()).unwrap();
            if wanted(&event.kind) {
                return event;
            }
        }
        panic!("the run ended before {what}");
    }

    /// Reads on until `host` has begun the task.
    pub(crate) fn until_task(&mut self, host: &str, task: &str) {
        self.until(
            &format!("{host} began '{task}'"),
            |event| matches!(event, EventKind::StepIntent { id, info } if id.host == host && info.task == task),
        );
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        kill_process(self.pid, Signal::INT).unwrap();
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        kill_process(self.pid, Signal::KILL).unwrap();
        self.program.0.wait().unwrap();
        let _ = self.watch.send(());
    }

    /// Waits for the end of a run that kills itself. False if it came to its end. Its id, where it has said it.
    pub(crate) fn died(mut self) -> (bool, Option<String>) {
        let lines: Vec<String> = self.events.by_ref().map(Result::unwrap).collect();
        let status = self.program.0.wait().unwrap();
        let _ = self.watch.send(());
        let first = lines.first().and_then(|line| serde_json::from_str::<Event>(line).ok());
        let run = first.and_then(|event| match event.kind {
            EventKind::RunStarted { run, .. } => Some(run),
            _ => None,
        });
        (status.signal() == Some(Signal::KILL.as_raw()), run)
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Outcome {
        // Its pipe must be emptied, or it could not end.
        for line in self.events.by_ref() {
            line.unwrap();
        }
        let status = self.program.0.wait().unwrap();
        let _ = self.watch.send(());
        Outcome::of(status, self.stderr.join().unwrap(), &self.state_dir)
    }
}

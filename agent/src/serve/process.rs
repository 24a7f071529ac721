//! Processes: each in a group of its own, that can be ended as a whole, with bounded output.

use super::control::{Control, Ended};
use crate::protocol::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How many bytes of each output stream are kept; the rest is read, streamed and counted as lost.
pub const CAPTURE_CAP: usize = 2 << 20;

/// How long a group has between TERM and KILL (rollout.md R2).
const TERM_GRACE: Duration = Duration::from_secs(5);

/// How long output may still come after the process itself has ended: what a daemon that it left behind writes later is not its answer.
const DRAIN: Duration = Duration::from_millis(100);

/// A process that could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not start.
    #[error("cannot start {program}: {source}")]
    Start {
        /// What was to run.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The request was cancelled; the group is ended.
    #[error("{program} was cancelled and its process group ended")]
    Cancelled {
        /// What ran.
        program: String,
    },
    /// The timeout passed; the group is ended.
    #[error("{program} ran into the task's timeout and its process group was ended")]
    TimedOut {
        /// What ran.
        program: String,
    },
    /// The system refused to wait or read.
    #[error("cannot follow {program}: {source}")]
    Follow {
        /// What ran.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// What a process left.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Exit code; 128 plus the signal's number if one ended it, as shells have it.
    pub rc: i32,
    /// Standard output, at most [`CAPTURE_CAP`] bytes.
    pub stdout: Vec<u8>,
    /// Standard error, at most [`CAPTURE_CAP`] bytes.
    pub stderr: Vec<u8>,
    /// How many bytes of output went over the cap.
    pub lost: u64,
    /// How long it ran.
    pub elapsed: Duration,
}

impl Finished {
    /// Whether it exited with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.rc == 0
    }

    /// Standard output as text.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// A process to run. No shell, no start-up files; standard input is empty unless given.
#[derive(Debug)]
pub struct Process {
    argv: Vec<OsString>,
    environment: BTreeMap<String, String>,
    directory: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
    control: Control,
}

impl Process {
    /// A process of this program and these arguments, under a request's control.
    pub fn new<S: AsRef<OsStr>>(argv: impl IntoIterator<Item = S>, control: &Control) -> Self {
        Self {
            argv: argv.into_iter().map(|word| word.as_ref().to_owned()).collect(),
            environment: BTreeMap::new(),
            directory: None,
            stdin: None,
            control: control.quiet(),
        }
    }

    /// Adds to the environment.
    #[must_use]
    pub fn environment(mut self, more: &BTreeMap<String, String>) -> Self {
        self.environment.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
        self
    }

    /// Adds one variable to the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Runs it in this directory.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Gives it these bytes to read.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Ends it after so long, if the request's own timeout is not nearer.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.control = self.control.within(limit);
        self
    }

    /// Streams its output to the controller as it comes.
    #[must_use]
    pub fn streamed(mut self, control: &Control) -> Self {
        self.control = control.clone();
        self
    }

    /// Runs it to its end. A bad exit code is no error here.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run(self) -> Result<Finished, RunError> {
        let program = self.argv.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        let begun = Instant::now();
        let child = self.spawn().map_err(|source| RunError::Start { program: program.clone(), source })?;
        Running::new(child, self.stdin.unwrap_or_default(), self.control)
            .and_then(Running::follow)
            .map_err(|source| RunError::Follow { program: program.clone(), source })
            .and_then(|(status, ended, captured)| match ended {
                Some(Ended::Cancelled) => Err(RunError::Cancelled { program }),
                Some(Ended::TimedOut) => Err(RunError::TimedOut { program }),
                None => Ok(Finished {
                    rc: exit_code(status),
                    lost: captured.lost,
                    stdout: captured.stdout,
                    stderr: captured.stderr,
                    elapsed: begun.elapsed(),
                }),
            })
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let [program, arguments @ ..] = self.argv.as_slice() else {
            return Err(std::io::Error::new(ErrorKind::InvalidInput, "the command is empty"));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(&self.environment)
            .stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.spawn()
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

#[derive(Default)]
struct Captured {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    lost: u64,
}

/// A child being followed until it and its output have ended.
struct Running {
    child: Child,
    /// Readable when the child has ended; none before Linux 5.3, where a tick has to do.
    end: Option<OwnedFd>,
    group: Pid,
    input: Vec<u8>,
    written: usize,
    control: Control,
    captured: Captured,
    ended: Option<(Ended, Instant)>,
}

impl Running {
    fn new(mut child: Child, input: Vec<u8>, control: Control) -> std::io::Result<Self> {
        let group = Pid::from_child(&child);
        for fd in [
            child.stdin.as_ref().map(AsFd::as_fd),
            child.stdout.as_ref().map(AsFd::as_fd),
            child.stderr.as_ref().map(AsFd::as_fd),
        ]
        .into_iter()
        .flatten()
        {
            fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
        }
        if input.is_empty() {
            child.stdin = None;
        }
        let end = pidfd_open(group, PidfdFlags::empty()).ok();
        Ok(Self { child, end, group, input, written: 0, control, captured: Captured::default(), ended: None })
    }

    fn follow(mut self) -> std::io::Result<(ExitStatus, Option<Ended>, Captured)> {
        let result = self.pump();
        if result.is_err() || self.ended.is_some() {
            // The leader is not reaped yet, so that the group's id cannot be another's.
            let _gone = kill_process_group(self.group, Signal::KILL);
        }
        let status = self.child.wait()?;
        result?;
        Ok((status, self.ended.map(|(ended, _)| ended), self.captured))
    }

    fn pump(&mut self) -> std::io::Result<()> {
        let mut exited: Option<Instant> = None;
        loop {
            self.wait_ready(exited.is_some())?;
            let moved = self.transfer()?;
            let open = self.child.stdout.is_some() || self.child.stderr.is_some();
            if exited.is_none() && self.has_exited()? {
                exited = Some(Instant::now());
                self.child.stdin = None;
            }
            if let Some(since) = exited.as_mut() {
                if moved {
                    *since = Instant::now();
                }
                if !open || (since.elapsed() >= DRAIN && self.ended.is_none()) {
                    return Ok(());
                }
            }
            if self.end_if_asked() {
                return Ok(());
            }
        }
    }

    /// Sends TERM when the request is to end, and says so when the grace has passed as well.
    fn end_if_asked(&mut self) -> bool {
        match self.ended {
            None => {
                if let Some(ended) = self.control.ended() {
                    let _gone = kill_process_group(self.group, Signal::TERM);
                    self.ended = Some((ended, Instant::now()));
                }
                false
            }
            Some((_, since)) => since.elapsed() >= TERM_GRACE,
        }
    }

    fn has_exited(&self) -> std::io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.group), options)?.is_some())
    }

    fn wait_ready(&self, exited: bool) -> std::io::Result<()> {
        let stdin = self.child.stdin.as_ref().map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::OUT));
        let outputs: [Option<BorrowedFd<'_>>; 2] =
            [self.child.stdout.as_ref().map(AsFd::as_fd), self.child.stderr.as_ref().map(AsFd::as_fd)];
        let mut fds: Vec<PollFd<'_>> = stdin.into_iter().collect();
        fds.extend(outputs.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        if !exited {
            fds.extend(self.end.iter().map(|end| PollFd::new(end, PollFlags::IN)));
        }
        // The tick bounds how late a cancellation is seen, or an exit where the system does not tell.
        let tick = if exited || fds.is_empty() { 2 } else { 20 };
        let tick = Timespec { tv_sec: 0, tv_nsec: tick * 1_000_000 };
        match poll(&mut fds, Some(&tick)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn transfer(&mut self) -> std::io::Result<bool> {
        self.feed();
        let mut moved = false;
        if let Some(pipe) = self.child.stdout.as_mut() {
            let (more, open) = drain(pipe, Stream::Stdout, &self.control, &mut self.captured)?;
            moved |= more;
            if !open {
                self.child.stdout = None;
            }
        }
        if let Some(pipe) = self.child.stderr.as_mut() {
            let (more, open) = drain(pipe, Stream::Stderr, &self.control, &mut self.captured)?;
            moved |= more;
            if !open {
                self.child.stderr = None;
            }
        }
        Ok(moved)
    }

    fn feed(&mut self) {
        let Some(pipe) = self.child.stdin.as_mut() else { return };
        match pipe.write(self.input.get(self.written..).unwrap_or_default()) {
            Ok(n) => self.written += n,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            // The process does not want the rest: that is its business.
            Err(_) => self.written = self.input.len(),
        }
        if self.written >= self.input.len() {
            self.child.stdin = None;
        }
    }
}

/// Reads what is there, at most 256 KiB. Says whether something came and whether the stream is still open.
fn drain(
    pipe: &mut impl Read,
    stream: Stream,
    control: &Control,
    captured: &mut Captured,
) -> std::io::Result<(bool, bool)> {
    let mut moved = false;
    let mut buffer = [0; 16384];
    for _ in 0..16 {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok((moved, false)),
            Ok(n) => {
                moved = true;
                let bytes = buffer.get(..n).unwrap_or_default();
                control.output(stream, bytes);
                let kept = match stream {
                    Stream::Stdout => &mut captured.stdout,
                    Stream::Stderr => &mut captured.stderr,
                };
                let room = CAPTURE_CAP.saturating_sub(kept.len()).min(n);
                kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
                captured.lost += (n - room) as u64;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((moved, true))
}

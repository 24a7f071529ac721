//! The control socket of a run: what another terminal says, and what the run answers (architecture.md S14).
//!
//! One line of JSON each way: `{"v":1,"command":"pause","reason":"..."}`, `{"v":1,"ok":true,"run":"...","message":"..."}`.
//! The run's directory is its owner's alone; whoever connects must be that user or root.

use super::{
    dispatcher::Desk,
    operator::Said,
    stop::{Command, Order},
};
use crate::{
    journal::{Event, EventKind, HostState, RunDir, StopCause},
    report::{Sink, words},
    rollout::count,
};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io::{Error, Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

/// The version of what is said.
const VERSION: u32 = 1;

/// The longest line, in bytes.
const LINE: u64 = 64 * 1024;

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlRequest {
    /// The version.
    pub v: u32,
    /// The stop word.
    pub command: Command,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the run has done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlReply {
    /// The version.
    pub v: u32,
    /// It is as asked.
    pub ok: bool,
    /// The run.
    pub run: String,
    /// What it does now, or why it does not: a sentence or two.
    pub message: String,
}

/// Which hosts are at work, for answers.
#[derive(Clone, Default)]
pub(crate) struct Standing(Arc<Mutex<BTreeMap<String, HostState>>>);

impl Sink for Standing {
    fn event(&mut self, event: &Event) {
        if let EventKind::HostChanged { host, state, .. } = &event.kind {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host.clone(), *state);
        }
    }
}

impl Standing {
    fn at_work(&self) -> Vec<String> {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let busy =
            |state: &HostState| matches!(state, HostState::Running | HostState::Verifying | HostState::RollingBack);
        hosts.iter().filter(|(_, state)| busy(state)).map(|(host, _)| host.clone()).collect()
    }
}

/// The open socket; gone when dropped.
pub(crate) struct ControlSocket {
    path: PathBuf,
    _serving: AbortOnDropHandle<()>,
}

impl ControlSocket {
    /// Opens the socket of a run and serves it.
    ///
    /// # Errors
    /// System errors.
    pub(crate) fn open(dir: &RunDir, desk: Desk, standing: Standing) -> Result<Self, Error> {
        let (_held, short) = short_path(dir)?;
        let listener = UnixListener::bind(&short)?;
        let run = dir.id().to_owned();
        let serving = tokio::spawn(async move {
            let mut guests = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // Those that have ended are forgotten.
                while guests.try_join_next().is_some() {}
                let (desk, standing, run) = (desk.clone(), standing.clone(), run.clone());
                guests.spawn(tokio::time::timeout(PATIENCE, guest(stream, desk, standing, run)));
            }
        });
        Ok(Self { path: dir.path().join("control.sock"), _serving: AbortOnDropHandle::new(serving) })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A run without a controller is recognised without this, too.
        let _ = fs_err::remove_file(&self.path);
    }
}

/// A path to the socket that is short enough for the system, whatever the run's directory is called.
fn short_path(dir: &RunDir) -> Result<(OwnedFd, PathBuf), Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = rustix::fs::open(dir.path(), flags, Mode::empty())?;
    let path = Path::new("/proc/self/fd").join(held.as_raw_fd().to_string()).join("control.sock");
    Ok((held, path))
}

async fn guest(mut stream: UnixStream, desk: Desk, standing: Standing, run: String) {
    let Ok(peer) = stream.peer_cred() else { return };
    let own = rustix::process::getuid().as_raw();
    let reply = |ok, message: String| ControlReply { v: VERSION, ok, run: run.clone(), message };
    let answer = if peer.uid() == own || peer.uid() == 0 {
        let mut line = String::new();
        let read = BufReader::new((&mut stream).take(LINE)).read_line(&mut line).await;
        match serde_json::from_str::<ControlRequest>(&line) {
            _ if read.is_err() => return,
            Ok(request) if request.v == VERSION => {
                let at_work = standing.at_work();
                let user = user_name(peer.uid());
                let cause = StopCause::Operator { uid: peer.uid(), user, reason: request.reason };
                match desk.order(Order { command: request.command, cause }).await {
                    Some(said) => reply(!matches!(said, Said::Refused(_)), told(&said, &at_work, &run)),
                    None => reply(false, "The run is ending.".to_owned()),
                }
            }
            Ok(request) => reply(false, format!("Version {} is not spoken here, only {VERSION}.", request.v)),
            Err(error) => reply(false, format!("This cannot be read: {error}.")),
        }
    } else {
        reply(false, "Only the user who started the run, or root, may stop it.".to_owned())
    };
    let text = serde_json::to_string(&answer).unwrap_or_default() + "\n";
    // Whoever asked may have gone away.
    let _ = stream.write_all(text.as_bytes()).await;
}

/// The name of a local user, for people.
fn user_name(uid: u32) -> Option<String> {
    let passwd = fs_err::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// What the run does now, in words.
fn told(said: &Said, at_work: &[String], run: &str) -> String {
    let busy = match at_work {
        [] => "Nothing is under way.".to_owned(),
        hosts => format!(
            "{} first: {}.",
            count(hosts.len(), "host in flight finishes", "hosts in flight finish"),
            words::some(hosts, 5)
        ),
    };
    let how = format!("`rollgate resume {run}` goes on, `rollgate abort {run}` ends the run.");
    match said {
        Said::Paused => format!("Run {run} is paused: no new host starts. {busy} {how}"),
        Said::Held => format!("Run {run} was paused already; now it waits for you without limit. {how}"),
        Said::Aborted(then) => {
            format!("Run {run} is aborted: no new step starts. Then {}.", words::then(then))
        }
        Said::RollbackEnds => format!("Run {run} ends: no further host is rolled back."),
        Said::Resumed => format!("Run {run} goes on."),
        Said::Continued => {
            format!("Run {run} goes on: failed hosts are rolled back, the rest of their batch is kept.")
        }
        Said::RollbackGoesOn => format!("Run {run} rolls back the other hosts, too."),
        Said::Promoted => format!("The batch of run {run} is promoted: the next one begins."),
        Said::PromotedWhilePaused => {
            format!("The batch of run {run} is promoted; the run is paused, and `rollgate resume {run}` goes on.")
        }
        Said::Already(why) | Said::Refused(why) => (*why).to_owned(),
    }
}

/// Asks a run for something and waits for its answer.
///
/// # Errors
/// `ConnectionRefused` or `NotFound` where no controller listens; other system errors.
pub fn ask_run(dir: &RunDir, command: Command, reason: Option<String>) -> Result<ControlReply, Error> {
    let mut stream = connect(dir)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = serde_json::to_string(&ControlRequest { v: VERSION, command, reason })?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(LINE).read_to_string(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

/// Whether a controller listens.
pub fn is_live(dir: &RunDir) -> bool {
    connect(dir).is_ok()
}

fn connect(dir: &RunDir) -> Result<std::os::unix::net::UnixStream, Error> {
    let (_held, short) = short_path(dir)?;
    std::os::unix::net::UnixStream::connect(short)
}

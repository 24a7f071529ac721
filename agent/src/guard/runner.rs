//! The process that watches one deadline, and seeing to it that there is one.

use super::clock::Now;
use super::fire::{Fire, Shot};
use super::lease::Holder;
use super::record::{Guard, GuardLock};
use super::{GuardError, notify, units};
use crate::protocol::{GuardForm, GuardReport, GuardState};
use crate::undo::{Scope, Transaction, TxnState, UndoError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Locked for as long as a guard lives; holds its process id, for people.
const RUNNING: &str = "guard.run";

/// How often a guard looks whether its deadline has moved.
const LOOK: Duration = Duration::from_millis(500);

/// How long a new guard may take to say that it watches.
const START: Duration = Duration::from_secs(20);

/// What came of a guard's life.
#[derive(Debug)]
pub enum Ran {
    /// There was nothing to do: confirmed, reverted by somebody else, or watched by another process.
    Nothing,
    /// It has fired.
    Fired(Box<GuardReport>),
}

/// Watches a transaction's deadline and reverts it when it has passed. `detached`: in a session of its own, with a word
/// on standard output once it watches.
///
/// # Errors
/// [`UndoError`] for a record that cannot be followed: nothing is changed then.
pub fn run(state_dir: &Path, txn: &str, detached: bool) -> Result<Ran, UndoError> {
    if detached {
        rustix::process::setsid().map_err(std::io::Error::from)?;
    }
    let transaction = Transaction::open(state_dir, txn)?;
    transaction.check_private()?;
    let Some(_running) = Running::begin(&transaction.dir)? else {
        ready(detached);
        return Ok(Ran::Nothing);
    };
    let mut known = first_look(&transaction)?;
    ready(detached);
    loop {
        if !transaction.dir.join("state").exists() {
            return Ok(Ran::Nothing);
        }
        known = Guard::load(&transaction.dir, Some(&known)).unwrap_or(known);
        let now = Now::read()?;
        let is_settled =
            !known.record.is_live() || matches!(transaction.standing()?.state, TxnState::Kept | TxnState::Reverted);
        let left = known.deadline.left_ms(&now);
        if is_settled || known.is_late(&now) || known.record.state == GuardState::Reverting {
            let fire = Fire {
                state_dir,
                transaction: &transaction,
                known: Some(&known),
                by_hand: false,
                scope: Scope::Whole,
                progress: &|_| {},
            };
            match fire.fire()? {
                Shot::Done(report) => return Ok(Ran::Fired(report)),
                Shot::Held(report) if report.state == GuardState::Armed => {}
                Shot::Held(_) => return Ok(Ran::Nothing),
            }
        } else {
            std::thread::sleep(LOOK.min(Duration::from_millis(left)));
        }
    }
}

fn first_look(transaction: &Transaction) -> Result<Guard, UndoError> {
    let _lock = GuardLock::take(&transaction.dir)?;
    let guard = Guard::load(&transaction.dir, None);
    let mut guard =
        guard.ok_or_else(|| UndoError::Other(format!("transaction {} has no guard", transaction.manifest.txn)))?;
    guard.allow_reboot(&transaction.dir, &Now::read()?)?;
    Ok(guard)
}

fn ready(detached: bool) {
    if detached {
        let mut to = std::io::stdout();
        let _whoever_started_it_may_have_gone = to.write_all(b"watching\n").and_then(|()| to.flush());
    } else {
        notify::ready();
    }
}

/// Whether a guard has ever watched this transaction.
pub(super) fn has_run(dir: &Path) -> bool {
    dir.join(RUNNING).exists()
}

/// Starts a guard for the transaction, unless one lives. Returns when it watches.
pub(crate) fn ensure_running(holder: &Holder<'_>, transaction: &Transaction) -> Result<(), GuardError> {
    let dir = &transaction.dir;
    let Some(guard) = Guard::load(dir, None) else { return Ok(()) };
    if !guard.record.is_live() || is_running(dir)? {
        return Ok(());
    }
    match guard.record.form {
        GuardForm::Systemd => Ok(units::start(&transaction.manifest.txn)?),
        GuardForm::Process => spawn(holder, transaction),
    }
}

fn spawn(holder: &Holder<'_>, transaction: &Transaction) -> Result<(), GuardError> {
    let failed = |error: std::io::Error| GuardError::Unarmed(format!("its process cannot be started: {error}"));
    let mut child = Command::new(holder.agent)
        .args(["guard", "run", &transaction.manifest.txn, "--detached", "--state-dir"])
        .arg(holder.state_dir)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let said = child.stdout.take().map(word).transpose().map_err(failed)?.unwrap_or_default();
    if said.is_empty() {
        let _it_may_have_ended = child.kill();
        let _not_left_as_a_zombie = child.wait();
        return Err(GuardError::Unarmed("its process ended, or does not say that it watches".to_owned()));
    }
    // Only so that it is no zombie while this agent lives; it outlives this thread and this process.
    let reap = move || {
        let _any_end = child.wait();
    };
    let _without_a_thread_it_stays_a_zombie = std::thread::Builder::new().name("guard".to_owned()).spawn(reap);
    Ok(())
}

/// The first bytes that a new guard says; none if it says nothing.
fn word(mut from: std::process::ChildStdout) -> std::io::Result<Vec<u8>> {
    let limit = Timespec::try_from(START).ok();
    let mut ready = [PollFd::new(&from, PollFlags::IN)];
    while let Err(error) = poll(&mut ready, limit.as_ref()) {
        if error != Errno::INTR {
            return Err(error.into());
        }
    }
    let mut said = [0; 64];
    let is_there = ready.iter().any(|fd| !fd.revents().is_empty());
    let count = if is_there { from.read(&mut said)? } else { 0 };
    Ok(said.get(..count).unwrap_or_default().to_vec())
}

/// The lock of a living guard.
struct Running(#[expect(dead_code, reason = "the lock lasts as long as the descriptor")] File);

impl Running {
    /// None if another guard of this transaction lives.
    fn begin(dir: &Path) -> Result<Option<Self>, UndoError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::open(dir.join(RUNNING), flags, Mode::from_raw_mode(0o600)).map_err(std::io::Error::from)?;
        // Whoever only looks holds it for a moment.
        for _ in 0..25 {
            match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let mut file = File::from(fd);
                    file.set_len(0)?;
                    writeln!(file, "{}", std::process::id())?;
                    return Ok(Some(Self(file)));
                }
                Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
        }
        Ok(None)
    }
}

fn is_running(dir: &Path) -> Result<bool, UndoError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(dir.join(RUNNING), flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(std::io::Error::from(error).into()),
        Ok(fd) => Ok(flock(&fd, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)),
    }
}

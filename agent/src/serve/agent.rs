//! The agent behind the channel: its state directory, and what it answers to each call.

use super::control::Control;
use super::turn::Turns;
use super::{blobs, sudo_log};
use crate::guard::{self, Holder};
use crate::modules::{CheckClass, spec};
use crate::protocol::{
    AgentError, AgentErrorKind, Answer, Call, Hello, Mode, PROTOCOL_VERSION, Progress, RevertedStep, TxnOpen, Welcome,
};
use crate::undo::{
    Accounts, Generation, HostLock, Revert, Scope, Transaction, TxnState, UndoError, boot_identity, make_private,
    now_ms, preview, prune, revert, verify,
};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why an agent cannot serve. It says so on standard error and ends.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The first frame was no [`Hello`], or a frame could not be read.
    #[error("the controller does not speak this protocol: {0}")]
    Protocol(String),
    /// The state directory cannot be used.
    #[error("the state directory {path} cannot be used: {reason}")]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The host does not tell what the agent has to know.
    #[error(transparent)]
    Host(#[from] UndoError),
}

/// An agent at work for one run.
#[derive(Debug)]
pub struct Agent {
    pub(super) state_dir: PathBuf,
    pub(super) run: String,
    pub(super) turns: Turns,
    pub(super) accounts: Accounts,
    path: PathBuf,
}

impl Agent {
    /// Prepares the state directory: `/var/lib/rollgate` (0711, its records 0700) for root, `~/.local/state/rollgate`
    /// (0700) for others, or the one asked for.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn open(hello: &Hello) -> Result<Self, ServeError> {
        let state_dir = match &hello.state_dir {
            Some(path) => PathBuf::from(path),
            None => default_state_dir().ok_or_else(|| ServeError::StateDir {
                path: PathBuf::from("~/.local/state/rollgate"),
                reason: "HOME is not set".to_owned(),
            })?,
        };
        prepare(&state_dir).map_err(|reason| ServeError::StateDir { path: state_dir.clone(), reason })?;
        blobs::prune(&state_dir);
        let path = std::env::current_exe().unwrap_or_default();
        Ok(Self { state_dir, run: hello.run.clone(), turns: Turns::default(), accounts: Accounts::default(), path })
    }

    /// The same agent with the account files of another directory than `/etc`.
    #[must_use]
    pub fn with_accounts(mut self, accounts: Accounts) -> Self {
        self.accounts = accounts;
        self
    }

    /// The answer to [`Hello`].
    ///
    /// # Errors
    /// [`ServeError::Host`] where the host's records or /proc cannot be read.
    pub fn welcome(&self) -> Result<Welcome, ServeError> {
        let open = Transaction::unfinished(&self.state_dir)?;
        let other = open.into_iter().map(|transaction| transaction.manifest).find(|manifest| manifest.run != self.run);
        Ok(Welcome {
            state_dir: self.state_dir.display().to_string(),
            boot: boot_identity()?,
            generation: Generation::read(&self.state_dir)?.generation,
            open_txn: other.map(|manifest| (manifest.txn, manifest.run)),
            ..greeting(&self.path)
        })
    }

    /// Does one piece of work. Calls that change something take turns.
    ///
    /// # Errors
    /// [`AgentError`]; a module that ran and failed is no error but a report.
    pub fn answer(&self, call: &Call, control: &Control, progress: &dyn Fn(Progress)) -> Result<Answer, AgentError> {
        let _turn = if changes(call) { Some(self.turns.take(control)?) } else { None };
        match call {
            Call::Task(task) => self.task(task, control).map(|report| Answer::Task(Box::new(report))),
            Call::Facts => Ok(Answer::Facts(crate::facts::gather(control))),
            Call::Probe(probe) => Ok(Answer::Probe(crate::probe::run(probe, control))),
            Call::Blob(part) => blobs::stage(&self.state_dir, part).map(|()| Answer::Done),
            Call::TxnOpen(open) => self.open_transaction(open, control),
            Call::Revert { txn } => self.revert(txn, control, progress),
            Call::Verify { txn } => {
                let report = verify(&self.state_dir, txn, &self.accounts, control);
                report.map(Answer::Verify).map_err(record_error)
            }
            Call::TxnKeep { txn, keep_undo_s } => self.keep(txn, *keep_undo_s, control),
            Call::GuardArm(_)
            | Call::GuardExtend { .. }
            | Call::GuardConfirm { .. }
            | Call::GuardCancel { .. }
            | Call::GuardStatus { .. } => self.guard(call, control),
            Call::RevertPreview { txn } => {
                let found = preview(&self.state_dir, txn, &self.accounts, control);
                found.map(Answer::RevertPreview).map_err(record_error)
            }
            Call::UndoTasks(step) => self.undo_tasks(step, control).map(|()| Answer::Done),
        }
    }

    fn open_transaction(&self, open: &TxnOpen, control: &Control) -> Result<Answer, AgentError> {
        if open.run != self.run {
            let message = format!("a transaction of run {} was asked for on a channel of run {}", open.run, self.run);
            return Err(AgentError { kind: AgentErrorKind::Fenced, message });
        }
        let _lock = HostLock::take(&self.state_dir, control).map_err(record_error)?;
        // Whose guard has died is reverted by a new one; until then nobody else changes this host.
        guard::revive(&self.holder());
        Transaction::create(&self.state_dir, open, &self.path).map_err(record_error)?;
        Ok(Answer::Done)
    }

    fn holder(&self) -> Holder<'_> {
        Holder { state_dir: &self.state_dir, agent: &self.path, run: Some(&self.run) }
    }

    fn guard(&self, call: &Call, control: &Control) -> Result<Answer, AgentError> {
        let holder = self.holder();
        let report = match call {
            Call::GuardArm(arm) => {
                let _lock = HostLock::take(&self.state_dir, control).map_err(record_error)?;
                guard::arm(&holder, arm)?
            }
            Call::GuardExtend { txn, nonce } => guard::extend(&holder, txn, nonce)?,
            Call::GuardConfirm { txn, nonce } => guard::confirm(&holder, txn, Some(nonce), control)?,
            Call::GuardCancel { txn, nonce } => guard::cancel(&holder, txn, nonce)?,
            Call::GuardStatus { txn } => return Ok(Answer::Guards(guard::status(&holder, txn.as_deref())?)),
            _ => {
                let message = "no request to a guard".to_owned();
                return Err(AgentError { kind: AgentErrorKind::Internal, message });
            }
        };
        Ok(Answer::Guard(Box::new(report)))
    }

    fn revert(&self, txn: &str, control: &Control, progress: &dyn Fn(Progress)) -> Result<Answer, AgentError> {
        let _lock = HostLock::take(&self.state_dir, control).map_err(record_error)?;
        guard::outlive_reboot(&self.holder());
        let report = revert(&Revert {
            state_dir: &self.state_dir,
            txn,
            accounts: self.accounts.clone(),
            // What a revert has begun, it ends: a host half put back helps nobody.
            control: control.clone().critical(),
            scope: Scope::Whole,
            progress: &|step: &RevertedStep| progress(Progress::Reverted(step.clone())),
        });
        let report = report.map_err(record_error)?;
        Transaction::open(&self.state_dir, txn)
            .and_then(|transaction| guard::settle_reverted(&transaction))
            .map_err(record_error)?;
        Ok(Answer::Revert(report))
    }

    fn keep(&self, txn: &str, keep_undo_s: u64, control: &Control) -> Result<Answer, AgentError> {
        let _lock = HostLock::take(&self.state_dir, control).map_err(record_error)?;
        match Transaction::open(&self.state_dir, txn) {
            Ok(transaction) => {
                let ends =
                    matches!(transaction.standing().map_err(record_error)?.state, TxnState::Reverted | TxnState::Kept);
                if transaction.manifest.run != self.run && !ends {
                    let message = format!("transaction {txn} is still open and of run {}", transaction.manifest.run);
                    return Err(AgentError { kind: AgentErrorKind::Fenced, message });
                }
                guard::forbid_keeping(&transaction).map_err(record_error)?;
                transaction.keep(keep_undo_s).map_err(record_error)?;
            }
            // Kept and pruned already: the same request again.
            Err(UndoError::NoTransaction(_)) => {}
            Err(error) => return Err(record_error(error)),
        }
        prune(&self.state_dir).map_err(record_error)?;
        Ok(Answer::Done)
    }
}

/// What an agent can say without a state directory, to a controller of another protocol.
pub(super) fn greeting(path: &Path) -> Welcome {
    Welcome {
        protocol: PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uid: rustix::process::geteuid().as_raw(),
        path: path.display().to_string(),
        state_dir: String::new(),
        boot: String::new(),
        clock_ms: now_ms(),
        generation: 0,
        open_txn: None,
        sudo_records: std::env::var_os("SUDO_USER").and_then(|_| sudo_log::recording(Path::new("/etc"))),
    }
}

fn changes(call: &Call) -> bool {
    match call {
        Call::Task(task) => {
            task.mode == Mode::Apply && spec(&task.call.module).is_none_or(|spec| spec.check != CheckClass::ReadOnly)
        }
        Call::TxnOpen(_)
        | Call::Revert { .. }
        | Call::TxnKeep { .. }
        | Call::Blob(_)
        | Call::GuardArm(_)
        | Call::UndoTasks(_) => true,
        // The guard's own lock orders the others: they may not wait for a step under way.
        Call::Facts
        | Call::Probe(_)
        | Call::Verify { .. }
        | Call::GuardExtend { .. }
        | Call::GuardConfirm { .. }
        | Call::GuardCancel { .. }
        | Call::GuardStatus { .. }
        | Call::RevertPreview { .. } => false,
    }
}

pub(super) fn record_error(error: UndoError) -> AgentError {
    let kind = match &error {
        UndoError::Fenced(_) | UndoError::NoTransaction(_) => AgentErrorKind::Fenced,
        UndoError::Repeated(_) => AgentErrorKind::Internal,
        UndoError::Io(_) | UndoError::File(_) | UndoError::Other(_) => AgentErrorKind::Record,
    };
    AgentError { kind, message: error.to_string() }
}

/// Root's state directory, the one that systemd's units know.
pub(crate) const STATE_DIR: &str = "/var/lib/rollgate";

/// `/var/lib/rollgate` for root, a directory of their own for others; none where the home directory is not known.
#[must_use]
pub fn default_state_dir() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from(STATE_DIR));
    }
    Some(Path::new(&std::env::var_os("HOME")?).join(".local/state/rollgate"))
}

/// Makes the directory, or refuses one that another user owns or may write to.
fn prepare(path: &Path) -> Result<(), String> {
    if !path.is_absolute() {
        return Err("it is no absolute path".to_owned());
    }
    let is_new = !path.exists();
    make_private(path).map_err(|error| error.to_string())?;
    let uid = rustix::process::geteuid();
    if is_new && uid.is_root() {
        // Others may pass to agents and sockets below, and see nothing (S4).
        let mode = std::fs::Permissions::from_mode(0o711);
        fs_err::set_permissions(path, mode).map_err(|error| error.to_string())?;
    }
    let metadata = fs_err::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_dir() || metadata.uid() != uid.as_raw() || metadata.mode() & 0o022 != 0 {
        return Err(format!("it must be a directory of user {} that nobody else can write to", uid.as_raw()));
    }
    make_private(&path.join("txn")).map_err(|error| error.to_string())
}

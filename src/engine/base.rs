//! What every run has, whatever it does on its hosts: who runs it, where it is kept, who sees it, what stops it.

use super::{
    control::{ControlSocket, Standing},
    dispatcher::{Desk, Dispatcher, Parts},
    stop::Signal,
};
use crate::{
    clock::Clock,
    error::Error,
    journal::{EventKind, Lock, RunDir, Writer},
    report::Sink,
    secrets::Redactor,
};
use tokio::sync::mpsc;

/// A run before it begins.
pub struct RunBase {
    /// The agent's digest, for the first event.
    pub agent_sha256: String,
    /// The local user, for the first event.
    pub user: String,
    /// Where the run is kept, already made by the caller; the run holds its lock; none: no journal (a plan).
    pub dir: Option<RunDir>,
    /// The run's id, which the hosts record.
    pub run_id: String,
    /// Where the events go, beside the journal.
    pub sinks: Vec<Box<dyn Sink>>,
    /// What stops the run from outside: [`super::listen`].
    pub signals: mpsc::Receiver<Signal>,
}

/// What a run does, for its first event.
pub(crate) struct Purpose {
    /// `run`, `plan` or `rollback`.
    pub(crate) command: String,
    pub(crate) playbook: String,
    pub(crate) inventory: Vec<String>,
    pub(crate) check: bool,
}

/// A run that has begun.
pub(crate) struct Opened {
    pub(crate) run_id: String,
    pub(crate) desk: Desk,
    pub(crate) clock: Clock,
    /// The key of step digests.
    pub(crate) key: Vec<u8>,
    control: Option<ControlSocket>,
    _held: Option<Lock>,
}

impl RunBase {
    /// Begins: the journal, the lock, the dispatcher, the first event, and the socket for other terminals.
    ///
    /// # Errors
    /// The journal cannot be begun.
    pub(crate) fn open(self, purpose: Purpose, redactor: Redactor) -> Result<Opened, Error> {
        let (journal, key) = match &self.dir {
            Some(dir) => {
                (Some(Writer::create(dir).map_err(anyhow::Error::from)?), dir.key().map_err(anyhow::Error::from)?)
            }
            None => (None, self.run_id.clone().into_bytes()),
        };
        let held = self.dir.as_ref().map(RunDir::lock).transpose().map_err(anyhow::Error::from)?;
        let standing = Standing::default();
        let mut sinks = self.sinks;
        sinks.push(Box::new(standing.clone()));
        let clock = Clock::system();
        let undoes = purpose.command == "rollback";
        let desk =
            Dispatcher::start(Parts { clock: clock.clone(), redactor, sinks, journal, signals: self.signals, undoes });
        desk.emit(EventKind::RunStarted {
            run: self.run_id.clone(),
            command: purpose.command,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            playbook: purpose.playbook,
            inventory: purpose.inventory,
            check: purpose.check,
            user: self.user,
            agent_sha256: self.agent_sha256,
        });
        let control = self.dir.as_ref().map(|dir| ControlSocket::open(dir, desk.clone(), standing)).transpose();
        let control = control.unwrap_or_else(|error| {
            let message =
                format!("No other terminal can pause or abort this run: its control socket cannot be made: {error}.");
            desk.emit(EventKind::Warning { host: None, message });
            None
        });
        Ok(Opened { run_id: self.run_id, desk, clock, key, control, _held: held })
    }
}

impl Opened {
    /// The last event has been said: no other terminal is listened to any more.
    pub(crate) fn deaf(&mut self) {
        self.control = None;
    }
}

//! A host in a run: its connection, its counters, its open transactions. One unit works at a time on one host.

use super::{
    calls,
    context::{PlayCx, RunCx, run_as},
    guard::Guard,
    values::said,
};
use crate::{
    host::{Host, HostError, RunAs},
    journal::{EventKind, Recap, StepId},
    vars::Scope,
};
use rollgate_agent::protocol::Welcome;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A transaction open on the host.
#[derive(Debug, Clone)]
pub(crate) struct Txn {
    /// 32 hexadecimal digits.
    pub(crate) id: String,
    /// Whose agent keeps it.
    pub(crate) run_as: RunAs,
    /// The run's generation there.
    pub(crate) generation: u64,
    /// Its guard, while it is held.
    pub(crate) guard: Option<Guard>,
}

/// A host and what the run knows of it.
pub(crate) struct Unit {
    pub(crate) run: Arc<RunCx>,
    pub(crate) play: Arc<PlayCx>,
    pub(crate) name: String,
    pub(crate) host: Arc<dyn Host>,
    /// What the agents opened so far said.
    pub(crate) welcomes: BTreeMap<RunAs, Welcome>,
    /// The number of the last step.
    pub(crate) seq: u64,
    pub(crate) recap: Recap,
    /// Handlers notified and not run yet, by their position.
    pub(crate) notified: BTreeSet<usize>,
    /// Transactions in the order of their opening.
    pub(crate) txns: Vec<Txn>,
    /// Something may be other than it was: a mutating step is under way, changed something, failed, or its outcome is not
    /// known. Shared with the play, which must know it even when the unit's task is dropped.
    pub(crate) touched: Arc<AtomicBool>,
    /// A guard of the host waits for a confirmation. Shared for the same reason.
    pub(crate) armed: Arc<AtomicBool>,
    /// A step changed something; in check mode would.
    pub(crate) changed: bool,
}

impl Unit {
    /// A host at the beginning of a run.
    pub(crate) fn new(run: Arc<RunCx>, play: Arc<PlayCx>, name: String, host: Arc<dyn Host>) -> Self {
        Self {
            run,
            play,
            name,
            host,
            welcomes: BTreeMap::new(),
            seq: 0,
            recap: Recap::default(),
            notified: BTreeSet::new(),
            txns: Vec::new(),
            touched: Arc::default(),
            armed: Arc::default(),
            changed: false,
        }
    }

    /// Takes the host into another play.
    pub(crate) fn begin_play(&mut self, play: Arc<PlayCx>) {
        self.play = play;
        self.notified.clear();
        self.txns.clear();
        self.touched = Arc::default();
        self.armed = Arc::default();
        self.changed = false;
    }

    /// Whether something may be other than it was.
    pub(crate) fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Acquire)
    }

    /// The host's variables as the play's tasks begin with them.
    pub(crate) fn scope(&self) -> Scope {
        self.run.world.scope(&self.play.play, &self.name)
    }

    /// The number of a new step.
    pub(crate) fn next_step(&mut self) -> StepId {
        self.seq += 1;
        StepId { play: self.play.index, host: self.name.clone(), seq: self.seq }
    }

    /// Whom the play runs as on this host.
    pub(crate) fn play_run_as(&self) -> Result<RunAs, String> {
        run_as(&self.play.play.inherited, &self.run.options, &self.scope())
    }

    /// The agent of a user, started if it is not yet.
    pub(crate) async fn open(&mut self, run_as: &RunAs) -> Result<Welcome, HostError> {
        if let Some(welcome) = self.welcomes.get(run_as) {
            return Ok(welcome.clone());
        }
        let welcome = calls::open(self.host.as_ref(), run_as).await?;
        if self.welcomes.is_empty() {
            let skew = i64::try_from(welcome.clock_ms).unwrap_or(i64::MAX) - self.run.clock.wall().as_millisecond();
            self.run.desk.emit(EventKind::HostConnected {
                host: self.name.clone(),
                clock_skew_ms: skew,
                boot: welcome.boot.clone(),
            });
            if let Some((txn, run)) = &welcome.open_txn {
                self.warn(format!(
                    "Run {run} has left transaction {txn} open here: its change is neither kept nor undone."
                ));
            }
        }
        if let Some(line) = &welcome.sudo_records {
            self.warn(format!(
                "sudo may record all that is sent to this host, secrets too ({line}); docs/ssh.md says how to exempt a user."
            ));
        }
        self.welcomes.insert(run_as.clone(), welcome.clone());
        Ok(welcome)
    }

    /// Pre-flight: connect, become, agent. The error says what to do where something can be done.
    pub(crate) async fn preflight(&mut self) -> Result<(), String> {
        let run_as = self.play_run_as()?;
        self.open(&run_as).await.map(drop).map_err(|error| explained(&error))
    }

    /// Notes a warning about this host.
    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.run.desk.emit(EventKind::Warning { host: Some(self.name.clone()), message: message.into() });
    }

    /// The text of a file made from a template on the controller.
    pub(crate) fn template_file(
        &self,
        scope: &Scope,
        path: &std::path::Path,
    ) -> Result<crate::template::Rendered<String>, String> {
        scope.template_file(path).map_err(|error| said(&error))
    }
}

/// An error with its hint.
pub(crate) fn explained(error: &HostError) -> String {
    match error {
        HostError::Unreachable { hint: Some(hint), .. } => format!("{error}. {hint}"),
        _ => error.to_string(),
    }
}

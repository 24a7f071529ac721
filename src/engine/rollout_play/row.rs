//! One host of the play as its driver sees it.

use crate::{
    engine::unit::Unit,
    journal::HostState,
    playbook::{Probe, ProbeMode},
    rollout::{HealthyTime, verdict::Verdict},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a host's task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Nothing: the unit is here.
    Nothing,
    /// Connecting, or its baseline rounds.
    Prepare,
    /// Its list of tasks.
    List,
    /// Its probes, until it has been healthy for long enough.
    Verify,
    /// Its probes, for the bake.
    Bake,
    /// The confirmation of its change.
    Confirm,
    /// Its rollback.
    Rollback,
    /// Closing its transaction.
    Keep,
}

/// A host.
pub(super) struct Row {
    pub(super) batch: usize,
    pub(super) state: HostState,
    pub(super) reason: Option<String>,
    /// None while its task has it.
    pub(super) unit: Option<Box<Unit>>,
    pub(super) doing: Doing,
    pub(super) touched: Arc<AtomicBool>,
    pub(super) armed: Arc<AtomicBool>,
    /// It has been healthy for long enough, and its confirmation is due.
    pub(super) due: bool,
    pub(super) cancel: CancellationToken,
    /// When it was started.
    pub(super) began: Option<Instant>,
    /// Its change was put back in the rehearsal.
    pub(super) rehearsed: bool,
    /// When its last step ended.
    pub(super) last_step: Instant,
    /// How long it has been healthy; none unless it is being verified.
    pub(super) healthy: Option<HealthyTime>,
    /// When it must be healthy.
    pub(super) deadline: Option<Instant>,
    /// The verdicts before its change.
    pub(super) before: BTreeMap<String, Verdict>,
    /// The last verdicts after it.
    pub(super) latest: BTreeMap<String, Verdict>,
    /// Why it has failed, as soon as its task gives it back.
    pub(super) failing: Option<String>,
    /// A probe or trigger found it sick after its change (R6: then it is put back whatever its batch).
    pub(super) sick: bool,
    /// An operator has said that it stays as it is.
    pub(super) left: bool,
    /// It was out of reach after its change: its rollback may take long, and says nothing of the environment.
    pub(super) lost: bool,
    /// Waits for its turn to be rolled back.
    pub(super) queued: bool,
    /// What cannot be told of its health: its change is kept, and an operator decides.
    pub(super) inconclusive: Option<String>,
    /// That comes from outside host and change.
    pub(super) environment: bool,
}

impl Row {
    pub(super) fn new(batch: usize, unit: Unit) -> Self {
        Self {
            batch,
            state: HostState::Pending,
            reason: None,
            touched: Arc::clone(&unit.touched),
            armed: Arc::clone(&unit.armed),
            due: false,
            unit: Some(Box::new(unit)),
            doing: Doing::Nothing,
            cancel: CancellationToken::new(),
            began: None,
            rehearsed: false,
            last_step: Instant::now(),
            healthy: None,
            deadline: None,
            before: BTreeMap::new(),
            latest: BTreeMap::new(),
            failing: None,
            sick: false,
            left: false,
            lost: false,
            queued: false,
            inconclusive: None,
            environment: false,
        }
    }

    /// Whether something on it may be other than it was.
    pub(super) fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Acquire)
    }

    /// Whether it puts itself back unless its change is confirmed.
    pub(super) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Acquire)
    }

    /// Whether it runs its tasks or is being verified.
    pub(super) fn in_flight(&self) -> bool {
        matches!(self.state, HostState::Running | HostState::Verifying)
    }

    /// Those of these probes that were healthy before the change.
    pub(super) fn healthy_before(&self, probes: &[Probe]) -> Vec<String> {
        let enforced = probes.iter().filter(|probe| probe.mode == ProbeMode::Enforce);
        let healthy = enforced.filter(|probe| self.before.get(&probe.name) == Some(&Verdict::Healthy));
        healthy.map(|probe| probe.name.clone()).collect()
    }
}

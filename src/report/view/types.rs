//! What the view holds.

use crate::{
    journal::{HostState, ProbePhase, Recap, StepInfo, StepStatus, StopCause},
    rollout::verdict::{Evidence, Verdict},
};
use rollgate_agent::protocol::{Diff, RevertedStep, WorkProgress};
use std::collections::BTreeMap;

/// A run as far as its events tell. Applying an event twice changes nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunView {
    /// Keep diffs, messages and rounds of every step, for reports; without, only what a screen shows.
    pub(super) detailed: bool,
    pub(super) seen: u64,
    /// Milliseconds since the run began, at the last event.
    pub elapsed_ms: u64,
    /// The first event.
    pub head: Option<Head>,
    /// Plays in order.
    pub plays: Vec<PlayView>,
    /// Hosts by name.
    pub hosts: BTreeMap<String, HostView>,
    /// Host names in the order in which they first appeared.
    pub order: Vec<String>,
    /// Triggers that fired.
    pub triggers: Vec<TriggerView>,
    /// What an operator is waited for, and until when, in milliseconds of the run.
    pub waits: Option<(String, Option<u64>)>,
    /// Pauses, resumptions, aborts and kills.
    pub stops: Vec<StopView>,
    /// Rehearsals of the rollback.
    pub rehearsals: Vec<RehearsalView>,
    /// Warnings, with their hosts.
    pub warnings: Vec<(Option<String>, String)>,
    /// Exit code, once the run has ended.
    pub exit_code: Option<u8>,
}

/// What the first event said.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// The run's id.
    pub run: String,
    /// `run` or `plan`.
    pub command: String,
    /// The tool's version.
    pub version: String,
    /// The playbook.
    pub playbook: String,
    /// Inventory sources.
    pub inventory: Vec<String>,
    /// Check mode.
    pub check: bool,
    /// The local user.
    pub user: String,
    /// When it began.
    pub at: jiff::Timestamp,
}

/// A play.
#[derive(Debug, Clone, PartialEq)]
pub struct PlayView {
    /// Index in the playbook.
    pub index: usize,
    /// Name.
    pub name: String,
    /// Has a `rollout:` stanza.
    pub rollout: bool,
    /// Thresholds as resolved.
    pub resolved: Vec<String>,
    /// Batches in order.
    pub batches: Vec<BatchView>,
    /// Over.
    pub ended: bool,
}

/// A batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchView {
    /// Its hosts.
    pub hosts: Vec<String>,
    /// Where it stands.
    pub state: BatchState,
}

/// Where a batch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchState {
    /// Not begun.
    Waiting,
    /// Hosts run their tasks.
    Running,
    /// All hosts are done; probes go on for so many milliseconds since that moment of the run.
    Baking {
        /// When the bake began, in milliseconds of the run.
        since_ms: u64,
        /// How long it lasts, in milliseconds.
        bake_ms: u64,
    },
    /// Over: `promoted`, `aborted`, `continued`.
    Ended(String),
}

/// A host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostView {
    /// Its state.
    pub state: HostState,
    /// Why, where it is not plain.
    pub reason: Option<String>,
    /// Every state with the moment of its beginning, in milliseconds of the run.
    pub timeline: Vec<(u64, HostState)>,
    /// Counts as in Ansible's recap.
    pub recap: Recap,
    /// The step under way: where, what, since when.
    pub current: Option<(usize, u64, StepInfo, u64)>,
    /// How far that step has come, where it says so.
    pub progress: Option<WorkProgress>,
    /// Steps that ended, in order; all of them if detailed, else none.
    pub steps: Vec<StepView>,
    /// The latest verdict of each probe.
    pub probes: BTreeMap<String, Verdict>,
    /// Every round, if detailed.
    pub rounds: Vec<RoundView>,
    /// Transactions opened, in order.
    pub txns: Vec<String>,
    /// Its rollback.
    pub rollback: Option<RollbackView>,
    /// What each play's `rollback:` tasks would do: play, line.
    pub would_roll_back: Vec<(usize, String)>,
    /// The first failure: task, place, message.
    pub failure: Option<(String, String, String)>,
}

/// A step that ended or was never begun.
#[derive(Debug, Clone, PartialEq)]
pub struct StepView {
    /// The play.
    pub play: usize,
    /// Number on this host in this play.
    pub seq: u64,
    /// What it was; none for a step that never was an intent.
    pub info: Option<StepInfo>,
    /// The task's name.
    pub task: String,
    /// How it ended.
    pub status: StepStatus,
    /// What changed or would.
    pub diff: Vec<Diff>,
    /// Message or reason.
    pub message: Option<String>,
    /// Notes.
    pub warnings: Vec<String>,
    /// When it ended, in milliseconds of the run.
    pub ended_ms: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// A round of a probe.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundView {
    /// When, in milliseconds of the run.
    pub at_ms: u64,
    /// The probe.
    pub probe: String,
    /// When in the host's life.
    pub phase: ProbePhase,
    /// The verdict.
    pub verdict: Verdict,
    /// What was measured, without the document.
    pub evidence: Evidence,
}

/// A rollback.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RollbackView {
    /// The last attempt.
    pub attempt: u32,
    /// What was done.
    pub steps: Vec<RevertedStep>,
    /// Objects compared.
    pub compared: u64,
    /// Objects that differ.
    pub different: Vec<String>,
    /// Why it failed.
    pub failed: Option<String>,
    /// There was nothing to do.
    pub no_op: bool,
    /// It has ended.
    pub ended: bool,
}

/// A rehearsal of the rollback on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RehearsalView {
    /// The host.
    pub host: String,
    /// When the host was put back.
    pub at: jiff::Timestamp,
    /// How long the change took until the host was healthy, in milliseconds.
    pub applied_ms: u64,
    /// Objects compared with their state before.
    pub compared: u64,
    /// The probes that were healthy again.
    pub probes: Vec<String>,
    /// How long putting back and comparing took, in milliseconds.
    pub rolled_back_ms: u64,
    /// The rollback has ended.
    pub ended: bool,
    /// Why it failed.
    pub failed: Option<String>,
    /// The host was changed again and healthy.
    pub again: bool,
}

/// A trigger that fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerView {
    /// When.
    pub at: jiff::Timestamp,
    /// Its name.
    pub name: String,
    /// The host, in host scope.
    pub host: Option<String>,
    /// The condition.
    pub when: String,
    /// Its values.
    pub evidence: String,
    /// What followed.
    pub action: String,
    /// Only reported.
    pub dry_run: bool,
}

/// A pause, abort, or kill, or the end of a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopView {
    /// When.
    pub at: jiff::Timestamp,
    /// `paused`, `resumed`, `aborted`, `killed`.
    pub what: &'static str,
    /// Why.
    pub cause: StopCause,
    /// The evidence of an abort.
    pub evidence: String,
    /// What follows an abort.
    pub then: String,
}

impl Default for HostView {
    fn default() -> Self {
        Self {
            state: HostState::Pending,
            reason: None,
            timeline: Vec::new(),
            recap: Recap::default(),
            current: None,
            progress: None,
            steps: Vec::new(),
            probes: BTreeMap::new(),
            rounds: Vec::new(),
            txns: Vec::new(),
            rollback: None,
            would_roll_back: Vec::new(),
            failure: None,
        }
    }
}

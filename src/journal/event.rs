//! The public events: what happens in a run, one linear stream. Versioned; kinds and fields are only ever added.

use super::recap::FinalHost;
use crate::{
    host::Target,
    rollout::verdict::{Evidence, Verdict},
};
use rollgate_agent::protocol::{Diff, GuardCause, GuardForm, RevertedStep, TxnStanding, WouldUndo};
use serde::{Deserialize, Serialize};

/// The version of the event format.
pub const EVENT_VERSION: u32 = 1;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the run, from 1, without gaps: the order of the journal.
    pub seq: u64,
    /// The controller's clock, RFC 3339 in UTC. For people; nothing is decided by it.
    pub at: jiff::Timestamp,
    /// Milliseconds since the run began, monotonic.
    pub elapsed_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The seven states in which a host can end (architecture.md), and the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// Waits for its batch. Not final.
    Pending,
    /// Runs its tasks. Not final.
    Running,
    /// Tasks done, not yet healthy for `min_healthy_time`. Not final.
    Verifying,
    /// Healthy, waits for its batch. Not final.
    Healthy,
    /// Is being rolled back. Not final.
    RollingBack,
    /// Nothing had to change.
    Unchanged,
    /// Changed and healthy.
    Changed,
    /// Failed, and not rolled back (a play without `rollout:`, or nothing was changed before it failed).
    Failed,
    /// As before, verified.
    RolledBack,
    /// Could not be put back.
    RollbackFailed,
    /// Nobody knows: out of reach after its first mutating step.
    Unknown,
    /// No mutating step was begun.
    NeverStarted,
}

impl HostState {
    /// Whether a host can end in it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running | Self::Verifying | Self::Healthy | Self::RollingBack)
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Nothing to change.
    Ok,
    /// Changed something; in check mode: would change.
    Changed,
    /// In check mode: cannot know.
    Unknown,
    /// Not run: `when`, tags, `creates`.
    Skipped,
    /// Failed.
    Failed,
    /// Failed, `ignore_errors`.
    Ignored,
    /// The host was out of reach.
    Unreachable,
}

/// Which step of which host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepId {
    /// Index of the play in the playbook, from 0.
    pub play: usize,
    /// The host.
    pub host: String,
    /// The step's number on this host in this run, from 1. `step` on the wire: `seq` is the event's own position.
    #[serde(rename = "step")]
    pub seq: u64,
}

/// What a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepInfo {
    /// The task's name, rendered and redacted.
    pub task: String,
    /// The module.
    pub module: String,
    /// Where the task stands: `file:line:column`.
    pub place: String,
    /// The loop item's label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// The attempt, from 1, of a task with `until` or `retries`.
    pub attempt: u32,
    /// A handler's run.
    pub handler: bool,
    /// Whether it may change something on the host.
    pub mutating: bool,
    /// Keyed fingerprint of module and parameters (S5), to recognise the same step on resume.
    pub digest: String,
}

/// Why something stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum StopCause {
    /// A signal to the controller.
    Signal {
        /// `SIGINT`, `SIGTERM`.
        signal: String,
    },
    /// A trigger.
    Trigger {
        /// Its name.
        trigger: String,
        /// The host whose measurements fired it; none for batch and run scope.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
    /// More failures than `max_fail`, or more than `max_fail_percentage`.
    Failures {
        /// How many hosts have failed.
        failed: usize,
        /// How many were tolerated.
        tolerated: usize,
    },
    /// The disruption budget is used up by hosts that nobody has restored, or that were sick before (R4).
    Budget {
        /// How many hosts are disrupted.
        disrupted: usize,
        /// How many may be.
        max_unavailable: usize,
    },
    /// A probe was inconclusive too often (`on_inconclusive`).
    Inconclusive {
        /// The probe.
        probe: String,
        /// The host.
        host: String,
    },
    /// The first hosts rolled back did not regain their health (R18).
    Environment,
    /// The journal cannot be written.
    Journal {
        /// The system's error.
        error: String,
    },
    /// An operator, through the control socket or another terminal.
    Operator {
        /// Local user id.
        uid: u32,
        /// Its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// Why, in the operator's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A deadline of the stanza.
    Deadline {
        /// `healthy_deadline`, `progress_deadline`.
        deadline: String,
        /// The host, if it is a host's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
    /// The rehearsal of the rollback failed.
    Rehearsal {
        /// The host.
        host: String,
    },
    /// A rollback failed (`rollout.rollback.on_failure: pause`).
    Rollback {
        /// The host that could not be put back.
        host: String,
    },
    /// A trigger's condition cannot be told (`on_inconclusive`).
    Unreadable {
        /// The trigger.
        trigger: String,
        /// The host.
        host: String,
    },
}

/// The kinds of event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// First event.
    RunStarted {
        /// The run's id.
        run: String,
        /// `run` or `plan`.
        command: String,
        /// The tool's version.
        version: String,
        /// Playbook as given.
        playbook: String,
        /// Inventory sources as given.
        inventory: Vec<String>,
        /// Check mode.
        check: bool,
        /// Local user.
        user: String,
        /// The agent's digest.
        agent_sha256: String,
    },
    /// A play begins.
    PlayStarted {
        /// Index, from 0.
        play: usize,
        /// Name.
        name: String,
        /// Its hosts in order, batch by batch.
        batches: Vec<Vec<String>>,
        /// Whether it has a `rollout:` stanza.
        rollout: bool,
        /// Thresholds as resolved, a sentence each.
        resolved: Vec<String>,
    },
    /// A host answered for the first time.
    HostConnected {
        /// The host.
        host: String,
        /// Host clock minus controller clock, in milliseconds.
        clock_skew_ms: i64,
        /// Boot identity (R24).
        boot: String,
    },
    /// A batch begins.
    BatchStarted {
        /// The play.
        play: usize,
        /// Index, from 0.
        batch: usize,
        /// Its hosts.
        hosts: Vec<String>,
    },
    /// A host passes from one state to another.
    HostChanged {
        /// The play.
        play: usize,
        /// The host.
        host: String,
        /// Its new state.
        state: HostState,
        /// Why, where it is not plain: `excluded`, `unreachable`, `drifted`, `reverted_by_guard`, `environment`, ...
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A transaction was opened on a host.
    TxnOpened {
        /// The host.
        host: String,
        /// Its id.
        txn: String,
        /// The run's generation there.
        generation: u64,
        /// The user that the agent became, who keeps the record; none: the login user.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run_as: Option<String>,
        /// How the host was reached, so that it can be found again without the inventory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<Box<Target>>,
    },
    /// Write-ahead: a step is about to run. Nothing runs before this is on disk.
    StepIntent {
        /// Which step.
        #[serde(flatten)]
        id: StepId,
        /// What it is.
        #[serde(flatten)]
        info: StepInfo,
    },
    /// A step ended.
    StepResult {
        /// Which step.
        #[serde(flatten)]
        id: StepId,
        /// How.
        status: StepStatus,
        /// What changed or would; redacted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        diff: Vec<Diff>,
        /// Message of a failure, of `debug`, or why it was skipped; redacted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// Notes for the operator.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
    /// A step that never was an intent: skipped by `when` or tags, or done on the controller.
    StepSkipped {
        /// Which step.
        #[serde(flatten)]
        id: StepId,
        /// The task.
        task: String,
        /// Why.
        reason: String,
    },
    /// A round of a probe on a host.
    Probed {
        /// The play.
        play: usize,
        /// The host.
        host: String,
        /// The probe.
        probe: String,
        /// When in the host's life: `baseline`, `verify`, `bake`, `rollback`.
        phase: ProbePhase,
        /// The verdict.
        verdict: Verdict,
        /// What was measured.
        evidence: Evidence,
    },
    /// A trigger fired.
    TriggerFired {
        /// The play.
        play: usize,
        /// The trigger's name.
        trigger: String,
        /// The host, in host scope.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// The condition as written.
        when: String,
        /// The condition's values at that moment, a sentence.
        evidence: String,
        /// What follows: `fail_host`, `pause`, `abort_batch`, `rollback_run`.
        action: String,
        /// Only reported (`mode: dry_run`).
        dry_run: bool,
    },
    /// The bake of a batch begins.
    BakeStarted {
        /// The play.
        play: usize,
        /// The batch.
        batch: usize,
        /// How long, in milliseconds.
        bake_ms: u64,
    },
    /// A batch is over.
    BatchEnded {
        /// The play.
        play: usize,
        /// The batch.
        batch: usize,
        /// `promoted`, `aborted`, `continued`.
        outcome: String,
    },
    /// No new hosts start; those in flight finish.
    Paused {
        /// Why.
        cause: StopCause,
    },
    /// A pause is over.
    Resumed {
        /// Who said so.
        cause: StopCause,
    },
    /// No new steps from here on.
    Aborted {
        /// Why.
        cause: StopCause,
        /// The evidence, a sentence.
        evidence: String,
        /// What follows (`on_failure`).
        then: String,
    },
    /// Connections are dropped.
    Killed {
        /// Why.
        cause: StopCause,
    },
    /// Write-ahead: a host's rollback is about to begin.
    RollbackIntent {
        /// The play.
        play: usize,
        /// The host.
        host: String,
        /// The transaction undone.
        txn: String,
        /// The attempt, from 1.
        attempt: u32,
    },
    /// A part of a rollback was done.
    RollbackStep {
        /// The host.
        host: String,
        /// What.
        step: RevertedStep,
    },
    /// A rollback ended; the verification is part of it.
    RollbackResult {
        /// The play.
        play: usize,
        /// The host.
        host: String,
        /// Objects compared with their pre-image.
        compared: u64,
        /// Objects that differ, a sentence each.
        different: Vec<String>,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
        /// Nothing was recorded: there was nothing to do.
        no_op: bool,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
    /// Something that an operator should read.
    Warning {
        /// The host, if it is about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// The text.
        message: String,
    },
    /// A play is over.
    PlayEnded {
        /// Index.
        play: usize,
    },
    /// Last event.
    RunEnded {
        /// The exit code (R19).
        exit_code: u8,
        /// Every host with its final state and reason.
        hosts: Vec<FinalHost>,
    },
    /// The limits of a play with `rollout:` as numbers: a rollback by hand later keeps to them.
    PlayLimits {
        /// The play.
        play: usize,
        /// Hosts disrupted at once, at most.
        max_unavailable: usize,
        /// Hosts rolled back at once, at most.
        rollback_parallel: usize,
    },
    /// What undoing a host's transaction would do (`rollback --check`).
    RollbackPreviewed {
        /// The host.
        host: String,
        /// The transaction.
        txn: String,
        /// Where it stands.
        standing: TxnStanding,
        /// What would be done, in order.
        would: Vec<WouldUndo>,
    },
    /// A host has turned healthy with its change, and is put back now to see that this works (`rehearse`).
    RehearsalStarted {
        /// The play.
        play: usize,
        /// The host.
        host: String,
        /// How long its change took until it was healthy, in milliseconds.
        applied_ms: u64,
    },
    /// A rehearsal's rollback has been verified, or could not be.
    Rehearsed {
        /// The play.
        play: usize,
        /// The host.
        host: String,
        /// Objects compared byte for byte with their state before the change; none differs unless it failed.
        compared: u64,
        /// The probes that were healthy before the change and must be so again.
        probes: Vec<String>,
        /// How long putting back and verifying took, in milliseconds.
        rolled_back_ms: u64,
        /// Why it failed; none: the host is as before, and is changed again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// Nothing is under way any more, and an operator is waited for.
    Waits {
        /// The play.
        play: usize,
        /// What for: `resume` (a pause), `promotion`, `failure` (`on_failure: pause`), `rollback`.
        what: String,
        /// For how long, in milliseconds; none: for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
        /// What follows then: `rollback_batch`, `end`.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        then: String,
    },
    /// The next batch may begin (`promote: manual`).
    Promoted {
        /// Who said so.
        cause: StopCause,
    },
    /// A host's guard is armed: unless it is told again within the timeout that the controller is there, it puts itself
    /// back.
    GuardArmed {
        /// The host.
        host: String,
        /// The transaction.
        txn: String,
        /// Digest of the nonce that a confirmation must bring.
        nonce_sha256: String,
        /// Its slot: hosts of one slot may put themselves back at once.
        slot: usize,
        /// The lease, in milliseconds.
        timeout_ms: u64,
        /// What its slot adds to it, in milliseconds.
        delay_ms: u64,
        /// What watches the deadline.
        form: GuardForm,
        /// Why it is the weak form.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weak: Option<String>,
    },
    /// Write-ahead: a host's change is about to be confirmed.
    ConfirmIntent {
        /// The host.
        host: String,
        /// The transaction.
        txn: String,
    },
    /// A confirmation ended.
    ConfirmResult {
        /// The host.
        host: String,
        /// The transaction.
        txn: String,
        /// Why it was not confirmed; none: it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
    /// What a host's guard did by itself, as the host's record has it. Times are the host's clock.
    GuardFired {
        /// The host.
        host: String,
        /// The transaction.
        txn: String,
        /// Why it fired.
        cause: GuardCause,
        /// When it began, in milliseconds since the epoch.
        begun_ms: u64,
        /// When it ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended_ms: Option<u64>,
        /// Why not everything is as before; none: it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// A kind that this version does not know; kept so that an older reader goes on.
    #[serde(other)]
    Unknown,
}

/// When in a host's life a probe ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbePhase {
    /// Before its change.
    Baseline,
    /// After its change.
    Verify,
    /// After its batch.
    Bake,
    /// After its rollback.
    Rollback,
}

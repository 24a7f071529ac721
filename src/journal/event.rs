//! The public events: what happens in a run, one linear stream. Versioned; kinds and fields are only ever added.

use super::{
    host_state::{HostState, ProbePhase},
    recap::FinalHost,
    step::{StepId, StepInfo, StepStatus},
    stop_cause::StopCause,
};
use crate::{
    host::Target,
    rollout::verdict::{Evidence, Verdict},
};
use rollgate_agent::protocol::{Diff, GuardCause, GuardForm, RevertedStep, TxnStanding, WorkProgress, WouldUndo};
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
        /// Message of a failure, with the code and the last words of its program, of `debug`, or why it was skipped; redacted.
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
        /// How many hosts are held meanwhile: changed, not confirmed, their guards armed.
        #[serde(default, skip_serializing_if = "is_zero")]
        armed: usize,
        /// Within what time they have put themselves back once nobody holds them any more, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        guards_ms: Option<u64>,
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
    /// What the play's `rollback:` tasks would do on a host, rendered as far as they can be, a line a task (check mode).
    RollbackPlanned {
        /// The host.
        host: String,
        /// The play.
        play: usize,
        /// In order.
        tasks: Vec<String>,
    },
    /// How far a step under way has come. May be left out when the controller is busy.
    StepProgress {
        /// Which step.
        #[serde(flatten)]
        id: StepId,
        /// How far.
        #[serde(flatten)]
        work: WorkProgress,
    },
    /// A kind that this version does not know; kept so that an older reader goes on.
    #[serde(other)]
    Unknown,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

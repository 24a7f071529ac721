//! The messages. Every enum is externally tagged and may gain variants within one protocol version only at its end.

use super::{
    guard::{GuardArm, GuardReport},
    preview::RevertPreview,
    probe::{ProbeCall, ProbeReport},
    revert::{RevertReport, RevertedStep, VerifyReport},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The version of the frames. An agent of another version refuses the [`Hello`] and says which it speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// What the controller sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToAgent {
    /// The first frame on a channel.
    Hello(Hello),
    /// Ask for one piece of work; answered by exactly one [`FromAgent::Response`] with the same id.
    Request {
        /// Chosen by the controller, unique on this channel.
        id: u64,
        /// The work.
        call: Box<Call>,
    },
    /// End the request's process group: TERM, then KILL after 5 s. A critical request finishes. It is still answered.
    Cancel {
        /// The request to end.
        id: u64,
    },
    /// Sent every 5 s; an agent that hears nothing for 30 s ends itself (rollout.md R2).
    Heartbeat,
}

/// What the agent sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromAgent {
    /// The answer to [`Hello`].
    Welcome(Welcome),
    /// Output or progress of a request under way. May be dropped when the controller reads slowly; results never are.
    Progress {
        /// The request it belongs to.
        id: u64,
        /// What happened.
        progress: Progress,
    },
    /// The one answer to a request.
    Response {
        /// The request answered.
        id: u64,
        /// What came of it.
        result: Result<Answer, AgentError>,
    },
}

/// Opens a channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the controller.
    pub protocol: u32,
    /// The run that speaks, for the host's records.
    pub run: String,
    /// Where the agent keeps its state instead of `/var/lib/rollgate` (root) or `~/.local/state/rollgate` (others).
    /// Absolute. Used by the benchmark and by tests that run many hosts on one machine.
    pub state_dir: Option<String>,
}

/// The agent's side of the opening.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Welcome {
    /// [`PROTOCOL_VERSION`] of the agent.
    pub protocol: u32,
    /// The agent's package version.
    pub version: String,
    /// Effective user id of the agent process.
    pub uid: u32,
    /// The path of the running agent executable on the host.
    pub path: String,
    /// Where this agent keeps its state.
    pub state_dir: String,
    /// The boot's identity: boot_id and the start time of PID 1 (rollout.md R24).
    pub boot: String,
    /// The host's clock, in milliseconds since the epoch, for the skew check.
    pub clock_ms: u64,
    /// The highest generation that this host has seen; 0 for none (rollout.md 2.7).
    pub generation: u64,
    /// Id and run of a transaction still open from another run, if any.
    pub open_txn: Option<(String, String)>,
    /// The line of sudoers by which sudo may record this conversation, where sudo started this agent (S3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo_records: Option<String>,
}

/// One piece of work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Call {
    /// Run a module, in check or apply mode.
    Task(TaskCall),
    /// Gather the facts of `gather_facts` (names with the `ansible_` prefix).
    Facts,
    /// Run one probe once.
    Probe(ProbeCall),
    /// Stage a part of a file whose bytes do not fit one frame; tasks name it by digest.
    Blob(BlobPart),
    /// Begin a transaction: from now on steps of this run record how they are undone.
    TxnOpen(TxnOpen),
    /// Undo a transaction as rollout.md R8 (1) to (4) says. Idempotent.
    Revert {
        /// The transaction.
        txn: String,
    },
    /// Compare every recorded object with its pre-image (rollout.md R28). Changes nothing.
    Verify {
        /// The transaction.
        txn: String,
    },
    /// Say that a transaction's change is kept: the record stays for `keep_undo`, then is pruned (R15).
    TxnKeep {
        /// The transaction.
        txn: String,
        /// How long the undo record stays, in seconds; 0 deletes it now. A transaction whose guard is armed is refused.
        keep_undo_s: u64,
    },
    /// Arm the guard of an open transaction, before its first step. Answered, by [`Answer::Guard`], when a guard that
    /// outlives this channel watches the deadline. The same again, nonce included, extends.
    GuardArm(GuardArm),
    /// Move the deadline to now plus the armed timeout and delay. Never waits for a step under way, so that it may be
    /// sent while one runs. Answered by [`Answer::Guard`]; [`AgentErrorKind::GuardLost`] once the deadline has passed.
    GuardExtend {
        /// The transaction.
        txn: String,
        /// The nonce that it was armed with.
        nonce: String,
    },
    /// Keep the change: disarms the guard. To be sent over a new connection. Answered by [`Answer::Guard`], again with
    /// the same when repeated; [`AgentErrorKind::GuardLost`] once the deadline has passed, whether or not the guard
    /// has begun, and for ever after. The transaction then takes no further step; it can be undone by
    /// [`Call::Revert`] until [`Call::TxnKeep`] has had it pruned, and it no longer keeps other runs out.
    GuardConfirm {
        /// The transaction.
        txn: String,
        /// The nonce that it was armed with.
        nonce: String,
    },
    /// Let the guard revert now: as if the deadline had passed this instant. Answered at once by [`Answer::Guard`]; the
    /// guard then works without this channel, and [`Call::GuardStatus`] says what came of it.
    GuardCancel {
        /// The transaction.
        txn: String,
        /// The nonce that it was armed with.
        nonce: String,
    },
    /// Read the guards of this host, of any run, by [`Answer::Guards`]: one transaction's (an empty list where it never
    /// had a guard or has been pruned), or all, oldest first. Sees to it that an overdue guard runs.
    GuardStatus {
        /// The transaction; none for all.
        txn: Option<String>,
    },
    /// Say where a transaction stands and what undoing it would do. Changes nothing.
    RevertPreview {
        /// The transaction.
        txn: String,
    },
    /// A step that has ended, with all its `undo:` tasks now that what it registered is known (rollout.md R11): they take
    /// the place of those that it began with. Refused once the transaction is not open any more.
    UndoTasks(Step),
}

/// Whether a module may change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Say what would change; write nothing.
    Check,
    /// Do it.
    Apply,
}

/// A module with its parameters, already rendered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleCall {
    /// The short name: `copy`, `systemd`.
    pub module: String,
    /// Parameters by their canonical names (see `modules::ModuleSpec`), values of the type the spec says.
    pub params: Map<String, Value>,
}

/// Run one module once (one loop item, one attempt).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskCall {
    /// What to run.
    pub call: ModuleCall,
    /// Check or apply.
    pub mode: Mode,
    /// Whether the caller wants a diff.
    pub diff: bool,
    /// Environment of processes the module starts, beside the agent's own.
    pub environment: BTreeMap<String, String>,
    /// End the module's process group after so many milliseconds.
    pub timeout_ms: Option<u64>,
    /// Never cut this one (task keyword `critical: true`); modules are critical by themselves where R2 says so.
    pub critical: bool,
    /// The step that this is. With a `txn`, apply mode records pre-images before it changes anything.
    pub step: Option<Step>,
}

/// A step of a transaction, as the undo record names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The transaction, 32 hexadecimal digits.
    pub txn: String,
    /// Position in this host's execution order, from 1, never used twice in a transaction.
    pub seq: u64,
    /// The task's name, for people.
    pub name: String,
    /// The handler that this step is a run of, with its position in the play's definition order.
    pub handler: Option<(usize, String)>,
    /// Handlers that this task notifies when it changes something.
    pub notify: Vec<String>,
    /// The task's own `undo:` tasks, rendered, in the order written.
    pub undo: Vec<BundledTask>,
    /// The generation of the run on this host; a lower one than the host has seen is refused (S9).
    pub generation: u64,
    /// The task has `no_log`: run again, it says nothing of what its program wrote.
    #[serde(default)]
    pub no_log: bool,
}

/// What the report of a command that failed says, in Ansible's words; who shows it adds the code.
pub const NON_ZERO: &str = "non-zero return code";

/// What a task with `no_log` says when it fails: a sentence of its own, and behind a host's name.
pub const HIDDEN: &str = "it failed; its output is hidden (no_log)";

/// A rendered task that the host can run without the controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundledTask {
    /// The task's name.
    pub name: String,
    /// What it runs.
    pub call: ModuleCall,
    /// Environment of its processes.
    pub environment: BTreeMap<String, String>,
    /// Ends it after so many milliseconds.
    pub timeout_ms: Option<u64>,
    /// Where it fails, it says nothing of what its program wrote.
    #[serde(default)]
    pub no_log: bool,
}

/// A part of a staged file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BlobPart {
    /// Digest of the whole, lower-case hexadecimal.
    pub sha256: String,
    /// Where this part begins, in bytes.
    pub offset: u64,
    /// Size of the whole, in bytes.
    pub size: u64,
    /// The bytes.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// Begins a transaction.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TxnOpen {
    /// 32 hexadecimal digits, random.
    pub txn: String,
    /// The run.
    pub run: String,
    /// The inventory's name of this host.
    pub host: String,
    /// The play's name.
    pub play: String,
    /// The generation of this run on this host: the host's plus one (S9).
    pub generation: u64,
    /// The play's `rollback:` tasks, rendered.
    pub rollback: Vec<BundledTask>,
}

/// What a check can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The host already is as asked.
    Unchanged,
    /// Something changed, or would.
    Changed,
    /// A check that cannot know (a command, say).
    Unknown,
}

/// The answer of a module's check.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Check {
    /// Whether apply would change something.
    pub change: Change,
    /// What it would change.
    pub diff: Vec<Diff>,
}

/// One object's difference. Text, or a note where text says nothing (binary, too large).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// Path or name of the object.
    pub object: String,
    /// Text before, at most 104,448 bytes (Ansible's cap).
    pub before: String,
    /// Text after.
    pub after: String,
}

/// What a module did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskReport {
    /// Whether something changed (apply), would change or cannot be known (check).
    pub change: Change,
    /// The module failed, and why. The data is still there (rc, stderr).
    pub failed: Option<String>,
    /// The module did nothing on purpose (`creates` is there), and why.
    pub skipped: Option<String>,
    /// What `register` gets, beside changed, failed, skipped: rc, stdout, stderr, stat, ...
    pub data: Map<String, Value>,
    /// What changed or would, if asked for.
    pub diff: Vec<Diff>,
    /// Notes for the operator.
    pub warnings: Vec<String>,
    /// Whether this step left an undo record with at least one object in it.
    pub recorded: bool,
}

/// News of a request under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Progress {
    /// Bytes that a process wrote.
    Output {
        /// Where it wrote them.
        stream: Stream,
        /// The bytes.
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// A revert has undone this much.
    Reverted(RevertedStep),
    /// Work of known size: done and total in `unit`.
    Count {
        /// How many are done.
        done: u64,
        /// How many there are.
        total: u64,
        /// What is counted.
        unit: String,
    },
    /// How far work on many files has come.
    Work(WorkProgress),
}

/// How far work on many files has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkProgress {
    /// What is done now, in a word or two: `shifting`.
    pub doing: String,
    /// Files (names of any type) done.
    pub files: u64,
    /// How many there are, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_files: Option<u64>,
    /// Bytes done; 0 where none are moved.
    pub bytes: u64,
    /// How many there are, where any are moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_bytes: Option<u64>,
    /// How long it has taken so far, in milliseconds.
    pub took_ms: u64,
    /// How long it will take still, in milliseconds, if it goes on like that; where it is known how much there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
}

/// A process's output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a call answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Call::Task`].
    Task(Box<TaskReport>),
    /// To [`Call::Facts`].
    Facts(Map<String, Value>),
    /// To [`Call::Probe`]: one report a sample, in order.
    Probe(Vec<ProbeReport>),
    /// To [`Call::Blob`], [`Call::TxnOpen`] and [`Call::TxnKeep`].
    Done,
    /// To [`Call::Revert`].
    Revert(RevertReport),
    /// To [`Call::Verify`].
    Verify(VerifyReport),
    /// To [`Call::GuardArm`], [`Call::GuardExtend`], [`Call::GuardConfirm`] and [`Call::GuardCancel`]: how it stands now.
    Guard(Box<GuardReport>),
    /// To [`Call::GuardStatus`].
    Guards(Vec<GuardReport>),
    /// To [`Call::RevertPreview`].
    RevertPreview(RevertPreview),
}

/// Why an agent could not do a call. A module that ran and failed is not this, but [`TaskReport::failed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AgentError {
    /// What the controller decides on.
    pub kind: AgentErrorKind,
    /// For people; never holds a parameter's value.
    pub message: String,
}

/// Kinds of [`AgentError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentErrorKind {
    /// Parameters that the module does not take; the controller should have caught it.
    Invalid,
    /// The request was cancelled before it was done.
    Cancelled,
    /// The request's own timeout passed; its process group is ended.
    TimedOut,
    /// A lower generation, another run's open transaction, or a transaction that is not open.
    Fenced,
    /// The undo record could not be written; nothing was changed.
    Record,
    /// Anything else, a system error among them.
    Internal,
    /// No guard can be armed; nothing was changed.
    Guard,
    /// The deadline has passed or the guard has fired: this host reverts or has reverted. [`Call::GuardStatus`] says
    /// what came of it.
    GuardLost,
}

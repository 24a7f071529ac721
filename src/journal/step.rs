//! A step of a host: which, what, and how it ended.

use serde::{Deserialize, Serialize};

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
    /// Under check, in a play with `rollout:`: the task's `undo:`, rendered as far as it can be, a line a task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<String>,
}

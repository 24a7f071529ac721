//! What a revert did, and what the comparison after it found.

use serde::{Deserialize, Serialize};

/// One part of a revert, in the order done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevertedStep {
    /// The step undone, if it is one; none for units and `rollback:` tasks.
    pub seq: Option<u64>,
    /// What was done: `restore /etc/docker/daemon.json`, `handler restart docker`, `unit docker.service active`.
    pub what: String,
    /// False: it was as it should be already.
    pub changed: bool,
    /// Why it could not be done.
    pub failed: Option<String>,
}

/// What a revert did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevertReport {
    /// Everything done, in order.
    pub done: Vec<RevertedStep>,
    /// The first failure stops a host there (R8).
    pub failed: Option<String>,
    /// Objects found neither as we left them nor as they were: kept, ours beside the record (R10).
    pub drifted: Vec<String>,
    /// There was nothing to undo.
    pub no_op: bool,
}

/// One object that is not as before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectState {
    /// `path /etc/subuid`, `unit docker.service`, `user dockremap`.
    pub object: String,
    /// As recorded.
    pub expected: String,
    /// As it is.
    pub found: String,
}

/// What a verification found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VerifyReport {
    /// How many objects were compared.
    pub compared: u64,
    /// Those that differ.
    pub different: Vec<ObjectState>,
}

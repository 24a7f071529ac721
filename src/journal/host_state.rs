//! The states of a host in a run, and when in its life it is probed.

use serde::{Deserialize, Serialize};

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

//! A host at the end of a run.

use super::host_state::HostState;
use serde::{Deserialize, Serialize};

/// A host at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalHost {
    /// The host.
    pub host: String,
    /// Its one state.
    pub state: HostState,
    /// Why, where it is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Counts of its steps as in Ansible's recap.
    pub recap: Recap,
}

/// Counts of one host's steps, named as in Ansible's recap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recap {
    /// Steps that ran well, changed ones included.
    pub ok: u32,
    /// Steps that changed something.
    pub changed: u32,
    /// Whether it was out of reach.
    pub unreachable: u32,
    /// Steps that failed.
    pub failed: u32,
    /// Steps not run.
    pub skipped: u32,
    /// Failures that a rescue block cured.
    pub rescued: u32,
    /// Failures ignored.
    pub ignored: u32,
}

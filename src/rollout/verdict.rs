//! What a probe round comes to.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Four, never two (rollout.md 2.1). Only healthy advances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The target answered well.
    Healthy,
    /// The target answered badly or refused.
    Unhealthy,
    /// Nothing was measured.
    NoData,
    /// The probe could not be run.
    Error,
}

impl Verdict {
    /// The word for it in sentences.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::NoData => "without data",
            Self::Error => "in error",
        }
    }
}

/// What one round measured, in a form that events and reports can show and triggers can read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Samples taken.
    pub samples: u32,
    /// Samples that were healthy.
    pub healthy: u32,
    /// Each sample's time, in milliseconds, in order; only of samples that answered.
    pub elapsed_ms: Vec<u64>,
    /// Each sample's own verdict in order (items of a `loop:` likewise).
    pub verdicts: Vec<Verdict>,
    /// Exit code of the last sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rc: Option<i32>,
    /// HTTP status of the last sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// JSON body of the last sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// Why it is not healthy, a sentence; redacted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// At least one sample's error came from outside host and change.
    #[serde(default)]
    pub environment: bool,
}

//! The guard's messages: a change that nobody confirms before its deadline is reverted by the host itself (rollout.md 2.6).

use super::revert::{RevertReport, VerifyReport};
use serde::{Deserialize, Serialize};

/// Arms a guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardArm {
    /// The transaction, open and of this channel's run.
    pub txn: String,
    /// 128 random bits as 32 lower-case hexadecimal digits. The host keeps a digest only.
    pub nonce: String,
    /// `guard_timeout`: the lease's length, in milliseconds.
    pub timeout_ms: u64,
    /// Added to every deadline: the host's slot times `revert_budget`, so that not all revert at once (R14).
    pub delay_ms: u64,
    /// How long the revert is expected to take at most; recorded for the report.
    pub revert_budget_ms: u64,
    /// A reboot gives one more deadline, instead of ending the lease.
    pub expect_reboot: bool,
}

/// Where a guard stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardState {
    /// It reverts at its deadline unless extended or confirmed.
    Armed,
    /// Confirmed: the change is kept.
    Confirmed,
    /// The guard has fired; its revert is under way, or was cut short and will go on.
    Reverting,
    /// The guard has reverted the host, and everything recorded is as before.
    RevertedByGuard,
    /// The guard could not put everything back: [`GuardReport::fired`] says what is not as before.
    RevertFailed,
    /// Somebody else has reverted the transaction (the controller, by [`Call::Revert`](super::Call::Revert)); the guard had nothing to do.
    Reverted,
}

/// What watches the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardForm {
    /// A systemd unit, restarted when it dies, with a unit that reverts after a reboot.
    Systemd,
    /// A process of its own session. It outlives the channel and the agent, not a reboot: the weak form.
    Process,
}

/// Why a guard fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardCause {
    /// Its deadline passed.
    Deadline,
    /// The host has booted since it was armed.
    Reboot,
    /// [`Call::GuardCancel`](super::Call::GuardCancel).
    Cancelled,
    /// `rollgate-agent guard revert` on the host.
    Operator,
}

/// A guard, as its host's record has it. Times are the host's clock, in milliseconds since the epoch, for people; what
/// decides is the host's monotonic clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GuardReport {
    /// The transaction.
    pub txn: String,
    /// Its run.
    pub run: String,
    /// The inventory's name of the host.
    pub host: String,
    /// Where it stands.
    pub state: GuardState,
    /// What watches it.
    pub form: GuardForm,
    /// Why it is the weak form, as a sentence; none for systemd.
    pub weak: Option<String>,
    /// When it was armed.
    pub armed_ms: u64,
    /// The last deadline.
    pub deadline_ms: u64,
    /// How long to the deadline; 0 when it has passed or is none any more.
    pub left_ms: u64,
    /// As armed.
    pub revert_budget_ms: u64,
    /// Since when it is in this state.
    pub since_ms: u64,
    /// What the guard did, once it has fired.
    pub fired: Option<GuardFired>,
}

/// What a guard did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GuardFired {
    /// Why it fired.
    pub cause: GuardCause,
    /// When it began.
    pub begun_ms: u64,
    /// When it ended; none while it is at it.
    pub ended_ms: Option<u64>,
    /// What the revert did.
    pub revert: Option<RevertReport>,
    /// What the comparison after it found.
    pub verify: Option<VerifyReport>,
    /// Why it could not revert or compare at all (a damaged record): nothing was changed then.
    pub error: Option<String>,
}

impl GuardFired {
    /// It has begun.
    #[must_use]
    pub fn begun(cause: GuardCause, begun_ms: u64) -> Self {
        Self { cause, begun_ms, ended_ms: None, revert: None, verify: None, error: None }
    }
}

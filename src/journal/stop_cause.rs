//! Why a run stopped.

use serde::{Deserialize, Serialize};

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
    /// More changed hosts are unhealthy than `max_unhealthy_upgraded` tolerates.
    UnhealthyUpgraded {
        /// How many are.
        unhealthy: usize,
        /// How many were tolerated.
        tolerated: usize,
    },
    /// Hosts were out of reach before anything was changed (`on_unreachable_preflight: abort`).
    Preflight {
        /// How many.
        unreachable: usize,
    },
}

//! The stop words: pause, abort, kill (rollout.md 2.4), and who heard them.

use crate::{journal::StopCause, playbook::OnFailure};

/// How far a run has been told to stop. Only ever rises, but for the end of a batch after which the run goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Go on.
    #[default]
    None,
    /// No new hosts; those in flight finish.
    Pause,
    /// No new steps; then `on_failure`.
    Abort,
    /// Drop everything.
    Kill,
}

/// What every wait of the engine listens to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Stop {
    /// How far.
    pub(crate) level: Level,
    /// Why; none while nothing stopped.
    pub(crate) cause: Option<StopCause>,
    /// The evidence of an abort.
    pub(crate) evidence: String,
    /// What follows an abort; none: what the play says.
    pub(crate) then: Option<OnFailure>,
    /// The journal takes no more: nothing may be done on any host.
    pub(crate) journal_lost: bool,
}

/// A wish to stop.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StopRequest {
    /// No new hosts.
    Pause {
        /// Why.
        cause: StopCause,
    },
    /// No new steps.
    Abort {
        /// Why.
        cause: StopCause,
        /// What was seen, a sentence.
        evidence: String,
        /// What follows; none: what the play says.
        then: Option<OnFailure>,
    },
}

/// Signals to the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// As the system names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// The key of `on_failure`.
pub(crate) fn on_failure_key(then: OnFailure) -> &'static str {
    match then {
        OnFailure::RollbackBatch => "rollback_batch",
        OnFailure::RollbackRun => "rollback_run",
        OnFailure::Pause => "pause",
        OnFailure::Continue => "continue",
    }
}

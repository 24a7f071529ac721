//! The stop words: pause, abort, kill (rollout.md 2.4), what lifts them, and what every wait of the engine hears.

use crate::{journal::StopCause, playbook::OnFailure};

/// How far a run has been told to stop. It falls only when a pause is lifted, or at the end of a batch after which the
/// run goes on.
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
    /// Grows with every change of the others: a word said again at the same level is heard, too.
    pub(crate) turn: u64,
    /// How many requests of the plays to stop have been dealt with.
    pub(crate) heeded: u64,
    /// What was decided on what the play last waited for.
    pub(crate) decision: Option<Decision>,
}

impl Stop {
    /// Whether an operator said so, by a signal or through the control socket.
    pub(crate) fn by_operator(&self) -> bool {
        matches!(self.cause, Some(StopCause::Signal { .. } | StopCause::Operator { .. }))
    }

    /// Whether no play may take it back by itself.
    pub(crate) fn lasts(&self) -> bool {
        self.by_operator() || self.journal_lost || matches!(self.cause, Some(StopCause::Journal { .. }))
    }
}

/// What a play waits for until an operator says how it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// `promote: manual`: the next batch.
    Promotion,
    /// `on_failure: pause`: what becomes of the batch (R6).
    Failure,
    /// A rollback that does not help, or that failed: whether the rest is rolled back (R18).
    Rollback,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Go on.
    GoOn,
    /// Go no further.
    Abort,
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

/// Signals to the controller, and what is taken like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal was closed.
    Hangup,
    /// SIGPIPE: nobody reads the output any more.
    Pipe,
    /// What an operator said, where nobody waits for the answer.
    Order(Order),
}

impl Signal {
    /// As the system names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
            Self::Pipe => "SIGPIPE",
            Self::Order(_) => "an order",
        }
    }
}

/// The stop words that an operator may say from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// No new hosts.
    Pause,
    /// No new steps, then `on_failure`.
    Abort,
    /// The pause is over.
    Resume,
    /// The next batch may begin (`promote: manual`).
    Promote,
}

/// A stop word and who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What is to be done.
    pub command: Command,
    /// Who said so, and why: [`StopCause::Operator`].
    pub cause: StopCause,
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

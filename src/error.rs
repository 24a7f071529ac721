//! What failed, where, why, what next, and the exit code that follows.

use crate::config::Diagnostics;

/// Exit codes (rollout.md R19). Where several fit, the first of 1, 3, 4, 2, 0 that fits wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// All good.
    Success = 0,
    /// Nothing was touched: usage, input, plan refused.
    NotStarted = 1,
    /// A host failed or was rolled back.
    HostFailed = 2,
    /// A host is unknown, a rollback failed, or the run is paused: an operator is needed.
    NeedsOperator = 3,
    /// A host was unreachable before its first step.
    Unreachable = 4,
}

/// What a command can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Mistakes in what the user wrote, all at once, each with its place.
    #[error("{0}")]
    Input(Diagnostics),
    /// The command line or the environment cannot be used as it is.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to try.
        hint: Option<String>,
    },
    /// Something failed while working.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Error {
    /// A usage error with a hint.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }
}

impl From<Diagnostics> for Error {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Input(diagnostics)
    }
}

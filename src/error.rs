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

impl ExitCode {
    /// The code of both outcomes together (R19).
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let rank = |code: Self| match code {
            Self::NotStarted => 0,
            Self::NeedsOperator => 1,
            Self::Unreachable => 2,
            Self::HostFailed => 3,
            Self::Success => 4,
        };
        if rank(self) <= rank(other) { self } else { other }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
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

    /// What is written on standard error: what failed, why, and what to try; ends with a line feed.
    pub fn render(&self, colour: bool) -> String {
        match self {
            Self::Input(diagnostics) => diagnostics.render(colour),
            Self::Usage { message, hint: Some(hint) } => format!("error: {message}\nhint: {hint}\n"),
            Self::Usage { message, hint: None } => format!("error: {message}\n"),
            Self::Other(error) => {
                let causes: String = error.chain().skip(1).map(|cause| format!("\n  cause: {cause}")).collect();
                format!("error: {error}{causes}\n")
            }
        }
    }
}

impl From<Diagnostics> for Error {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Input(diagnostics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_outcome_gives_the_exit_code() {
        use ExitCode::*;
        assert_eq!(Success.and(HostFailed), HostFailed);
        assert_eq!(HostFailed.and(Unreachable), Unreachable);
        assert_eq!(Unreachable.and(NeedsOperator), NeedsOperator);
        assert_eq!(NeedsOperator.and(NotStarted), NotStarted);
        assert_eq!(Success.and(Success), Success);
    }
}

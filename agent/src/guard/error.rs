//! Why a guard does not do what it was asked.

use crate::protocol::{AgentError, AgentErrorKind};
use crate::undo::UndoError;

/// Why a guard does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Another's nonce, run or transaction.
    #[error("{0}")]
    Refused(String),
    /// The deadline has passed or the guard has fired.
    #[error("{0}")]
    Lost(String),
    /// Nothing can be found that would watch the deadline.
    #[error("no guard can be armed: {0}")]
    Unarmed(String),
    /// The record fails.
    #[error(transparent)]
    Undo(#[from] UndoError),
}

impl From<GuardError> for AgentError {
    fn from(error: GuardError) -> Self {
        let kind = match &error {
            GuardError::Refused(_) | GuardError::Undo(UndoError::Fenced(_) | UndoError::NoTransaction(_)) => {
                AgentErrorKind::Fenced
            }
            GuardError::Lost(_) => AgentErrorKind::GuardLost,
            GuardError::Unarmed(_) => AgentErrorKind::Guard,
            GuardError::Undo(_) => AgentErrorKind::Record,
        };
        Self { kind, message: error.to_string() }
    }
}

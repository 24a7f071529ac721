//! Requests that change something take turns.

use super::control::Control;
use crate::protocol::{AgentError, AgentErrorKind};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Mutex<bool>,
    free: Condvar,
}

/// A turn, until dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for the turn; a request that is cancelled meanwhile has done nothing.
    pub(super) fn take(&self, control: &Control) -> Result<Turn<'_>, AgentError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken {
            if control.ended().is_some() {
                let message = "the request was cancelled before its turn came; nothing was done".to_owned();
                return Err(AgentError { kind: AgentErrorKind::Cancelled, message });
            }
            // The limit bounds how late a cancellation is seen.
            let waited = self.free.wait_timeout(taken, Duration::from_millis(50));
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken = true;
        Ok(Turn(self))
    }

    /// Whether nothing that changes the host is under way.
    pub(super) fn is_free(&self) -> bool {
        !*self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
    }
}

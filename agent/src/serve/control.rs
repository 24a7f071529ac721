//! How a request learns that it is to end, and where its output goes.

use crate::protocol::{Progress, Stream, WorkProgress};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Why a request's processes are to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The controller cancelled the request, or the lease ran out (rollout.md R2).
    Cancelled,
    /// The task's own timeout passed.
    TimedOut,
}

/// Takes what a request's processes write, and how far it has come.
pub(super) type Sink = dyn Fn(Progress) + Send + Sync;

/// One request's cancellation, deadline and output. Clones share the cancellation.
#[derive(Clone, Default)]
pub struct Control {
    cancelled: Arc<AtomicBool>,
    critical: bool,
    deadline: Option<Instant>,
    output: Option<Arc<Sink>>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Control").field("critical", &self.critical).field("ended", &self.ended()).finish()
    }
}

impl Control {
    /// A control with a deadline and a place for output.
    #[must_use]
    pub fn new(timeout: Option<Duration>, output: Option<Arc<Sink>>) -> Self {
        Self { deadline: timeout.map(|timeout| Instant::now() + timeout), output, ..Self::default() }
    }

    /// The same request, never cut by a cancellation: what it began, it finishes. Its own timeout still holds.
    #[must_use]
    pub fn critical(mut self) -> Self {
        self.critical = true;
        self
    }

    /// Asks the request to end.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// Whether, and why, the request is to end now.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        if self.cancelled.load(Ordering::SeqCst) && !self.critical {
            return Some(Ended::Cancelled);
        }
        self.deadline.filter(|deadline| Instant::now() >= *deadline).map(|_| Ended::TimedOut)
    }

    /// Passes output on; it may be dropped when the controller reads slowly.
    pub fn output(&self, stream: Stream, bytes: &[u8]) {
        if let Some(sink) = &self.output {
            sink(Progress::Output { stream, data: bytes.to_vec() });
        }
    }

    /// Says how far the request has come; it may be dropped as output may.
    pub fn progress(&self, work: WorkProgress) {
        if let Some(sink) = &self.output {
            sink(Progress::Work(work));
        }
    }

    /// The same control without output: for processes that modules run for themselves.
    #[must_use]
    pub fn quiet(&self) -> Self {
        Self { output: None, ..self.clone() }
    }

    /// The same control with a deadline at most `limit` from now.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        let limit = Instant::now() + limit;
        Self { deadline: Some(self.deadline.map_or(limit, |deadline| deadline.min(limit))), ..self.clone() }
    }
}

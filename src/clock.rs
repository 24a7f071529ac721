//! Time: one clock for the run, so that tests decide when an hour has passed.

use std::time::Duration;
use tokio::time::Instant;

/// Monotonic time for every decision, wall time for people. Monotonic time is tokio's: where a test pauses it, every
/// deadline of the engine follows.
#[derive(Debug, Clone)]
pub struct Clock {
    started: Instant,
    fixed: Option<jiff::Timestamp>,
}

impl Clock {
    /// A clock that starts now and reads the system's wall clock.
    pub fn system() -> Self {
        Self { started: Instant::now(), fixed: None }
    }

    /// A clock whose wall time begins at `wall` and moves with tokio's time only.
    pub fn starting_at(wall: jiff::Timestamp) -> Self {
        Self { started: Instant::now(), fixed: Some(wall) }
    }

    /// Monotonic time.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Since the clock was made.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Milliseconds since the clock was made.
    pub fn elapsed_ms(&self) -> u64 {
        millis(self.elapsed())
    }

    /// Wall time. For people; nothing is decided by it.
    pub fn wall(&self) -> jiff::Timestamp {
        match self.fixed {
            None => jiff::Timestamp::now(),
            Some(start) => start.saturating_add(self.elapsed()).unwrap_or(start),
        }
    }

    /// Waits.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Waits until an instant.
    pub async fn sleep_until(&self, instant: Instant) {
        tokio::time::sleep_until(instant).await;
    }
}

/// Whole milliseconds of a duration.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fixed_clock_moves_with_paused_time_only() {
        let clock = Clock::starting_at("2026-01-02T03:04:05Z".parse().expect("a time"));
        clock.sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.wall().to_string(), "2026-01-02T04:04:05Z");
        assert_eq!(clock.elapsed_ms(), 3_600_000);
    }
}

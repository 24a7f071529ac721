//! `progress_deadline`: how long a play may go on without any host turning healthy. Stands still during pause and bake.

use std::time::Duration;

/// Follows a play. Times are the run's elapsed time.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    limit: Option<Duration>,
    /// What had passed when the clock last stood still.
    passed: Duration,
    /// Since when it has been running; none while it stands still.
    since: Option<Duration>,
}

impl Progress {
    /// A clock at rest; without a limit it never rings.
    pub fn new(limit: Option<Duration>) -> Self {
        Self { limit, passed: Duration::ZERO, since: None }
    }

    /// A host turned healthy, or had nothing to change: it begins anew.
    pub fn made(&mut self, now: Duration) {
        self.passed = Duration::ZERO;
        self.since = self.since.map(|_| now);
    }

    /// Lets it run, or stands still.
    pub fn run(&mut self, running: bool, now: Duration) {
        match (running, self.since) {
            (true, None) => self.since = Some(now),
            (false, Some(since)) => {
                self.passed += now.saturating_sub(since);
                self.since = None;
            }
            _ => {}
        }
    }

    /// When it rings if nothing turns healthy until then.
    pub fn due(&self) -> Option<Duration> {
        Some(self.since? + self.limit?.saturating_sub(self.passed))
    }

    /// Whether it rings.
    pub fn over(&self, now: Duration) -> bool {
        self.due().is_some_and(|due| now >= due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// It rings exactly when so many seconds of running have passed since the last progress.
        #[test]
        fn only_running_seconds_without_progress_count(
            limit in 1_u64..20,
            seconds in prop::collection::vec((any::<bool>(), prop::bool::weighted(0.1)), 1..80),
        ) {
            let mut progress = Progress::new(Some(Duration::from_secs(limit)));
            let mut ran = 0;
            for (at, (running, made)) in seconds.iter().enumerate() {
                let at = Duration::from_secs(at as u64);
                progress.run(*running, at);
                if *made {
                    progress.made(at);
                    ran = 0;
                }
                prop_assert_eq!(progress.over(at), *running && ran >= limit);
                ran += u64::from(*running);
            }
        }

        #[test]
        fn without_a_limit_it_never_rings(at in 0_u64..1_000_000) {
            let mut progress = Progress::new(None);
            progress.run(true, Duration::ZERO);
            prop_assert!(!progress.over(Duration::from_secs(at)));
        }
    }
}

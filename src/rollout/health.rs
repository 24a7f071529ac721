//! `min_healthy_time`: how long a host has been healthy without a break.

use std::time::Duration;

/// Follows one host. Times are the run's elapsed time.
#[derive(Debug, Clone, Copy)]
pub struct HealthyTime {
    min: Duration,
    since: Option<Duration>,
}

impl HealthyTime {
    /// A host that has not been healthy yet.
    pub fn new(min: Duration) -> Self {
        Self { min, since: None }
    }

    /// Takes what [`super::Judge::healthy`] says after a round: anything but healthy begins it anew.
    pub fn observe(&mut self, at: Duration, healthy: bool) {
        self.since = if healthy { self.since.or(Some(at)) } else { None };
    }

    /// When it will have been healthy for long enough if nothing else happens; none while it is not healthy.
    pub fn due(&self) -> Option<Duration> {
        self.since.map(|since| since + self.min)
    }

    /// Whether it has been.
    pub fn reached(&self, now: Duration) -> bool {
        self.due().is_some_and(|due| now >= due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reached_only_after_an_unbroken_span(min in 1_u64..30, verdicts in prop::collection::vec(any::<bool>(), 1..60)) {
            let mut time = HealthyTime::new(Duration::from_secs(min));
            let mut run = 0_u64;
            for (at, healthy) in verdicts.iter().enumerate() {
                let at = Duration::from_secs(at as u64);
                time.observe(at, *healthy);
                run = if *healthy { run + 1 } else { 0 };
                prop_assert_eq!(time.reached(at), run > min);
            }
        }
    }
}

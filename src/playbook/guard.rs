//! The guard's keys of a `rollout:` stanza: `confirm`, `guard_timeout`, `revert_budget`, `expect_reboot` (rollout.md 2.6,
//! R14).

use super::reader::Loader;
use crate::config::Node;
use std::time::Duration;

/// The shortest `guard_timeout`: a lease is extended every quarter of it.
const LEAST: Duration = Duration::from_secs(5);

/// `confirm:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// Each host at its `min_healthy_time`.
    PerHost,
    /// All hosts of a batch after its bake: a batch is kept or put back as one.
    PerBatch,
    /// No guard at all.
    None,
}

/// How hosts are guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardKeys {
    /// When a host's change is confirmed.
    pub confirm: Confirm,
    /// `guard_timeout`: how long after it last heard from the controller a host puts itself back.
    pub timeout: Duration,
    /// `revert_budget`: how long putting a host back is expected to take.
    pub revert_budget: Duration,
    /// `expect_reboot`: the change reboots the host, which waits for one more deadline then before it puts itself back.
    pub expect_reboot: bool,
}

impl Default for GuardKeys {
    fn default() -> Self {
        Self {
            confirm: Confirm::PerHost,
            timeout: Duration::from_secs(120),
            revert_budget: Duration::from_secs(90),
            expect_reboot: false,
        }
    }
}

impl GuardKeys {
    /// How often a lease is extended.
    pub fn every(&self) -> Duration {
        self.timeout / 4
    }

    /// What the host in this slot waits longer than the first. Leases are up to a quarter of the timeout apart, so that
    /// quarter belongs to the distance: else a late slot and an early one could put themselves back at once.
    pub fn delay(&self, slot: usize) -> Duration {
        (self.revert_budget + self.every()) * u32::try_from(slot).unwrap_or(u32::MAX)
    }

    /// How long after the controller's end the last of so many guarded hosts puts itself back at the latest, and how long
    /// that may take.
    pub fn last_deadline(&self, armed: usize, max_unavailable: usize) -> Duration {
        self.timeout + self.delay(armed.saturating_sub(1) / max_unavailable.max(1))
    }
}

impl Loader {
    /// Reads the guard's keys.
    pub(super) fn guard(&mut self, stanza: &Node) -> GuardKeys {
        let mut keys = GuardKeys::default();
        let words = [("per_host", Confirm::PerHost), ("per_batch", Confirm::PerBatch), ("none", Confirm::None)];
        if let Some(entry) = stanza.entry("confirm") {
            keys.confirm = self.choice(entry, &words, &[]).unwrap_or(keys.confirm);
            let accepted = stanza.entry("accept_irreversible").and_then(|entry| self.boolean(entry));
            if keys.confirm == Confirm::None && accepted != Some(true) {
                let message = "`confirm: none` leaves hosts changed when the controller dies";
                self.error(&entry.value.place, message, "no guard at all").help =
                    Some("write `confirm: per_host`, or accept it with `accept_irreversible: true` beside it".into());
            }
        }
        if let Some(entry) = stanza.entry("guard_timeout")
            && let Some(timeout) = self.duration(entry)
        {
            if timeout < LEAST {
                self.error(&entry.value.place, "`guard_timeout` is too short", "expected at least 5s").help =
                    Some("a host is told every quarter of it that the controller is there".into());
            }
            keys.timeout = timeout;
        }
        if let Some(entry) = stanza.entry("revert_budget")
            && let Some(budget) = self.duration(entry)
        {
            if budget.is_zero() {
                self.error(&entry.value.place, "`revert_budget` cannot be 0", "expected a duration above 0");
            }
            keys.revert_budget = budget;
        }
        if let Some(entry) = stanza.entry("expect_reboot") {
            keys.expect_reboot = self.boolean(entry).unwrap_or_default();
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_deadline_grows_with_the_slots() {
        let keys = GuardKeys {
            timeout: Duration::from_secs(120),
            revert_budget: Duration::from_secs(90),
            ..GuardKeys::default()
        };
        assert_eq!(keys.last_deadline(1, 5), Duration::from_secs(120));
        assert_eq!(keys.last_deadline(5, 5), Duration::from_secs(120));
        assert_eq!(keys.last_deadline(50, 5), Duration::from_secs(120 + 9 * (90 + 30)));
    }
}

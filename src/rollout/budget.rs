//! The disruption budget (rollout.md R4) and the count of failed hosts (R5).

use super::sizes;
use std::collections::{BTreeMap, BTreeSet};

/// Why a host is not serving, or may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disruption {
    /// Between its first mutating step and `min_healthy_time`.
    Changing,
    /// Failed and not restored.
    Failed,
    /// Nobody knows its state.
    Unknown,
    /// Sick before anything was done to it.
    SickBefore,
    /// Is being put back.
    Reverting,
}

/// Which hosts are disrupted, and whether one more may be.
///
/// Hosts that are restored and verified, or healthy and waiting, are not in it.
#[derive(Debug, Clone)]
pub struct Budget {
    max_unavailable: usize,
    disrupted: BTreeMap<String, Disruption>,
}

impl Budget {
    /// A budget of `max_unavailable` hosts.
    pub fn new(max_unavailable: usize) -> Self {
        Self { max_unavailable, disrupted: BTreeMap::new() }
    }

    /// Says what a host is now; none: it is not disrupted.
    pub fn set(&mut self, host: &str, disruption: Option<Disruption>) {
        match disruption {
            Some(disruption) => self.disrupted.insert(host.to_owned(), disruption),
            None => self.disrupted.remove(host),
        };
    }

    /// How many hosts are disrupted.
    pub fn disrupted(&self) -> usize {
        self.disrupted.len()
    }

    /// The limit.
    pub fn max_unavailable(&self) -> usize {
        self.max_unavailable
    }

    /// Whether this host may begin its first mutating step: with it, at most `max_unavailable` are disrupted.
    ///
    /// A host that is disrupted already (sick before) does not count twice.
    pub fn may_start(&self, host: &str) -> bool {
        let others = self.disrupted.keys().filter(|other| *other != host).count();
        others < self.max_unavailable
    }

    /// The hosts that were sick before the change, if they alone exceed the budget: then nothing may be planned.
    pub fn exceeded_by_sick(&self) -> Option<Vec<String>> {
        let sick: Vec<String> =
            self.disrupted.iter().filter(|(_, why)| **why == Disruption::SickBefore).map(|(h, _)| h.clone()).collect();
        (sick.len() > self.max_unavailable).then_some(sick)
    }
}

/// Counts the failed hosts of a run against `max_fail` and those of a batch against `max_fail_percentage` (R5).
#[derive(Debug, Clone)]
pub struct Failures {
    max_fail: usize,
    max_fail_percentage: Option<f64>,
    run: BTreeSet<String>,
    batch: BTreeSet<String>,
    batch_size: usize,
}

impl Failures {
    /// Tolerates `max_fail` hosts in the run and, where given, `max_fail_percentage` of each batch.
    pub fn new(max_fail: usize, max_fail_percentage: Option<f64>) -> Self {
        Self { max_fail, max_fail_percentage, run: BTreeSet::new(), batch: BTreeSet::new(), batch_size: 0 }
    }

    /// A batch of so many hosts begins.
    pub fn begin_batch(&mut self, hosts: usize) {
        self.batch.clear();
        self.batch_size = hosts;
    }

    /// A host failed. It counts once, for the rest of the run, even when it is restored.
    pub fn failed(&mut self, host: &str) {
        self.run.insert(host.to_owned());
        self.batch.insert(host.to_owned());
    }

    /// The hosts that failed in this run.
    pub fn hosts(&self) -> &BTreeSet<String> {
        &self.run
    }

    /// Failed and tolerated, if the failures are more than is tolerated: whichever limit is exceeded first.
    pub fn exceeded(&self) -> Option<(usize, usize)> {
        if self.run.len() > self.max_fail {
            return Some((self.run.len(), self.max_fail));
        }
        let percent = self.max_fail_percentage?;
        sizes::exceeds_percentage(self.batch.len(), self.batch_size, percent)
            .then(|| (self.batch.len(), sizes::tolerance(crate::playbook::Size::Percent(percent), self.batch_size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn max_fail_tolerates_n_and_fires_at_the_next() {
        let mut failures = Failures::new(1, None);
        failures.begin_batch(5);
        failures.failed("a");
        failures.failed("a");
        assert_eq!(failures.exceeded(), None, "a host counts once");
        failures.begin_batch(5);
        failures.failed("b");
        assert_eq!(failures.exceeded(), Some((2, 1)), "the run counts, not the batch");
    }

    #[test]
    fn max_fail_percentage_is_of_the_batch_and_strictly_greater() {
        let mut failures = Failures::new(100, Some(50.0));
        failures.begin_batch(4);
        failures.failed("a");
        failures.failed("b");
        assert_eq!(failures.exceeded(), None);
        failures.failed("c");
        assert_eq!(failures.exceeded(), Some((3, 2)));
        failures.begin_batch(4);
        assert_eq!(failures.exceeded(), None);
    }

    #[test]
    fn sick_hosts_eat_the_budget_and_are_named() {
        let mut budget = Budget::new(1);
        budget.set("a", Some(Disruption::SickBefore));
        assert!(budget.may_start("a"), "the sick host itself makes nothing worse");
        assert!(!budget.may_start("b"));
        assert_eq!(budget.exceeded_by_sick(), None);
        budget.set("b", Some(Disruption::SickBefore));
        assert_eq!(budget.exceeded_by_sick(), Some(vec!["a".to_owned(), "b".to_owned()]));
    }

    proptest! {
        #[test]
        fn asking_before_starting_never_exceeds_max_unavailable(
            limit in 1_usize..6,
            moves in prop::collection::vec((0_usize..10, 0_u8..4), 0..80),
        ) {
            let mut budget = Budget::new(limit);
            for (host, what) in moves {
                let host = format!("h{host}");
                match what {
                    0 if budget.may_start(&host) => budget.set(&host, Some(Disruption::Changing)),
                    // A host in flight may fail, get lost or be reverted: it stays the one disruption it was.
                    1 if budget.disrupted.contains_key(&host) => budget.set(&host, Some(Disruption::Failed)),
                    2 if budget.disrupted.contains_key(&host) => budget.set(&host, Some(Disruption::Reverting)),
                    3 => budget.set(&host, None),
                    _ => {}
                }
                prop_assert!(budget.disrupted() <= limit);
            }
        }
    }
}

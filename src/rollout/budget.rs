//! The disruption budget (rollout.md R4) and the count of failed hosts (R5).

use super::{
    domains::{Domain, Domains},
    sizes,
};
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
    domains: Domains,
    disrupted: BTreeMap<String, Disruption>,
}

/// A limit that leaves no room, and who takes it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The failure domain; none: the run.
    pub domain: Option<String>,
    /// The hosts, by name.
    pub hosts: Vec<String>,
    /// How many may be disrupted there.
    pub max_unavailable: usize,
}

impl Spent {
    /// `max_unavailable (2)`, `max_unavailable of r1 (1)`.
    pub fn limit(&self) -> String {
        let of = self.domain.as_ref().map_or_else(String::new, |domain| format!(" of {domain}"));
        format!("max_unavailable{of} ({})", self.max_unavailable)
    }
}

impl Budget {
    /// A budget of `max_unavailable` hosts in the run, and of what each failure domain allows.
    pub fn new(max_unavailable: usize, domains: Domains) -> Self {
        Self { max_unavailable, domains, disrupted: BTreeMap::new() }
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

    /// Whether this host may begin its first mutating step: with it, at most `max_unavailable` are disrupted in the run
    /// and in its domain.
    ///
    /// A host that is disrupted already (sick before) does not count twice.
    pub fn may_start(&self, host: &str) -> bool {
        self.against(host).is_none()
    }

    /// The limit that stands against a host's start.
    pub fn against(&self, host: &str) -> Option<Spent> {
        let others = |domain: Option<&Domain>| {
            let there = |other: &&String| domain.is_none_or(|domain| domain.hosts.contains(*other));
            self.disrupted.keys().filter(|other| *other != host).filter(there).cloned().collect::<Vec<_>>()
        };
        let spent = |domain: Option<&Domain>, max_unavailable: usize| {
            let hosts = others(domain);
            let name = domain.map(|domain| domain.name.clone());
            (hosts.len() >= max_unavailable).then_some(Spent { domain: name, hosts, max_unavailable })
        };
        let own = self.domains.of(host);
        spent(None, self.max_unavailable).or_else(|| own.and_then(|own| spent(Some(own), own.max_unavailable)))
    }

    /// The hosts that were sick before the change, if they alone exceed the budget of the run or of a domain: then
    /// nothing may be planned.
    pub fn exceeded_by_sick(&self) -> Option<Spent> {
        let sick: Vec<&String> =
            self.disrupted.iter().filter(|(_, why)| **why == Disruption::SickBefore).map(|(host, _)| host).collect();
        let over = |domain: Option<&Domain>, max_unavailable: usize| {
            let there = |host: &&&String| domain.is_none_or(|domain| domain.hosts.contains(**host));
            let hosts: Vec<String> = sick.iter().filter(there).map(|host| (*host).clone()).collect();
            let name = domain.map(|domain| domain.name.clone());
            (hosts.len() > max_unavailable).then_some(Spent { domain: name, hosts, max_unavailable })
        };
        let run = over(None, self.max_unavailable);
        run.or_else(|| self.domains.all().iter().find_map(|domain| over(Some(domain), domain.max_unavailable)))
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

    /// An operator has seen these failures and lets the run go on: only further ones count.
    pub fn forgive(&mut self) {
        self.max_fail = self.max_fail.max(self.run.len());
        self.batch.clear();
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
        let mut budget = Budget::new(1, Domains::default());
        budget.set("a", Some(Disruption::SickBefore));
        assert!(budget.may_start("a"), "the sick host itself makes nothing worse");
        assert!(!budget.may_start("b"));
        assert_eq!(budget.exceeded_by_sick(), None);
        budget.set("b", Some(Disruption::SickBefore));
        let spent = budget.exceeded_by_sick().unwrap();
        assert_eq!((spent.hosts, spent.max_unavailable), (vec!["a".to_owned(), "b".to_owned()], 1));
    }

    proptest! {
        #[test]
        fn asking_before_starting_never_exceeds_max_unavailable(
            limit in 1_usize..6,
            moves in prop::collection::vec((0_usize..10, 0_u8..4), 0..80),
        ) {
            let mut budget = Budget::new(limit, Domains::default());
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

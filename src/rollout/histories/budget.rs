//! Sizes, budgets, ramps and tolerated failures.

use super::cases;
use crate::{
    playbook::Size,
    rollout::{Budget, Disruption, Domains, Failures, batches, ramp, speed, tolerance},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
struct Fleet {
    hosts: usize,
    racks: usize,
    max_unavailable: Option<Size>,
    max_parallel: usize,
    ramp: bool,
    batches: Vec<Size>,
    max_fail: usize,
    percent: Option<u8>,
    sick: BTreeSet<usize>,
    acts: Vec<(usize, u8)>,
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![(1_usize..9).prop_map(Size::Count), (1_u8..=100).prop_map(|percent| Size::Percent(percent.into()))]
}

fn fleet() -> impl Strategy<Value = Fleet> {
    (
        (1_usize..24, 0_usize..4, prop::option::of(size()), 1_usize..8, any::<bool>()),
        prop::collection::vec(size(), 1..4),
        (0_usize..4, prop::option::of(0_u8..100), prop::collection::btree_set(0_usize..24, 0..3)),
        prop::collection::vec((0_usize..24, 0_u8..8), 0..90),
    )
        .prop_map(
            |((hosts, racks, max_unavailable, max_parallel, ramp), batches, (max_fail, percent, sick), acts)| Fleet {
                hosts,
                racks,
                max_unavailable,
                max_parallel,
                ramp,
                batches,
                max_fail,
                percent,
                sick,
                acts,
            },
        )
}

/// What a host of the simulated play is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Waiting,
    AtWork,
    Well,
    Broken,
    Restored,
}

/// A play that only asks its budget, its ramp and its failures, and what it must never come to.
struct Play {
    fleet: Fleet,
    names: Vec<String>,
    cut: Vec<Vec<String>>,
    rack: BTreeMap<String, String>,
    run_limit: usize,
    budget: Budget,
    failures: Failures,
    is: BTreeMap<String, Is>,
    batch: usize,
    failed: BTreeSet<String>,
    failed_in_batch: BTreeSet<String>,
    aborted: bool,
}

impl Play {
    fn new(fleet: Fleet) -> Self {
        let names: Vec<String> = (0..fleet.hosts).map(|n| format!("h{n}")).collect();
        let cut = batches(&fleet.batches, &names);
        let largest = cut.iter().map(Vec::len).max().unwrap();
        let in_rack = |n: usize| (names[n].clone(), format!("r{}", n % fleet.racks.max(1)));
        let rack: BTreeMap<String, String> =
            if fleet.racks == 0 { BTreeMap::new() } else { (0..fleet.hosts).map(in_rack).collect() };
        let run_limit = fleet.max_unavailable.map_or(largest, |size| speed(size, fleet.hosts));
        let mut budget = Budget::new(run_limit, Domains::new(&names, &rack, fleet.max_unavailable, largest));
        for n in fleet.sick.iter().filter(|n| **n < fleet.hosts) {
            budget.set(&names[*n], Some(Disruption::SickBefore));
        }
        let mut failures = Failures::new(fleet.max_fail, fleet.percent.map(f64::from));
        failures.begin_batch(cut[0].len());
        let is = names.iter().map(|name| (name.clone(), Is::Waiting)).collect();
        let (failed, failed_in_batch) = (BTreeSet::new(), BTreeSet::new());
        Self {
            fleet,
            names,
            cut,
            rack,
            run_limit,
            budget,
            failures,
            is,
            batch: 0,
            failed,
            failed_in_batch,
            aborted: false,
        }
    }

    fn with(&self, wanted: &[Is]) -> BTreeSet<&String> {
        self.is.iter().filter(|(_, is)| wanted.contains(is)).map(|(host, _)| host).collect()
    }

    /// Hosts disrupted by definition, counted without the budget: at work, broken, or sick before and not well since.
    fn disrupted(&self, there: impl Fn(&String) -> bool) -> usize {
        let sick = self.fleet.sick.iter().filter_map(|n| self.names.get(*n));
        let sick = sick.filter(|host| matches!(self.is[*host], Is::Waiting | Is::Restored));
        let all: BTreeSet<&String> = self.with(&[Is::AtWork, Is::Broken]).into_iter().chain(sick).collect();
        all.into_iter().filter(|host| there(host)).count()
    }

    fn limit_of(&self, rack: &String) -> usize {
        let of = self.rack.values().filter(|other| *other == rack).count();
        let largest = self.cut.iter().map(Vec::len).max().unwrap();
        self.fleet.max_unavailable.map_or(largest, |size| speed(size, of)).min(of)
    }

    fn start(&mut self, host: &String) -> Result<(), TestCaseError> {
        let at_work = self.with(&[Is::AtWork]).len();
        let batch = &self.cut[self.batch];
        let well = batch.iter().filter(|host| self.is[*host] == Is::Well).count();
        let most = if self.fleet.ramp { ramp(well, self.fleet.max_parallel) } else { self.fleet.max_parallel };
        if self.aborted || !batch.contains(host) || self.is[host] != Is::Waiting || at_work >= most {
            return Ok(());
        }
        let was_sick = self.disrupted(|other| other == host) == 1;
        let before = self.disrupted(|_| true);
        if !self.budget.may_start(host) {
            let run = before - usize::from(was_sick) >= self.run_limit;
            let own = self.rack.get(host).is_some_and(|rack| {
                self.disrupted(|other| self.rack[other] == *rack) - usize::from(was_sick) >= self.limit_of(rack)
            });
            prop_assert!(run || own, "{} is held up by nothing", host);
            return Ok(());
        }
        self.budget.set(host, Some(Disruption::Changing));
        self.is.insert(host.clone(), Is::AtWork);
        let after = self.disrupted(|_| true);
        prop_assert!(after <= self.run_limit.max(before), "{} disrupted, {} allowed", after, self.run_limit);
        if let Some(rack) = self.rack.get(host) {
            let there = self.disrupted(|other| self.rack[other] == *rack);
            let limit = self.limit_of(rack);
            prop_assert!(there <= limit || was_sick, "{} disrupted in {}, {} allowed", there, rack, limit);
        }
        prop_assert!(self.with(&[Is::AtWork]).len() <= self.fleet.max_parallel);
        if self.fleet.ramp {
            prop_assert!(
                self.with(&[Is::AtWork]).len() <= well + 1,
                "a ramp never has more at work than were well before"
            );
        }
        Ok(())
    }

    fn fail(&mut self, host: &str) -> Result<(), TestCaseError> {
        self.failures.failed(host);
        self.failed.insert(host.to_owned());
        self.failed_in_batch.insert(host.to_owned());
        let of_batch = self.cut[self.batch].len();
        let too_many = self.failed.len() > self.fleet.max_fail;
        let too_many_here = self
            .fleet
            .percent
            .is_some_and(|percent| self.failed_in_batch.len() * 100 > usize::from(percent) * of_batch);
        prop_assert_eq!(self.failures.exceeded().is_some(), too_many || too_many_here, "at the first one too many");
        self.aborted |= too_many || too_many_here;
        Ok(())
    }

    fn act(&mut self, host: usize, what: u8) -> Result<(), TestCaseError> {
        let Some(host) = self.names.get(host).cloned() else { return Ok(()) };
        match (what, self.is[&host]) {
            (0..=3, Is::Waiting) => self.start(&host)?,
            (0..=3, Is::AtWork) => {
                self.is.insert(host.clone(), Is::Well);
                self.budget.set(&host, None);
            }
            (4 | 5, Is::AtWork) => {
                self.is.insert(host.clone(), Is::Broken);
                let why = if what == 4 { Disruption::Failed } else { Disruption::Unknown };
                self.budget.set(&host, Some(why));
                self.fail(&host)?;
            }
            (6, Is::Broken) => {
                self.is.insert(host.clone(), Is::Restored);
                let sick = self.fleet.sick.iter().any(|n| self.names.get(*n) == Some(&host));
                self.budget.set(&host, sick.then_some(Disruption::SickBefore));
            }
            (7, _) if !self.aborted && self.with(&[Is::AtWork]).is_empty() && self.batch + 1 < self.cut.len() => {
                self.batch += 1;
                self.failed_in_batch.clear();
                self.failures.begin_batch(self.cut[self.batch].len());
            }
            _ => {}
        }
        prop_assert_eq!(self.budget.disrupted(), self.disrupted(|_| true));
        Ok(())
    }
}

proptest! {
    #![proptest_config(cases(7000))]

    /// `max_unavailable` in the run and in each failure domain, `max_parallel`, `ramp`, `max_fail` and
    /// `max_fail_percentage`: never more at once than allowed, stopped at the first failure too many, nothing held up
    /// without a reason.
    #[test]
    fn budgets_hold_in_every_history(fleet in fleet()) {
        let acts = fleet.acts.clone();
        let mut play = Play::new(fleet);
        for (host, what) in acts {
            play.act(host, what)?;
        }
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    /// R3: each entry is the size of its batch, a percentage of all hosts rounded down and at least one, the last entry
    /// repeats; tolerances round down to nothing; no value means "off".
    #[test]
    fn sizes_are_as_written(sizes in prop::collection::vec(size(), 1..5), n in 1_usize..300) {
        let names: Vec<String> = (0..n).map(|i| format!("h{i}")).collect();
        let cut = batches(&sizes, &names);
        prop_assert_eq!(cut.concat(), names);
        let wanted = |i: usize| match sizes[i.min(sizes.len() - 1)] {
            Size::Count(count) => count,
            Size::Percent(percent) => ((percent * n as f64 / 100.0 + 1e-9).floor() as usize).max(1),
        };
        for (i, batch) in cut.iter().enumerate() {
            let left = n - cut[..i].iter().map(Vec::len).sum::<usize>();
            prop_assert_eq!(batch.len(), wanted(i).min(left));
        }
        for size in sizes {
            prop_assert_eq!(speed(size, n), tolerance(size, n).max(1));
        }
    }
}

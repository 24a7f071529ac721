//! Failure domains: hosts that fail together, and how many of each may be disrupted at once (rollout.md R3, R4).

use super::{resolved::count, sizes::speed};
use crate::playbook::Size;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Which host is in which domain: the value of the variable that `failure_domain` names.
pub type DomainOf = BTreeMap<String, String>;

/// A failure domain of a play.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Domain {
    /// The variable's value.
    pub name: String,
    /// Its hosts of the play.
    pub hosts: BTreeSet<String>,
    /// How many of them may be disrupted at once.
    pub max_unavailable: usize,
}

/// The failure domains of a play; none without `failure_domain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Domains(Vec<Domain>);

impl Domains {
    /// The domains of these hosts, in the order of their first host. A percentage is of each domain's hosts; without
    /// `max_unavailable`, each may lose as many as the largest batch has.
    pub(super) fn new(hosts: &[String], of: &DomainOf, max_unavailable: Option<Size>, largest: usize) -> Self {
        let mut domains: Vec<Domain> = Vec::new();
        for host in hosts {
            let Some(name) = of.get(host) else { continue };
            match domains.iter_mut().find(|domain| domain.name == *name) {
                Some(domain) => drop(domain.hosts.insert(host.clone())),
                None => {
                    let hosts = BTreeSet::from([host.clone()]);
                    domains.push(Domain { name: name.clone(), hosts, max_unavailable: largest });
                }
            }
        }
        for domain in &mut domains {
            let size = domain.hosts.len();
            domain.max_unavailable = max_unavailable.map_or(largest, |wanted| speed(wanted, size)).min(size);
        }
        Self(domains)
    }

    /// All of them.
    pub fn all(&self) -> &[Domain] {
        &self.0
    }

    /// Whether the play has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A host's own.
    pub fn of(&self, host: &str) -> Option<&Domain> {
        self.0.iter().find(|domain| domain.hosts.contains(host))
    }

    /// Most hosts disrupted at once by all domains together.
    pub fn at_once(&self) -> usize {
        self.0.iter().map(|domain| domain.max_unavailable).sum()
    }

    /// `At most 1 of 10 hosts of r1 and 2 of 20 of r2 unavailable at once (failure_domain rack).`
    pub(super) fn sentence(&self, variable: &str) -> String {
        const SHOWN: usize = 12;
        let mut parts: Vec<String> = self
            .0
            .iter()
            .take(SHOWN)
            .map(|domain| {
                let of = count(domain.hosts.len(), "host", "hosts");
                format!("{} of the {of} of {}", domain.max_unavailable, domain.name)
            })
            .collect();
        if self.0.len() > SHOWN {
            parts.push(format!("likewise in {} more", self.0.len() - SHOWN));
        }
        format!("failure_domain {variable}: at once at most {} unavailable.", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{Budget, Disruption};

    fn fleet(racks: &[(&str, usize)]) -> (Vec<String>, DomainOf) {
        let hosts: Vec<(String, String)> = racks
            .iter()
            .flat_map(|(rack, n)| (0..*n).map(move |i| (format!("{rack}-{i}"), (*rack).to_owned())))
            .collect();
        (hosts.iter().map(|(host, _)| host.clone()).collect(), hosts.into_iter().collect())
    }

    #[test]
    fn a_percentage_is_of_the_domain_and_at_least_one() {
        let (hosts, of) = fleet(&[("r1", 10), ("r2", 25), ("r3", 2)]);
        let domains = Domains::new(&hosts, &of, Some(Size::Percent(10.0)), 5);
        assert_eq!(domains.all().iter().map(|domain| domain.max_unavailable).collect::<Vec<_>>(), [1, 2, 1]);
        assert_eq!(domains.at_once(), 4);
        let unlimited = Domains::new(&hosts, &of, None, 5);
        assert_eq!(unlimited.all().iter().map(|domain| domain.max_unavailable).collect::<Vec<_>>(), [5, 5, 2]);
        assert_eq!(
            domains.sentence("rack"),
            "failure_domain rack: at once at most 1 of the 10 hosts of r1, 2 of the 25 hosts of r2, 1 of the 2 hosts of \
             r3 unavailable."
        );
    }

    #[test]
    fn a_domain_without_room_holds_up_its_own_hosts_alone() {
        let (hosts, of) = fleet(&[("r1", 3), ("r2", 3)]);
        let domains = Domains::new(&hosts, &of, Some(Size::Percent(34.0)), 6);
        let mut budget = Budget::new(2, domains);
        budget.set("r1-0", Some(Disruption::Changing));
        assert_eq!(budget.against("r1-1").and_then(|spent| spent.domain), Some("r1".to_owned()));
        assert!(budget.may_start("r1-0") && budget.may_start("r2-0"));
        budget.set("r2-0", Some(Disruption::SickBefore));
        assert_eq!(budget.exceeded_by_sick(), None);
        assert_eq!(budget.against("r2-1").and_then(|spent| spent.domain), None, "now the run has no room");
        budget.set("r2-1", Some(Disruption::SickBefore));
        let spent = budget.exceeded_by_sick().unwrap();
        assert_eq!((spent.limit().as_str(), spent.hosts.len()), ("max_unavailable of r2 (1)", 2));
    }
}

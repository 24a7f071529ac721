//! `max_unhealthy_upgraded`: how many of the hosts changed so far may be unhealthy (rollout.md 2.3).

use super::sizes::tolerance;
use crate::playbook::Size;
use std::collections::BTreeSet;

/// Counts the changed hosts that are unhealthy: those that were found sick and put back stay counted, as in `max_fail`;
/// those that are sick now count as long as they are.
#[derive(Debug, Clone, Default)]
pub struct Upgraded {
    /// For each batch, how many are tolerated up to its end; none: no limit.
    tolerated: Option<Vec<usize>>,
    failed: BTreeSet<String>,
    forgiven: usize,
}

impl Upgraded {
    /// A limit over these batches; a percentage is of the hosts of the batches begun so far.
    pub fn new(limit: Option<Size>, batches: &[Vec<String>]) -> Self {
        Self { tolerated: limit.map(|size| tolerated(size, batches)), ..Self::default() }
    }

    /// Whether there is a limit at all.
    pub fn is_limited(&self) -> bool {
        self.tolerated.is_some()
    }

    /// A host was changed and then found sick. It counts for the rest of the run.
    pub fn failed(&mut self, host: &str) {
        self.failed.insert(host.to_owned());
    }

    /// An operator has seen these hosts and lets the run go on: only further ones count.
    pub fn forgive(&mut self) {
        self.forgiven = self.failed.len();
    }

    /// The unhealthy hosts, in order, and how many are tolerated up to the end of this batch, if they are more than that.
    pub fn exceeded<'a>(
        &'a self,
        batch: usize,
        sick: impl Iterator<Item = &'a String>,
    ) -> Option<(Vec<String>, usize)> {
        let tolerated = (*self.tolerated.as_ref()?.get(batch)?).max(self.forgiven);
        let unhealthy: BTreeSet<&String> = self.failed.iter().chain(sick).collect();
        (unhealthy.len() > tolerated).then(|| (unhealthy.into_iter().cloned().collect(), tolerated))
    }
}

/// For each batch, how many unhealthy hosts are tolerated up to its end.
pub(super) fn tolerated(limit: Size, batches: &[Vec<String>]) -> Vec<usize> {
    let begun = batches.iter().scan(0, |hosts, batch| {
        *hosts += batch.len();
        Some(*hosts)
    });
    begun.map(|hosts| tolerance(limit, hosts)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(sizes: &[usize]) -> Vec<Vec<String>> {
        let mut names = (0..).map(|n| format!("h{n}"));
        sizes.iter().map(|size| names.by_ref().take(*size).collect()).collect()
    }

    #[test]
    fn a_percentage_is_of_the_batches_begun_so_far_and_fires_at_the_next() {
        let batches = batches(&[1, 4, 10]);
        assert_eq!(tolerated(Size::Percent(20.0), &batches), [0, 1, 3]);
        assert_eq!(tolerated(Size::Count(2), &batches), [2, 2, 2]);
        let mut upgraded = Upgraded::new(Some(Size::Percent(20.0)), &batches);
        let (a, b) = ("a".to_owned(), "b".to_owned());
        assert_eq!(upgraded.exceeded(0, [&a].into_iter()), Some((vec![a.clone()], 0)));
        assert_eq!(upgraded.exceeded(1, [&a].into_iter()), None);
        upgraded.failed("a");
        assert_eq!(upgraded.exceeded(1, [&a].into_iter()), None, "a host counts once");
        assert_eq!(upgraded.exceeded(1, [&b].into_iter()), Some((vec![a, b.clone()], 1)));
        upgraded.failed("b");
        upgraded.forgive();
        assert_eq!(upgraded.exceeded(1, [&b].into_iter()), None);
    }

    #[test]
    fn without_a_limit_nothing_is_too_much() {
        let mut upgraded = Upgraded::new(None, &batches(&[1]));
        upgraded.failed("a");
        assert_eq!(upgraded.exceeded(0, std::iter::empty()), None);
    }
}

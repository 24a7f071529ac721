//! Counts from counts and percentages (rollout.md R3). Speeds round down to at least 1, tolerances round down to 0.

use crate::playbook::Size;

/// Cuts the hosts of a play into batches: each entry is the size of that batch, the last entry repeats.
///
/// A percentage is of all `hosts`, rounded down, at least 1. No entry, or a count of 0 (`serial: 0`, which the loader
/// refuses under `rollout:`), is one batch of what is left. Every host is in exactly one batch, in the order given.
pub fn batches(sizes: &[Size], hosts: &[String]) -> Vec<Vec<String>> {
    let mut rest = hosts;
    let mut entries = sizes.iter().chain(std::iter::repeat_with(|| sizes.last()).map_while(|last| last));
    let mut cut = Vec::new();
    while !rest.is_empty() {
        let size = match entries.next() {
            None | Some(Size::Count(0)) => rest.len(),
            Some(size) => speed(*size, hosts.len()),
        };
        let (batch, after) = rest.split_at(size.min(rest.len()));
        cut.push(batch.to_vec());
        rest = after;
    }
    cut
}

/// How many of `total` hosts a size is where it says how fast something goes: rounded down, at least 1.
pub fn speed(size: Size, total: usize) -> usize {
    tolerance(size, total).max(1)
}

/// How many of `total` hosts a size is where it says what is tolerated: rounded down, may be 0.
pub fn tolerance(size: Size, total: usize) -> usize {
    match size {
        Size::Count(count) => count,
        Size::Percent(percent) => floor(percent * as_float(total) / 100.0),
    }
}

/// How many hosts of a batch may be at work at once with `ramp: true`: 1, 2, 4, ... up to `most`, the next size when as
/// many as all before it have come out well.
pub fn ramp(well: usize, most: usize) -> usize {
    let size = (well + 1).checked_ilog2().map_or(1, |log| 1_usize << log);
    size.min(most)
}

/// Whether `failed` of a batch of `batch` hosts are more than `percent` of it: `max_fail_percentage`, strictly
/// greater, as Ansible.
pub fn exceeds_percentage(failed: usize, batch: usize, percent: f64) -> bool {
    batch > 0 && as_float(failed) * 100.0 > percent * as_float(batch)
}

#[expect(clippy::cast_precision_loss, reason = "a fleet has fewer than 2^52 hosts")]
fn as_float(count: usize) -> f64 {
    count as f64
}

/// Rounds down; a share that is whole but for the error of the division counts as whole.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, at most the fleet's size")]
fn floor(share: f64) -> usize {
    (share + 1e-9).max(0.0).floor() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hosts(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("h{i}")).collect()
    }

    fn lengths(sizes: &[Size], n: usize) -> Vec<usize> {
        batches(sizes, &hosts(n)).iter().map(Vec::len).collect()
    }

    #[test]
    fn the_last_entry_repeats_and_percentages_are_of_all_hosts() {
        use Size::{Count, Percent};
        assert_eq!(lengths(&[Count(1), Percent(10.0), Percent(50.0)], 20), [1, 2, 10, 7]);
        assert_eq!(lengths(&[Count(1), Count(3)], 9), [1, 3, 3, 2]);
        assert_eq!(lengths(&[Percent(10.0)], 6), [1, 1, 1, 1, 1, 1], "10 % of 6 is 1, as in Ansible");
        assert_eq!(lengths(&[], 5), [5]);
        assert_eq!(lengths(&[Count(0)], 5), [5]);
        assert_eq!(lengths(&[Percent(33.3)], 1000), [333, 333, 333, 1]);
        assert_eq!(lengths(&[Count(3)], 0), [0_usize; 0]);
    }

    #[test]
    fn tolerances_round_down_to_nothing_speeds_do_not() {
        assert_eq!(tolerance(Size::Percent(10.0), 9), 0);
        assert_eq!(speed(Size::Percent(10.0), 9), 1);
        assert_eq!(tolerance(Size::Percent(7.0), 100), 7);
        assert!(!exceeds_percentage(3, 10, 30.0), "strictly greater");
        assert!(exceeds_percentage(4, 10, 30.0));
    }

    #[test]
    fn a_ramp_doubles_when_all_before_it_are_well() {
        let sizes: Vec<usize> = [0, 1, 2, 3, 6, 7, 14, 15, 99].map(|well| ramp(well, 10)).to_vec();
        assert_eq!(sizes, [1, 2, 2, 4, 4, 8, 8, 10, 10]);
    }

    fn size() -> impl Strategy<Value = Size> {
        prop_oneof![(1_usize..50).prop_map(Size::Count), (0.5_f64..=100.0).prop_map(Size::Percent)]
    }

    proptest! {
        #[test]
        fn every_host_is_in_exactly_one_batch_in_order(sizes in prop::collection::vec(size(), 0..5), n in 0_usize..300) {
            let cut = batches(&sizes, &hosts(n));
            prop_assert!(cut.iter().all(|batch| !batch.is_empty()));
            prop_assert_eq!(cut.concat(), hosts(n));
        }

        #[test]
        fn no_batch_is_larger_than_its_entry(sizes in prop::collection::vec(size(), 1..5), n in 1_usize..300) {
            for (i, batch) in batches(&sizes, &hosts(n)).iter().enumerate() {
                prop_assert!(batch.len() <= speed(sizes[i.min(sizes.len() - 1)], n));
            }
        }

        #[test]
        fn a_tolerance_never_exceeds_its_percentage(percent in 0.0_f64..=100.0, n in 0_usize..10_000) {
            let tolerated = tolerance(Size::Percent(percent), n);
            prop_assert!(!exceeds_percentage(tolerated, n, percent + 1e-6));
            prop_assert!(tolerated <= n);
        }
    }
}

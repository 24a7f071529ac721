//! The 95th percentile by nearest rank.

/// The p95 of so many milliseconds, in seconds: the value at rank ceil(0.95 n) of the sorted samples. None of none.
///
/// With fewer than 20 samples that rank is the last one, so that p95 is the maximum.
pub fn p95(samples_ms: &[u64]) -> Option<f64> {
    let mut sorted = samples_ms.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * 95).div_ceil(100);
    Some(seconds(*sorted.get(rank.checked_sub(1)?)?))
}

/// The longest of so many milliseconds, in seconds.
pub(super) fn longest(samples_ms: &[u64]) -> Option<f64> {
    samples_ms.iter().max().map(|ms| seconds(*ms))
}

#[expect(clippy::cast_precision_loss, reason = "a probe takes less than 2^52 ms")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nearest_rank_of_twenty_leaves_one_outlier_out() {
        let mut samples: Vec<u64> = (1..=20).map(|i| i * 1000).collect();
        assert_eq!(p95(&samples), Some(19.0));
        samples.truncate(19);
        assert_eq!(p95(&samples), Some(19.0), "of 19 it is the maximum");
        assert_eq!(p95(&[]), None);
        assert_eq!(p95(&[7]), Some(0.007));
    }

    proptest! {
        #[test]
        fn at_least_95_in_100_are_no_longer(samples in prop::collection::vec(0_u64..100_000, 1..200)) {
            let p = p95(&samples).unwrap();
            let within = samples.iter().filter(|ms| seconds(**ms) <= p).count();
            prop_assert!(within * 100 >= samples.len() * 95);
            prop_assert!(samples.iter().any(|ms| seconds(*ms) == p), "it is one of the samples");
            let below = samples.iter().filter(|ms| seconds(**ms) < p).count();
            prop_assert!(below * 100 < samples.len() * 95, "no smaller sample would do");
        }
    }
}

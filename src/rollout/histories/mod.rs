//! Random histories of the pure parts of a run, against the definitions written out again: one law for each knob. The same
//! laws over the whole engine stand in `engine/tests/model.rs`.

mod budget;
mod judge;

use proptest::prelude::ProptestConfig;

/// How many histories: so many by default, more with `PROPTEST_CASES`, ten times as many with `ROLLGATE_FULL=1`.
pub(crate) fn cases(default: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse::<u32>().ok());
    let full = std::env::var("ROLLGATE_FULL").is_ok_and(|full| full == "1");
    let cases = asked.unwrap_or(0).max(if full { default * 10 } else { default });
    ProptestConfig { cases, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() }
}

//! Durations and shares as people write them.

use std::time::Duration;

/// Longest duration accepted: 366 days, so that sums of durations never overflow.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// `90`, `90s`, `1h30m`, `250ms`, `7d`, `1.5h`; none if it is nothing of the kind or over 366 days.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return bounded(seconds);
    }
    let (mut rest, mut seconds) = (text, 0.0_f64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, tail) = after.split_at(letters);
        let scale = match unit {
            "ms" => 0.001,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = tail.trim_start();
    }
    bounded(seconds)
}

fn bounded(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= LONGEST)
}

/// `3`, `"3"`, `"30%"`; the number as written, without judging its range. None if it is neither.
pub(super) fn size(text: &str) -> Option<RawSize> {
    let text = text.trim();
    if let Some(percent) = text.strip_suffix('%') {
        return percent.trim().parse::<f64>().ok().filter(|p| p.is_finite()).map(RawSize::Percent);
    }
    text.parse::<i64>().ok().map(RawSize::Count)
}

/// A size before its range is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum RawSize {
    /// Hosts.
    Count(i64),
    /// Hundredths.
    Percent(f64),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_written() {
        for (text, seconds) in
            [("90", 90.0), ("90s", 90.0), ("1h30m", 5400.0), ("250ms", 0.25), ("7d", 604_800.0), ("1m 5s", 65.0)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "5 parsecs", "-3", "s", "1h-1m", "1e99", "nan", "inf", "400d"] {
            assert_eq!(duration(text).filter(|d| !d.is_zero()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in ".{0,20}") {
            let _ = (duration(&text), size(&text));
        }
    }
}

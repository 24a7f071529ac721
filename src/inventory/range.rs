//! Ranges in host names: `web[01:20]`, `db[a:f]`, `rack[1:9:2]`, several in one name.

/// More hosts than this from one name are taken for a slip of the finger.
const MOST: usize = 100_000;

/// Expands the ranges of a host name, in order. A name without brackets is itself.
///
/// # Errors
/// What is wrong with a range.
pub(super) fn expand(name: &str) -> Result<Vec<String>, String> {
    let Some((head, rest)) = name.split_once('[') else { return Ok(vec![name.to_owned()]) };
    let (inner, tail) = rest.split_once(']').ok_or_else(|| format!("the `[` in `{name}` is not closed"))?;
    let values = values(inner)?;
    let tails = expand(tail)?;
    if values.len().saturating_mul(tails.len()) > MOST {
        return Err(format!("`{name}` stands for more than {MOST} hosts"));
    }
    Ok(values.iter().flat_map(|value| tails.iter().map(move |tail| format!("{head}{value}{tail}"))).collect())
}

/// The values of `begin:end` or `begin:end:step`, both ends included.
fn values(range: &str) -> Result<Vec<String>, String> {
    let bounds: Vec<&str> = range.split(':').collect();
    let (begin, end, step) = match bounds.as_slice() {
        [begin, end] => (*begin, *end, "1"),
        [begin, end, step] => (*begin, *end, *step),
        _ => return Err(format!("`[{range}]` is no range; write [begin:end] or [begin:end:step]")),
    };
    let begin = if begin.is_empty() { "0" } else { begin };
    if end.is_empty() {
        return Err(format!("the range `[{range}]` has no end"));
    }
    let step: usize = step
        .parse()
        .ok()
        .filter(|step| *step > 0)
        .ok_or_else(|| format!("the step of the range `[{range}]` must be a whole number from 1"))?;
    if let (Some(first), Some(last)) = (letter(begin), letter(end)) {
        if first > last {
            return Err(backwards(range));
        }
        return Ok(LETTERS.chars().take(last + 1).skip(first).step_by(step).map(String::from).collect());
    }
    let number = |text: &str| {
        text.parse::<usize>()
            .map_err(|_| format!("the range `[{range}]` must have two numbers or two letters; `{text}` is neither"))
    };
    let (first, last) = (number(begin)?, number(end)?);
    if first > last {
        return Err(backwards(range));
    }
    let width = if begin.starts_with('0') && begin.len() > 1 { begin.len() } else { 0 };
    if width > 0 && width != end.len() {
        return Err(format!("both ends of the range `[{range}]` must have the same number of digits"));
    }
    if (last - first) / step >= MOST {
        return Err(format!("the range `[{range}]` stands for more than {MOST} hosts"));
    }
    Ok((first..=last).step_by(step).map(|value| format!("{value:0width$}")).collect())
}

fn backwards(range: &str) -> String {
    format!("the range `[{range}]` ends before it begins")
}

/// Python's `string.ascii_letters`.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

fn letter(text: &str) -> Option<usize> {
    if text.len() == 1 { LETTERS.find(text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The right-hand sides are what ansible-core 2.19 lists.
    #[test]
    fn ranges_expand_as_in_ansible() {
        for (name, hosts) in [
            ("web1", vec!["web1"]),
            ("web[1:3]", vec!["web1", "web2", "web3"]),
            ("web[08:11].x", vec!["web08.x", "web09.x", "web10.x", "web11.x"]),
            ("r[1:9:4]", vec!["r1", "r5", "r9"]),
            ("[a:c]", vec!["a", "b", "c"]),
            ("x[y:B]", vec!["xy", "xz", "xA", "xB"]),
            ("a[1:2]b[x:y]", vec!["a1bx", "a1by", "a2bx", "a2by"]),
            ("n[:2]", vec!["n0", "n1", "n2"]),
            ("n[9:10]", vec!["n9", "n10"]),
        ] {
            assert_eq!(expand(name).expect("a range"), hosts, "{name}");
        }
    }

    #[test]
    fn wrong_ranges_are_told() {
        for name in
            ["a[1", "a[1:]", "a[1:2:3:4]", "a[3:1]", "a[01:100]", "a[a:3]", "a[1:9:0]", "a[0:999999999]", "a[x]"]
        {
            assert!(expand(name).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_padded_range_counts_up(first in 0_usize..50, more in 0_usize..50, step in 1_usize..7) {
            let last = first + more;
            let hosts = expand(&format!("h[{first:03}:{last:03}:{step}]")).expect("a range");
            let expected: Vec<String> = (first..=last).step_by(step).map(|n| format!("h{n:03}")).collect();
            prop_assert_eq!(hosts, expected);
        }

        #[test]
        fn nothing_panics(name in "[a-z0-9:\\[\\]-]{0,16}") {
            let _hosts = expand(&name);
        }
    }
}

//! Engine and kernel versions, as far as they decide anything here.

/// The first three numbers of a version: `20.10.24+dfsg1` is 20, 10, 24; `5.15-rc1` is 5, 15, 0. An epoch (`5:24.0.7`) and
/// a leading `v` or `docker-v` are passed over. `None` where no number begins it.
pub(super) fn parse(text: &str) -> Option<(u64, u64, u64)> {
    let text = text.trim();
    let text = text.strip_prefix("docker-").unwrap_or(text);
    let text = text.strip_prefix('v').unwrap_or(text);
    let text = match text.split_once(':') {
        Some((epoch, rest)) if !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => text,
    };
    let mut numbers = [0; 3];
    let mut rest = text;
    for (index, number) in numbers.iter_mut().enumerate() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        match rest.get(..end).and_then(|digits| digits.parse().ok()) {
            Some(parsed) => *number = parsed,
            None if index == 0 => return None,
            None => break,
        }
        match rest.get(end..).and_then(|tail| tail.strip_prefix('.')) {
            Some(tail) => rest = tail,
            None => break,
        }
    }
    let [major, minor, patch] = numbers;
    Some((major, minor, patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn distributions_spell_versions_in_many_ways() {
        for (text, numbers) in [
            ("20.10.24+dfsg1", (20, 10, 24)),
            ("5:24.0.7-1~debian.12~bookworm", (24, 0, 7)),
            ("docker-v29.0.0", (29, 0, 0)),
            ("20.10.9-ce", (20, 10, 9)),
            ("19.03.15", (19, 3, 15)),
            ("28.0.0-rc.1", (28, 0, 0)),
            ("6.1.0-13-amd64", (6, 1, 0)),
            ("3.8", (3, 8, 0)),
            ("25", (25, 0, 0)),
        ] {
            assert_eq!(parse(text), Some(numbers), "{text}");
        }
        for text in ["", "dev", "-1.2", "library-import"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(parse("20.10.9") > parse("20.10.8") && parse("20.10.10") > parse("20.10.9"));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_plain_versions_keep_their_order(a in (0u64..99, 0u64..99, 0u64..99), b in (0u64..99, 0u64..99, 0u64..99), junk in "\\PC*") {
            let _any = parse(&junk);
            let text = |v: (u64, u64, u64)| format!("{}.{}.{}", v.0, v.1, v.2);
            prop_assert_eq!(parse(&text(a)).cmp(&parse(&text(b))), a.cmp(&b));
        }
    }
}

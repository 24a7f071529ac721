//! OpenSSH's host patterns: comma-separated, `*` and `?`, `!` excludes (`match_pattern_list` of match.c).

/// Whether one of the patterns matches the host and none that begins with `!` does. Both sides without regard to case.
pub(crate) fn matches_list(list: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let mut matched = false;
    for pattern in list.split(',') {
        let (excludes, pattern) = pattern.strip_prefix('!').map_or((false, pattern), |rest| (true, rest));
        if matches(pattern.to_ascii_lowercase().as_bytes(), host.as_bytes()) {
            if excludes {
                return false;
            }
            matched = true;
        }
    }
    matched
}

/// `*` is any run of characters, `?` any one. Goes back to the last `*` only, so the time is bounded by the product of
/// the lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || Some(&byte) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_match_as_openssh_says() {
        assert!(matches_list("web1,web2", "web2"));
        assert!(matches_list("*.example.org", "A.Example.ORG"));
        assert!(matches_list("web?", "web1"));
        assert!(!matches_list("web?", "web10"));
        assert!(!matches_list("*,!web1", "web1"), "an exclusion wins wherever it stands");
        assert!(!matches_list("!web1", "web2"), "exclusions alone match nothing");
        assert!(matches_list("[web1]:2222", "[web1]:2222"), "brackets are themselves");
        assert!(!matches_list("", "web1"));
    }

    /// The definition, without regard to time.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => slow(rest, text) || (!text.is_empty() && slow(pattern, &text[1..])),
            (Some((b'?', rest)), Some((_, text))) => slow(rest, text),
            (Some((p, rest)), Some((t, text))) => p == t && slow(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}

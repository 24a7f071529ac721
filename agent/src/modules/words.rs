//! Small languages of Ansible's parameters: file name patterns, `$VARIABLES`, time stamps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Whether something matches a pattern of Python's `glob` (no `**`), relative to `base`.
pub(super) fn glob(base: &Path, pattern: &str) -> bool {
    let mut found = vec![if pattern.starts_with('/') { PathBuf::from("/") } else { base.to_owned() }];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = if part.contains(['*', '?', '[']) {
            found.iter().flat_map(|directory| matching(directory, part)).collect()
        } else {
            found.into_iter().map(|path| path.join(part)).filter(|path| path.symlink_metadata().is_ok()).collect()
        };
    }
    !found.is_empty()
}

fn matching(directory: &Path, pattern: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(directory) else { return Vec::new() };
    let pattern: Vec<char> = pattern.chars().collect();
    entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let name: Vec<char> = entry.file_name().to_string_lossy().chars().collect();
            // A leading dot is matched only by a dot.
            (name.first() != Some(&'.') || pattern.first() == Some(&'.')) && name_matches(&pattern, &name)
        })
        .map(|entry| entry.path())
        .collect()
}

/// fnmatch(3) for one name.
fn name_matches(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*', rest @ ..] => (0..=name.len()).any(|at| name.get(at..).is_some_and(|tail| name_matches(rest, tail))),
        ['?', rest @ ..] => matches!(name, [_, tail @ ..] if name_matches(rest, tail)),
        ['[', rest @ ..] => match (class(rest), name) {
            (Some((set, rest)), [letter, tail @ ..]) => set(*letter) && name_matches(rest, tail),
            (Some(_), []) => false,
            (None, _) => matches!(name, ['[', tail @ ..] if name_matches(rest, tail)),
        },
        [letter, rest @ ..] => matches!(name, [first, tail @ ..] if first == letter && name_matches(rest, tail)),
    }
}

/// A bracket expression after its `[`: a test for a letter and the pattern after it. None if it is not closed.
fn class(pattern: &[char]) -> Option<(impl Fn(char) -> bool, &[char])> {
    let negated = matches!(pattern, ['!', ..]);
    let body = if negated { pattern.get(1..)? } else { pattern };
    // A `]` in the first place stands for itself.
    let end = 1 + body.get(1..)?.iter().position(|letter| *letter == ']')?;
    let set = body.get(..end)?.to_vec();
    let test = move |letter: char| {
        let mut at = 0;
        let mut inside = false;
        while let Some(low) = set.get(at) {
            if let (Some('-'), Some(high)) = (set.get(at + 1), set.get(at + 2)) {
                inside |= (*low..=*high).contains(&letter);
                at += 3;
            } else {
                inside |= *low == letter;
                at += 1;
            }
        }
        inside != negated
    };
    Some((test, body.get(end + 1..)?))
}

/// Python's `os.path.expandvars` and, for the own home, `expanduser`: an unknown variable stays as it is.
pub(super) fn expand(word: &str, environment: &BTreeMap<String, String>) -> String {
    let variable = |name: &str| environment.get(name).cloned().or_else(|| std::env::var(name).ok());
    let mut rest = word;
    let mut out = String::new();
    if (word == "~" || word.starts_with("~/"))
        && let Some(home) = variable("HOME")
    {
        out.push_str(&home);
        rest = word.get(1..).unwrap_or_default();
    }
    while let Some(at) = rest.find('$') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let (name, whole) = variable_name(tail);
        match variable(name).filter(|_| !name.is_empty()) {
            Some(value) => out.push_str(&value),
            None => out.push_str(tail.get(..whole).unwrap_or_default()),
        }
        rest = tail.get(whole..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// The name after a `$`, with how many bytes `$name` or `${name}` takes.
fn variable_name(tail: &str) -> (&str, usize) {
    let body = tail.get(1..).unwrap_or_default();
    if let Some(braced) = body.strip_prefix('{') {
        return braced.find('}').map_or(("", 1), |end| (braced.get(..end).unwrap_or_default(), end + 3));
    }
    let end = body.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(body.len());
    (body.get(..end).unwrap_or_default(), end + 1)
}

/// `2026-01-31 12:00:00.000000` in UTC: Python's `str(datetime)`.
pub(super) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (year, month, day, hour, minute, second) = civil(since.as_secs());
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:06}", since.subsec_micros())
}

/// Year, month, day, hour, minute and second of a second since the epoch, in UTC.
pub(super) fn civil(seconds: u64) -> (u64, u64, u64, u64, u64, u64) {
    // Days from civil, the other way round: eras of 400 years that begin on the 1st of March.
    let days = seconds / 86400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn patterns_match_as_pythons_glob_does() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a1.log", "b2.log", ".hidden", "x-y"] {
            fs_err::write(directory.path().join(name), "").unwrap();
        }
        let base = directory.path();
        for (pattern, found) in [
            ("a1.log", true),
            ("*.log", true),
            ("[ab]?.log", true),
            ("[!ab]?.log", false),
            ("[a-c]2.log", true),
            ("*hidden", false),
            (".h*", true),
            ("x[-]y", true),
            ("nothing*", false),
            ("*/below", false),
        ] {
            assert_eq!(glob(base, pattern), found, "{pattern}");
        }
        assert!(glob(Path::new("/"), &format!("{}/*.log", base.display())));
    }

    #[test]
    fn variables_are_expanded_and_unknown_ones_stay() {
        let environment = BTreeMap::from([("A".to_owned(), "x".to_owned()), ("HOME".to_owned(), "/h".to_owned())]);
        assert_eq!(expand("$A/${A}$B${C} $", &environment), "x/x$B${C} $");
        assert_eq!(expand("~/a~", &environment), "/h/a~");
        assert_eq!(expand("${A", &environment), "${A");
    }

    #[test]
    fn time_stamps_are_civil() {
        assert_eq!(timestamp(UNIX_EPOCH), "1970-01-01 00:00:00.000000");
        assert_eq!(timestamp(UNIX_EPOCH + Duration::new(1_709_210_096, 7000)), "2024-02-29 12:34:56.000007");
        assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(4_102_444_799)), "2099-12-31 23:59:59.000000");
    }
}

//! Host patterns: Ansible's algebra, and errors for names that match nothing.

use super::model::Inventory;
use fancy_regex::Regex;
use std::collections::HashSet;

/// A pattern that selects nothing, or is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No group or host of this name.
    #[error("no group or host of the inventory matches `{pattern}`")]
    Unknown {
        /// The part of the pattern.
        pattern: String,
        /// A group or host of a similar name.
        nearest: Option<String>,
    },
    /// It cannot be read.
    #[error("`{pattern}` is no host pattern: {reason}")]
    Malformed {
        /// The part of the pattern.
        pattern: String,
        /// Why.
        reason: String,
    },
    /// A file of patterns cannot be read.
    #[error("cannot read the file of hosts `{path}`: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

impl SelectError {
    /// What to try.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Unknown { pattern, .. } if pattern.contains(":&") || pattern.contains(":!") => {
                Some("Separate the parts by commas or by colons, not by both.".to_owned())
            }
            Self::Unknown { nearest: Some(name), .. } => Some(format!("Did you mean `{name}`?")),
            Self::Unknown { nearest: None, .. } => {
                Some("`rollgate inventory --list` shows groups and hosts.".to_owned())
            }
            Self::Malformed { .. } | Self::File { .. } => None,
        }
    }
}

/// Names of the local machine that need not be in the inventory.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What one pattern does to the selection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Add,
    Keep,
    Remove,
}

impl Inventory {
    /// The hosts that a pattern selects, in Ansible's order: that of the pattern, and within a group that of its members.
    ///
    /// # Errors
    /// A part that matches no group and no host, or that cannot be read.
    pub fn select(&self, pattern: &str) -> Result<Vec<String>, SelectError> {
        self.evaluate(&split(pattern))
    }

    /// Those of `hosts` that `--limit` leaves. `@FILE` stands for a file with one pattern a line.
    ///
    /// # Errors
    /// As [`Self::select`]; a file that cannot be read.
    pub fn limit(&self, hosts: &[String], limit: &str) -> Result<Vec<String>, SelectError> {
        let mut patterns = Vec::new();
        for part in split(limit) {
            let Some(path) = part.strip_prefix('@') else {
                patterns.push(part);
                continue;
            };
            let text = fs_err::read_to_string(path)
                .map_err(|error| SelectError::File { path: path.to_owned(), reason: error.to_string() })?;
            patterns.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
        let left: HashSet<String> = self.evaluate(&patterns)?.into_iter().collect();
        Ok(hosts.iter().filter(|host| left.contains(*host)).cloned().collect())
    }

    fn evaluate(&self, patterns: &[String]) -> Result<Vec<String>, SelectError> {
        let mut ordered: Vec<(Operation, &str)> = patterns.iter().map(|pattern| operation(pattern)).collect();
        if !ordered.iter().any(|(operation, _)| *operation == Operation::Add) {
            ordered.insert(0, (Operation::Add, "all"));
        }
        ordered.sort_by_key(|(operation, _)| *operation as u8);
        let mut selected: Vec<String> = Vec::new();
        for (operation, pattern) in ordered {
            let matched = self.matches(pattern)?;
            match operation {
                Operation::Add => {
                    let known: HashSet<String> = selected.iter().cloned().collect();
                    let mut seen = HashSet::new();
                    selected
                        .extend(matched.into_iter().filter(|host| !known.contains(host) && seen.insert(host.clone())));
                }
                Operation::Keep => selected.retain(|host| matched.contains(host)),
                Operation::Remove => selected.retain(|host| !matched.contains(host)),
            }
        }
        Ok(selected)
    }

    /// The hosts of one pattern without its operator.
    fn matches(&self, pattern: &str) -> Result<Vec<String>, SelectError> {
        if self.host(pattern).is_some() && self.group(pattern).is_none() {
            return Ok(vec![pattern.to_owned()]);
        }
        let (name, subscript) = subscript(pattern)?;
        let matcher = Matcher::new(name)?;
        let mut hosts: Vec<String> = Vec::new();
        let groups: Vec<&str> =
            self.groups().map(|group| group.name.as_str()).filter(|group| matcher.matches(group)).collect();
        for group in &groups {
            hosts.extend(self.hosts_of(group).into_iter().map(str::to_owned));
        }
        if groups.is_empty() || name.starts_with('~') || name.contains(['.', '?', '*', '[']) {
            hosts.extend(self.hosts().map(|host| &host.name).filter(|host| matcher.matches(host)).cloned());
        }
        if hosts.is_empty() && LOCAL.contains(&name) {
            hosts.push(name.to_owned());
        }
        if hosts.is_empty() && groups.is_empty() && name != "all" && name != "*" {
            return Err(self.unknown(pattern, name));
        }
        let mut seen = HashSet::new();
        hosts.retain(|host| seen.insert(host.clone()));
        match subscript {
            None => Ok(hosts),
            Some(subscript) => subscript.apply(hosts, pattern),
        }
    }

    fn unknown(&self, pattern: &str, name: &str) -> SelectError {
        let names = self.groups().map(|group| &group.name).chain(self.hosts().map(|host| &host.name));
        let nearest = names
            .map(|known| (strsim::jaro_winkler(name, known), known))
            .filter(|(score, _)| *score >= 0.8)
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .map(|(_, known)| known.clone());
        SelectError::Unknown { pattern: pattern.to_owned(), nearest }
    }
}

fn operation(pattern: &str) -> (Operation, &str) {
    match pattern.split_at_checked(1) {
        Some(("&", rest)) => (Operation::Keep, rest),
        Some(("!", rest)) => (Operation::Remove, rest),
        _ => (Operation::Add, pattern),
    }
}

/// Splits at commas; without any, at colons outside brackets, unless the whole is an IPv6 address.
fn split(pattern: &str) -> Vec<String> {
    let parts: Vec<String> = if pattern.contains(',') {
        pattern.split(',').map(str::to_owned).collect()
    } else if pattern.trim().parse::<std::net::Ipv6Addr>().is_ok() || pattern.trim().starts_with('~') {
        vec![pattern.to_owned()]
    } else {
        split_at_colons(pattern)
    };
    parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn split_at_colons(pattern: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    for c in pattern.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

/// `[2]`, `[-1]`, `[1:3]` (both ends included), `[2:]`.
enum Subscript {
    One(i64),
    Range(usize, Option<usize>),
}

impl Subscript {
    fn apply(self, hosts: Vec<String>, pattern: &str) -> Result<Vec<String>, SelectError> {
        if hosts.is_empty() {
            return Ok(hosts);
        }
        let outside = |length: usize| SelectError::Malformed {
            pattern: pattern.to_owned(),
            reason: format!("there are only {length} hosts"),
        };
        let length = hosts.len();
        let one = |at: i64| {
            let at = if at < 0 { at + i64::try_from(length).unwrap_or(i64::MAX) } else { at };
            usize::try_from(at).ok().and_then(|at| hosts.get(at)).cloned().map(|host| vec![host])
        };
        match self {
            Self::One(at) => one(at).ok_or_else(|| outside(length)),
            // Ansible takes an end of 0 for no end.
            Self::Range(start, Some(0)) => i64::try_from(start).ok().and_then(one).ok_or_else(|| outside(length)),
            Self::Range(start, end) => {
                let end = end.unwrap_or(length - 1).min(length - 1);
                Ok(hosts.get(start..=end).map(<[String]>::to_vec).unwrap_or_default())
            }
        }
    }
}

/// Takes a subscript off a pattern.
fn subscript(pattern: &str) -> Result<(&str, Option<Subscript>), SelectError> {
    let none = Ok((pattern, None));
    if pattern.starts_with('~') {
        return none;
    }
    let Some((name, inner)) = pattern.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) else { return none };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = |text: &str| {
        text.parse::<usize>().map_err(|_| SelectError::Malformed {
            pattern: pattern.to_owned(),
            reason: format!("`{text}` is too large a number"),
        })
    };
    if name.is_empty() {
        return none;
    }
    if digits(inner.strip_prefix('-').unwrap_or(inner)) {
        let at = inner.parse().map_err(|_| SelectError::Malformed {
            pattern: pattern.to_owned(),
            reason: format!("`{inner}` is too large a number"),
        })?;
        return Ok((name, Some(Subscript::One(at))));
    }
    match inner.split_once([':', '-']) {
        Some((start, end)) if digits(start) && (end.is_empty() || digits(end)) => {
            let end = if end.is_empty() { None } else { Some(number(end)?) };
            Ok((name, Some(Subscript::Range(number(start)?, end))))
        }
        _ => none,
    }
}

/// A name, a glob or a regular expression.
enum Matcher {
    Glob(String),
    Regex(Box<Regex>),
}

impl Matcher {
    fn new(pattern: &str) -> Result<Self, SelectError> {
        let malformed = |reason: String| SelectError::Malformed { pattern: pattern.to_owned(), reason };
        match pattern.strip_prefix('~') {
            None => Ok(Self::Glob(pattern.to_owned())),
            // As Python's `match`: from the start, not to the end.
            Some(regex) => Regex::new(&format!("\\A(?:{regex})"))
                .map(|regex| Self::Regex(Box::new(regex)))
                .map_err(|error| malformed(error.to_string())),
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Glob(pattern) => glob_matches(pattern, name),
            Self::Regex(regex) => regex.is_match(name).unwrap_or(false),
        }
    }
}

/// Python's `fnmatch`: `*`, `?`, `[abc]`, `[!abc]`, `[a-z]`.
pub fn glob_matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => bracket(&pattern, p, name[n]),
            Some(c) if *c == name[n] => Some(1),
            _ => None,
        };
        match (step, star) {
            (Some(length), _) => {
                p += length;
                n += 1;
            }
            (None, Some((at, from))) => {
                star = Some((at, from + 1));
                p = at + 1;
                n = from + 1;
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == '*'))
}

/// Length of the bracket expression at `at` if it matches; a bracket that never closes stands for itself.
fn bracket(pattern: &[char], at: usize, c: char) -> Option<usize> {
    let negated = pattern.get(at + 1) == Some(&'!');
    let start = at + 1 + usize::from(negated);
    // A closing bracket right at the start is a member.
    let Some(end) = (start + 1..pattern.len()).find(|end| pattern[*end] == ']') else {
        return (c == '[').then_some(1);
    };
    let members = pattern.get(start..end).unwrap_or_default();
    let mut found = false;
    let mut i = 0;
    while let Some(low) = members.get(i) {
        match (members.get(i + 1), members.get(i + 2)) {
            (Some('-'), Some(high)) => {
                found |= (*low..=*high).contains(&c);
                i += 3;
            }
            _ => {
                found |= *low == c;
                i += 1;
            }
        }
    }
    (found != negated).then_some(end + 1 - at)
}

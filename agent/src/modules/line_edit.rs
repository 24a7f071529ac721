//! Which line `lineinfile` changes, and how: a pure function of the text, step by step as ansible-core's `present` and
//! `absent`.

use regex_lite::Regex;

/// A regular expression that is searched in one line.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Python's syntax, as far as the agent's engine has it: no look-around and no back references in the pattern.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        Regex::new(text).map(Self).map_err(|error| error.to_string())
    }

    /// `re.search`. A line that is no UTF-8 is searched with replacement characters.
    fn finds(&self, line: &[u8]) -> bool {
        // Python's `$` matches before the newline at the end.
        self.0.is_match(&String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)))
    }

    /// Python's `match.expand`: `\1`, `\g<name>`, and the escapes of a template.
    fn expand(&self, line: &[u8], template: &[u8]) -> Option<Vec<u8>> {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line));
        let captures = self.0.captures(&line)?;
        Some(super::line_template::expand(&captures, &String::from_utf8_lossy(template)).into_bytes())
    }
}

/// Where a new line goes.
#[derive(Debug, Clone)]
pub(super) enum Place {
    End,
    Beginning,
    After(Pattern),
    Before(Pattern),
}

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Edit {
    pub(super) line: Vec<u8>,
    pub(super) regexp: Option<Pattern>,
    pub(super) search: Option<Vec<u8>>,
    pub(super) place: Place,
    pub(super) backrefs: bool,
    pub(super) first: bool,
}

/// The new text, and what Ansible says about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edited {
    pub(super) text: Vec<u8>,
    pub(super) changed: bool,
    pub(super) message: String,
    /// For `absent`: how many lines.
    pub(super) removed: Option<usize>,
}

/// The lines that the search found.
struct Hits {
    /// The line that the expression, or else the line itself, matches.
    at: Option<usize>,
    /// It was the expression or the search string.
    matched: bool,
    /// Where a new line goes by `insertafter` or `insertbefore`.
    place: Option<usize>,
}

impl Edit {
    fn matches(&self, line: &[u8]) -> bool {
        match (&self.regexp, &self.search) {
            (Some(regexp), _) => regexp.finds(line),
            (None, Some(search)) => contains(line, search),
            (None, None) => false,
        }
    }

    fn hits(&self, lines: &[Vec<u8>]) -> Hits {
        let mut found = lines.iter().enumerate().filter(|(_, line)| self.matches(line)).map(|(at, _)| at);
        let at = if self.first { found.next() } else { found.last() };
        if at.is_some() {
            return Hits { at, matched: true, place: None };
        }
        let mut hits = Hits { at: None, matched: false, place: None };
        for (at, line) in lines.iter().enumerate() {
            if bare(line) == self.line {
                hits.at = Some(at);
                continue;
            }
            let place = match &self.place {
                Place::After(pattern) if pattern.finds(line) => at + 1,
                Place::Before(pattern) if pattern.finds(line) => at,
                _ => continue,
            };
            hits.place = Some(place);
            if self.first {
                break;
            }
        }
        hits
    }
}

/// `state: present`.
pub(super) fn edit_present(text: &[u8], edit: &Edit) -> Edited {
    let mut lines = lines(text);
    let hits = edit.hits(&lines);
    let mut ended = edit.line.clone();
    ended.push(b'\n');
    if let Some(at) = hits.at {
        return replace(lines, at, edit, hits.matched);
    }
    match (&edit.place, hits.place) {
        _ if edit.backrefs => return unchanged(text),
        (Place::Beginning, _) => lines.insert(0, ended),
        (Place::End, _) | (_, None) => {
            if let Some(last) = lines.last_mut().filter(|line| !line.ends_with(b"\n") && !line.ends_with(b"\r")) {
                last.push(b'\n');
            }
            lines.push(ended);
        }
        (Place::After(_), Some(at)) if at == lines.len() => {
            if let Some(last) = lines.last_mut().filter(|line| !line.ends_with(b"\n")) {
                last.push(b'\n');
            }
            lines.push(ended);
        }
        (Place::After(_), Some(at)) if lines.get(at).is_some_and(|line| bare(line) == edit.line) => {
            return unchanged(text);
        }
        (Place::After(_) | Place::Before(_), Some(at)) => lines.insert(at, ended),
    }
    Edited { text: lines.concat(), changed: true, message: "line added".to_owned(), removed: None }
}

fn replace(mut lines: Vec<Vec<u8>>, at: usize, edit: &Edit, matched: bool) -> Edited {
    let old = lines.get(at).cloned().unwrap_or_default();
    let expanded = match &edit.regexp {
        Some(regexp) if edit.backrefs && matched => regexp.expand(&old, &edit.line),
        _ => None,
    };
    let mut new = expanded.unwrap_or_else(|| edit.line.clone());
    if !new.ends_with(b"\n") {
        new.push(b'\n');
    }
    if new == old {
        return unchanged(&lines.concat());
    }
    if let Some(line) = lines.get_mut(at) {
        *line = new;
    }
    Edited { text: lines.concat(), changed: true, message: "line replaced".to_owned(), removed: None }
}

/// `state: absent`.
pub(super) fn edit_absent(text: &[u8], edit: &Edit) -> Edited {
    let all = lines(text);
    let goes = |line: &Vec<u8>| match (&edit.regexp, &edit.search) {
        (None, None) => bare(line) == edit.line,
        _ => edit.matches(line),
    };
    let kept: Vec<Vec<u8>> = all.iter().filter(|line| !goes(line)).cloned().collect();
    let removed = all.len() - kept.len();
    let message = if removed > 0 { format!("{removed} line(s) removed") } else { String::new() };
    Edited { text: kept.concat(), changed: removed > 0, message, removed: Some(removed) }
}

fn unchanged(text: &[u8]) -> Edited {
    Edited { text: text.to_vec(), changed: false, message: String::new(), removed: None }
}

fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn bare(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    line.get(..end).unwrap_or_default()
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    part.is_empty() || line.windows(part.len()).any(|window| window == part)
}

//! Mistakes in what the user wrote: where, what, what was expected, and what to write instead.

use std::{fmt, ops::Range, sync::Arc};

/// A file as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The path as the user gave or would give it.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// A range of bytes in a source.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// The bytes.
    pub range: Range<usize>,
}

/// The start of the character that holds a byte.
fn char_start(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

/// The end of the character that holds the byte before.
fn char_end(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

impl Place {
    /// A place, cut to the source and to whole characters.
    pub fn new(source: &Arc<Source>, range: Range<usize>) -> Self {
        let start = char_start(&source.text, range.start);
        let end = char_end(&source.text, range.end).max(start);
        Self { source: source.clone(), range: start..end }
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        self.source.text.get(self.range.clone()).unwrap_or_default()
    }

    /// The same place without white space at its end.
    pub fn trimmed(mut self) -> Self {
        self.range.end = self.range.start + self.text().trim_end().len();
        self
    }

    /// The line on which the place begins, without its end.
    pub fn line_text(&self) -> &str {
        let text = &self.source.text;
        let start = text[..self.range.start].rfind('\n').map_or(0, |at| at + 1);
        text[start..].lines().next().unwrap_or_default()
    }

    /// What a renderer shows: the number of the first line, that line (at most 200 characters around the place, control
    /// characters replaced byte for byte), and the place within it. A place over several lines ends with its first.
    pub(super) fn excerpt(&self) -> (usize, String, Range<usize>) {
        let text = &self.source.text;
        let line_start = text[..self.range.start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[self.range.start..].find('\n').map_or(text.len(), |at| self.range.start + at);
        let from = char_start(text, self.range.start.saturating_sub(100).max(line_start));
        let to = char_end(text, (self.range.start + 100).min(line_end));
        let line: String = text[from..to].chars().map(|c| if c.is_ascii_control() { ' ' } else { c }).collect();
        let start = self.range.start - from;
        let end = self.range.end.clamp(self.range.start, to).max(self.range.start) - from;
        (text[..line_start].matches('\n').count() + 1, line, start..end)
    }

    /// The part of this place that a part of its decoded text came from: quotes, indentation and folding are stepped
    /// over. The whole place, if the text was written with escapes.
    pub fn inside(&self, decoded: &str, part: Range<usize>) -> Self {
        let raw = self.text();
        let skip = match raw.as_bytes().first() {
            Some(b'"' | b'\'') => 1,
            Some(b'|' | b'>') => raw.find('\n').unwrap_or_default(),
            _ => 0,
        };
        // A part of a string may itself begin with a quote.
        let found = self.locate(decoded, &part, skip).or_else(|| self.locate(decoded, &part, 0));
        found.unwrap_or_else(|| self.clone())
    }

    fn locate(&self, decoded: &str, part: &Range<usize>, skip: usize) -> Option<Self> {
        let raw = self.text();
        let mut written = raw.char_indices().filter(|(at, c)| *at >= skip && !c.is_whitespace());
        let (mut start, mut end) = (None, None);
        for (at, c) in decoded.char_indices().filter(|(_, c)| !c.is_whitespace()) {
            let (raw_at, raw_char) = written.next()?;
            if raw_char != c {
                return None;
            }
            if at >= part.start && at < part.end.max(part.start + 1) {
                start = start.or(Some(raw_at));
                end = Some(raw_at + c.len_utf8());
            }
        }
        Some(Self::new(&self.source, self.range.start + start?..self.range.start + end?))
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Place {
    /// `file:line:column`, both from 1, the column in characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.range.start.min(self.source.text.len());
        let before = self.source.text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        write!(f, "{}:{line}:{column}", self.source.path)
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong; lower case, no full stop.
    pub message: String,
    /// Where; none only where there is no file (the command line).
    pub place: Option<Place>,
    /// Said at the caret: what was expected there.
    pub label: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// All mistakes of one load, in the order of their places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostic {
    /// A mistake without help.
    pub fn new(place: Option<Place>, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { message: message.into(), place, label: label.into(), help: None }
    }

    /// The same with help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Diagnostics {
    /// A single mistake.
    pub fn one(place: Option<Place>, message: String, label: &str) -> Self {
        Self(vec![Diagnostic::new(place, message, label)])
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a mistake; help may be set on what is returned.
    pub fn error(&mut self, place: Place, message: impl Into<String>, label: impl Into<String>) -> &mut Diagnostic {
        self.push(Diagnostic::new(Some(place), message, label))
    }

    /// Adds a mistake.
    pub fn push(&mut self, diagnostic: Diagnostic) -> &mut Diagnostic {
        let at = self.0.len();
        self.0.push(diagnostic);
        &mut self.0[at]
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The value if nothing is wrong, else the mistakes in the order of their places, each once.
    pub fn into_result<T>(mut self, value: T) -> Result<T, Self> {
        if self.is_empty() {
            return Ok(value);
        }
        self.0.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        self.0.dedup();
        Err(self)
    }
}

impl Diagnostic {
    fn sort_key(&self) -> (Option<&str>, usize) {
        let place = self.place.as_ref();
        (place.map(|p| p.source.path.as_str()), place.map_or(0, |p| p.range.start))
    }
}

impl std::error::Error for Diagnostics {}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

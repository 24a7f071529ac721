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

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.0 {
            match &diagnostic.place {
                Some(place) => writeln!(f, "{place}: {}", diagnostic.message)?,
                None => writeln!(f, "{}", diagnostic.message)?,
            }
        }
        Ok(())
    }
}

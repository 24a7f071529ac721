//! Making a task's report.

use crate::protocol::{Change, Diff, TaskReport};
use serde_json::{Map, Value};

/// Ansible's cap for the text of a diff, in bytes.
const DIFF_CAP: usize = 104_448;

impl TaskReport {
    /// A report that says this much and no more.
    #[must_use]
    pub fn new(change: Change) -> Self {
        Self {
            change,
            failed: None,
            skipped: None,
            data: Map::new(),
            diff: Vec::new(),
            warnings: Vec::new(),
            recorded: false,
        }
    }

    /// Changed, or unchanged.
    #[must_use]
    pub fn changed_if(changed: bool) -> Self {
        Self::new(if changed { Change::Changed } else { Change::Unchanged })
    }

    /// Adds a value for `register`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }

    /// Makes it a failure with this sentence. The data stays.
    #[must_use]
    pub fn failing(mut self, sentence: impl Into<String>) -> Self {
        self.failed = Some(sentence.into());
        self
    }

    /// Adds a difference.
    #[must_use]
    pub fn differing(mut self, diff: Diff) -> Self {
        self.diff.push(diff);
        self
    }
}

impl Diff {
    /// The difference of two texts, or a note where they are not text or too long to show.
    #[must_use]
    pub fn of_bytes(object: impl Into<String>, before: &[u8], after: &[u8]) -> Self {
        let (before, after) = if shown(before) && shown(after) {
            (String::from_utf8_lossy(before).into_owned(), String::from_utf8_lossy(after).into_owned())
        } else {
            (note(before), note(after))
        };
        Self { object: object.into(), before, after }
    }

    /// The difference of two short descriptions.
    #[must_use]
    pub fn of_states(object: impl Into<String>, before: impl Into<String>, after: impl Into<String>) -> Self {
        Self { object: object.into(), before: before.into(), after: after.into() }
    }
}

fn shown(bytes: &[u8]) -> bool {
    bytes.len() <= DIFF_CAP && !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok()
}

fn note(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    format!("({} bytes, sha256 {})\n", bytes.len(), crate::files::digest(bytes))
}

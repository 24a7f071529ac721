//! `--output jsonl`: each event on a line of its own, as in the journal.

use super::{out::Out, sink::Sink};
use crate::journal::Event;

/// Writes events as JSON lines.
pub struct JsonLines(Out);

impl JsonLines {
    /// Writes there.
    pub fn new(out: Out) -> Self {
        Self(out)
    }
}

impl Sink for JsonLines {
    fn event(&mut self, event: &Event) {
        // An event is plain data; if a value in it has no JSON form, the line is left out and its number is missing.
        if let Ok(mut line) = serde_json::to_string(event) {
            line.push('\n');
            self.0.write(&line);
        }
    }
}

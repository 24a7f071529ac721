//! Plain lines, for where there is no terminal: one event, its lines, nothing ever rewritten.

use super::{
    lines::{LineOptions, Lines},
    out::Out,
    sink::Sink,
};
use crate::journal::Event;

/// Writes lines as they come.
pub struct Plain {
    lines: Lines,
    out: Out,
}

impl Plain {
    /// Writes there.
    pub fn new(out: Out, options: LineOptions) -> Self {
        Self { lines: Lines::new(options), out }
    }
}

impl Sink for Plain {
    fn event(&mut self, event: &Event) {
        let text = self.lines.event(event);
        self.out.write(&text);
    }
}

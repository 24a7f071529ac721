//! The receiving end of the stream of events.

use crate::journal::Event;

/// Takes every event of a run, in order, after it is in the journal.
///
/// A sink never fails a run: what it cannot show or write it drops, and says so in its own way. It must not block for
/// long either; drawing and slow writing belong behind a thread of its own.
pub trait Sink: Send {
    /// One event.
    fn event(&mut self, event: &Event);

    /// No event follows: write what is held back.
    fn finish(&mut self) {}
}

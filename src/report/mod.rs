//! What people and programs see of a run: sinks of the one stream of events.

mod sink;

pub use sink::Sink;

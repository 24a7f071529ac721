//! Transactions: what a step is about to change is recorded, durably, before it is changed.

mod recorder;

pub use recorder::{Recorder, UndoError};

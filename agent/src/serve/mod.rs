//! The request loop, its lease, and the processes that requests start.

mod control;
mod process;

pub use control::{Control, Ended};
pub use process::{CAPTURE_CAP, Finished, Process, RunError};

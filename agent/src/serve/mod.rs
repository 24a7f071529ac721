//! The request loop, its lease, and the processes that requests start.

mod agent;
mod blobs;
mod control;
mod process;
mod requests;
mod stdio;
mod sudo_log;
mod task;
mod turn;
mod writer;

pub use agent::{Agent, ServeError, default_state_dir};
pub use control::{Control, Ended};
pub use process::{CAPTURE_CAP, Finished, Process, RunError};
pub use stdio::{Ending, LEASE, serve};

pub(crate) use agent::STATE_DIR;

//! Events on disk.

mod error;
mod event;
mod line;
mod reader;
mod recap;
mod run_dir;
mod writer;

pub use error::JournalError;
pub use event::{EVENT_VERSION, Event, EventKind, HostState, ProbePhase, StepId, StepInfo, StepStatus, StopCause};
pub(crate) use line::hex;
pub use reader::Reader;
pub use recap::{FinalHost, Recap};
pub use run_dir::{Lock, RunDir, new_run_id, state_dir};
pub use writer::{Ack, Acks, Writer};

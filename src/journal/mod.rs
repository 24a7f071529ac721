//! Events on disk.

mod error;
mod event;
mod host_state;
mod line;
mod reader;
mod recap;
mod run_dir;
mod step;
mod stop_cause;
mod writer;

pub use error::JournalError;
pub use event::{EVENT_VERSION, Event, EventKind};
pub use host_state::{HostState, ProbePhase};
pub(crate) use line::hex;
pub use reader::Reader;
pub use recap::{FinalHost, Recap};
pub use run_dir::{Lock, RunDir, new_run_id, state_dir};
pub use step::{StepId, StepInfo, StepStatus};
pub use stop_cause::StopCause;
pub use writer::{Ack, Acks, Writer};

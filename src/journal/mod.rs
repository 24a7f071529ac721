//! Events on disk.

mod event;

pub use event::{
    EVENT_VERSION, Event, EventKind, FinalHost, HostState, ProbePhase, Recap, StepId, StepInfo, StepStatus, StopCause,
};

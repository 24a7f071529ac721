//! The frames that controller and agent exchange over one channel: the codec and the messages.

mod codec;
mod guard;
mod message;
mod preview;
mod probe;
mod revert;

pub use codec::{FrameError, MAX_DEPTH, MAX_FRAME, decode, encode, read_frame, write_frame};
pub use guard::{GuardArm, GuardCause, GuardFired, GuardForm, GuardReport, GuardState};
pub use message::{
    AgentError, AgentErrorKind, Answer, BlobPart, BundledTask, Call, Change, Check, Diff, FromAgent, HIDDEN, Hello,
    Mode, ModuleCall, NON_ZERO, PROTOCOL_VERSION, Progress, Step, Stream, TaskCall, TaskReport, ToAgent, TxnOpen,
    Welcome, WorkProgress,
};
pub use preview::{Prospect, RevertPreview, TxnStanding, WouldUndo};
pub use probe::{ProbeCall, ProbeKind, ProbeReport, ProbeStatus};
pub use revert::{ObjectState, RevertReport, RevertedStep, VerifyReport};

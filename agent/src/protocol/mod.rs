//! The frames that controller and agent exchange over one channel: the codec and the messages.

mod codec;
mod guard;
mod message;
mod preview;

pub use codec::{FrameError, MAX_DEPTH, MAX_FRAME, decode, encode, read_frame, write_frame};
pub use guard::{GuardArm, GuardCause, GuardFired, GuardForm, GuardReport, GuardState};
pub use message::{
    AgentError, AgentErrorKind, Answer, BlobPart, BundledTask, Call, Change, Check, Diff, FromAgent, Hello, Mode,
    ModuleCall, ObjectState, PROTOCOL_VERSION, ProbeCall, ProbeKind, ProbeReport, ProbeStatus, Progress, RevertReport,
    RevertedStep, Step, Stream, TaskCall, TaskReport, ToAgent, TxnOpen, VerifyReport, Welcome,
};
pub use preview::{Prospect, RevertPreview, TxnStanding, WouldUndo};

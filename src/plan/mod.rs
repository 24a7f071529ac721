//! What a run would do: built from the events of a run in check mode, with a digest that a ticket can approve.

mod build;
mod canonical;
mod document;
mod inputs;
mod text;
mod ticket;

pub use build::build;
pub use canonical::{canonical, digest};
pub use document::{Answer, HostPlan, Input, Plan, PlayPlan, Said, StepPlan, TaskText, Undo};
pub use inputs::inputs;
pub use text::text;
pub use ticket::ticket;

//! What people and programs see of a run: sinks of the one stream of events.

mod account;
mod close;
mod diff;
pub mod html;
mod json_lines;
mod lines;
mod live;
mod out;
mod paint;
mod plain;
mod sink;
mod text;
mod view;
pub mod words;

pub use account::{RunFiles, account, next, starred, why};
pub use close::close_report;
pub use diff::{painted, unified};
pub use json_lines::JsonLines;
pub use lines::{LineOptions, Lines};
pub use live::Live;
pub use out::Out;
pub use paint::{Paint, Style};
pub use plain::Plain;
pub use sink::Sink;
pub use text::{clean, fenced, markdown, one_line};
pub use view::{
    BatchState, BatchView, Head, HostView, PlayView, RehearsalView, RollbackView, RoundView, RunView, StepView,
    StopView, TriggerView,
};

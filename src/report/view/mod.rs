//! The view of a run: a pure fold of its events. Screens and reports read it and nothing else.

mod fold;
mod types;

pub use types::{
    BatchState, BatchView, Head, HostView, PlayView, RehearsalView, RollbackView, RoundView, RunView, StepView,
    StopView, TriggerView,
};

#[cfg(test)]
mod tests;

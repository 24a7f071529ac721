//! What every lab test needs: hosts in a known state, the program run by itself, and what its journal says.

pub(crate) mod agent;
mod data;
mod hosts;
mod outcome;
mod runbook;
mod running;
mod sweep;

pub(crate) use data::{Data, MIGRATE};
pub(crate) use hosts::{Lab, assert_as_before};
pub(crate) use outcome::Outcome;
pub(crate) use sweep::Sweep;

/// Leaves out the probe that starts 20 containers a round, for tests that are about something else.
pub(crate) const NO_STARTS: &str = "probe_image=";

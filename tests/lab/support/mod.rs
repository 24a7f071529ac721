//! What every lab test needs: hosts in a known state, the program run by itself, and what its journal says.

mod hosts;
mod outcome;
mod runbook;
mod running;

pub(crate) use hosts::{Lab, assert_as_before};
pub(crate) use outcome::Outcome;

//! Probes: asking a target on this host and saying what was seen. Whether that is healthy, the judge on the controller says.

mod command;
mod network;
mod run;

pub use run::run;

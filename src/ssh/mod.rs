//! SSH: configuration, known_hosts, authentication, sessions, and pushing the agent. All of russh stays in here, because
//! several of its behaviours lose exit codes or freeze hosts where its channels are used without care (`exec`).

mod auth;
mod config;
mod config_files;
mod exec;
mod fleet;
mod host;
mod host_key;
mod known_hosts;
mod lookup;
mod options;
mod pace;
mod pattern;
mod session;
mod socket;
mod start;

pub use fleet::SshFleet;
pub use options::{KeyNotice, SshOptions};

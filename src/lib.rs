//! The controller of rollgate. ARCHITECTURE.md is the map of these modules.

pub mod cli;
pub mod clock;
pub mod config;
mod crash;
pub mod engine;
pub mod error;
mod fault;
pub mod host;
pub mod inventory;
pub mod journal;
pub mod plan;
pub mod playbook;
pub mod report;
pub mod rollout;
pub mod secrets;
pub mod ssh;
pub mod template;
pub mod vars;

//! The agent: modules that run on the host, undo records, and the frames it shares with the controller.

pub mod accounts;
pub mod facts;
mod fault;
pub mod files;
pub mod guard;
pub mod http;
pub mod json;
pub mod migrate;
pub mod modules;
pub mod probe;
pub mod protocol;
pub mod serve;
pub mod undo;

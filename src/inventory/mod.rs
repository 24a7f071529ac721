//! Hosts and groups: from INI, YAML, executables, directories and the command line; and the patterns that select them.

mod model;
mod pattern;

pub use model::{Group, Host, Inventory};
pub use pattern::{SelectError, glob_matches};

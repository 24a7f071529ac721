//! Hosts and groups: from INI, YAML, executables, directories and the command line; and the patterns that select them.

mod address;
mod ini;
mod literal;
mod model;
mod pattern;
mod range;
mod script;
mod source;
#[cfg(test)]
mod tests;
mod words;
mod yaml;

pub use model::{Group, Host, Inventory};
pub use pattern::{SelectError, glob_matches};
pub use source::load;
pub use words::{Word, split_words};

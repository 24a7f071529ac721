//! Variables: where they come from, which one wins, and what a template of one host sees.

mod beside;
mod connection;
mod extra;
mod magic;
#[cfg(test)]
mod oracle;
mod precedence;
mod scope;
#[cfg(test)]
mod tests;
mod values;
mod world;

pub use crate::template::Rendered;
pub use connection::{BecomeVariables, ConnectionDefaults, become_variables, target};
pub use extra::parse as parse_extra;
pub use precedence::{Layer, TABLE};
pub use scope::{Origin, Scope};
pub use values::{VarMap, Variable};
pub use world::{Batch, Options, World};

//! YAML with places: sources, spans, and the diagnostics that point into them.

mod diagnostic;
mod document;
mod node;
mod parse;
mod render;
mod scalar;
mod suggest;

pub use diagnostic::{Diagnostic, Diagnostics, Place, Source};
pub use document::{Document, load_yaml, parse_yaml, read, source_of};
pub use node::{Entry, Kind, Node};
pub use parse::parse;
pub use render::stderr_takes_colour;
pub use suggest::{did_you_mean, nearest};

//! YAML with places: sources, spans, and the diagnostics that point into them.

mod diagnostic;

pub use diagnostic::{Diagnostic, Diagnostics, Place, Source};

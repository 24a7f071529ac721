//! Keeping secrets out of every outgoing string.

mod names;
mod redactor;

pub use names::looks_secret;
pub use redactor::{REDACTED, Redactor};

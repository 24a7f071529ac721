//! Errors on standard error: what failed, where, why, what next.

use crate::{config::stderr_takes_colour, error::Error};
use std::io::Write;

/// Prints an error.
pub(super) fn report(error: &Error) {
    let text = match error {
        Error::Input(diagnostics) => diagnostics.render(stderr_takes_colour()),
        Error::Usage { message, hint: Some(hint) } => format!("error: {message}\nhint: {hint}\n"),
        Error::Usage { message, hint: None } => format!("error: {message}\n"),
        Error::Other(error) => {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            format!("error: {}\n", causes.join(": "))
        }
    };
    // Nobody is left to tell if this cannot be written.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Says something to whoever is there, without stopping for it.
pub(super) fn note(text: &str) {
    let _ = std::io::stderr().write_all(format!("{}\n", crate::report::clean(text)).as_bytes());
}

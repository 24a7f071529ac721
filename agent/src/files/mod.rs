//! Paths on the host: opened safely (S2), read as they are, replaced in one step.

mod open;
mod state;

pub use open::{FileError, Parent, open_dir, open_parent, resolve};
pub use state::{Kind, PathState, digest, fingerprint};

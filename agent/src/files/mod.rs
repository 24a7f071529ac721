//! Paths on the host: opened safely (S2), read as they are, replaced in one step.

mod open;
mod remove;
mod replace;
mod restore;
mod state;

pub use open::{FileError, Parent, open_dir, open_parent, resolve};
pub use remove::remove_tree;
pub use replace::{Final, Staged};
pub use restore::{Restored, restore};
pub use state::{Kind, PathState, digest, digest_of, fingerprint, read_file};

pub(crate) use replace::{sweep, temporary_name};
pub(crate) use state::{Looked, copy_digesting, hex, unhex};

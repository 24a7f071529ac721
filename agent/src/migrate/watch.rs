//! Who looks on while data is migrated.

use super::{Manifest, MigrateError};

/// Told of what happens, and asked whether it may go on; by several threads.
pub trait Watch: Sync {
    /// Asked often: an error ends what is done, which can be continued or reversed.
    ///
    /// # Errors
    /// [`MigrateError::Stopped`].
    fn go_on(&self) -> Result<(), MigrateError> {
        Ok(())
    }

    /// Asked before every single change.
    ///
    /// # Errors
    /// As [`Watch::go_on`].
    fn before_change(&self) -> Result<(), MigrateError> {
        self.go_on()
    }

    /// Something begins, in a word or two. `all`: what there is to do, where that is known; `bytes`: whether bytes are moved.
    fn begins(&self, doing: &'static str, all: Option<&Manifest>, bytes: bool) {
        let _ = (doing, all, bytes);
    }

    /// So many more inodes have been done, and so many bytes.
    fn seen(&self, inodes: u64, bytes: u64) {
        let _ = (inodes, bytes);
    }
}

/// Nobody: everything goes on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Watch for Nobody {}

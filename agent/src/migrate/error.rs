//! What stops a migration.

use crate::files::FileError;
use crate::undo::UndoError;
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// Why a migration, or a part of one, did not go on.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: Errno,
    },
    /// Something must not, or cannot, be migrated as it is: a sentence.
    #[error("{0}")]
    Refused(String),
    /// It was asked to stop; it can be continued or reversed.
    #[error("stopped: {0}")]
    Stopped(String),
    /// A path is refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The journal cannot be kept or read.
    #[error(transparent)]
    Journal(#[from] UndoError),
}

impl MigrateError {
    pub(super) fn system(action: &'static str, path: impl AsRef<Path>, source: Errno) -> Self {
        Self::System { action, path: path.as_ref().to_owned(), source }
    }

    /// Whether there is nothing at a path.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::System { source: Errno::NOENT | Errno::NOTDIR, .. })
    }
}

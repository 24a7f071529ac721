//! How a task ended on a host, and what the host does then.

/// The end of one task (all items, all attempts) on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TaskEnd {
    /// It did what it should, or its failure is ignored.
    Ok {
        /// Something changed, or in check mode would.
        changed: bool,
    },
    /// Not run.
    Skipped,
    /// In check mode: cannot know.
    Unknown,
    /// It failed and the host goes no further.
    Failed(String),
    /// The host is out of reach and goes no further.
    Unreachable(String),
    /// The run was told to stop before it was done.
    Stopped,
    /// `meta: end_host` or `end_play`: the rest is left out.
    Left,
}

impl TaskEnd {
    /// Whether the task's handlers are notified.
    pub(crate) fn notifies(&self) -> bool {
        matches!(self, Self::Ok { changed: true })
    }
}

/// The end of a host's list in one play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListEnd {
    /// All of it was run.
    Done,
    /// A task failed.
    Failed(String),
    /// The host is out of reach.
    Unreachable(String),
    /// The run was told to stop.
    Stopped,
}

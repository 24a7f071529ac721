//! What undoing a transaction would do, without doing it.

use serde::{Deserialize, Serialize};

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TxnStanding {
    /// Its change is neither kept nor undone.
    Open,
    /// An undoing of it has begun.
    Reverting,
    /// It has been undone.
    Reverted,
    /// Its change is kept, its record still there.
    Kept,
    /// There is no record: it never began, or its time has passed (`keep_undo`).
    Gone,
}

/// What undoing would do with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prospect {
    /// Put it back.
    Restore,
    /// Nothing: it is as before.
    AsBefore,
    /// Keep it and stop: somebody else has changed it since (R10).
    Drifted,
    /// Run it: an `undo:` task, a handler, a `rollback:` task.
    Run,
}

/// One thing that undoing a transaction would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WouldUndo {
    /// `path /etc/subuid`, `unit docker.service`, `handler restart docker`.
    pub what: String,
    /// What would be done.
    pub prospect: Prospect,
    /// As recorded; empty for what is run.
    pub before: String,
    /// As it is; empty for what is run.
    pub found: String,
}

/// What undoing a transaction would do, about in the order in which it would be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevertPreview {
    /// Where it stands.
    pub standing: TxnStanding,
    /// What would be done.
    pub would: Vec<WouldUndo>,
}

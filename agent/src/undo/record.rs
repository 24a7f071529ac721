//! What a transaction's files say. These formats are on hosts: readers of later versions must understand them.

use super::account::AccountState;
use super::bound::BoundState;
use super::data_root::DataRootState;
use super::unit::UnitState;
use crate::files::PathState;
use crate::protocol::{BundledTask, ModuleCall, Step};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The version of the files of a transaction.
pub const RECORD_VERSION: u32 = 1;

/// `manifest.json`: whose transaction it is, and who may undo it without the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`RECORD_VERSION`].
    pub v: u32,
    /// The transaction, 32 hexadecimal digits.
    pub txn: String,
    /// The run.
    pub run: String,
    /// The inventory's name of this host.
    pub host: String,
    /// The play's name.
    pub play: String,
    /// The run's generation on this host (S9).
    pub generation: u64,
    /// The boot in which it was opened (R24).
    pub boot: String,
    /// When, in milliseconds since the epoch by the host's clock.
    pub opened_ms: u64,
    /// The user id that it was opened with; only that user (or root) undoes it.
    pub uid: u32,
    /// The agent executable that opened it.
    pub agent: String,
    /// Digest of `rollback.json`, lower-case hexadecimal.
    pub rollback_sha256: String,
}

/// `state`: where a transaction stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// [`RECORD_VERSION`].
    pub v: u32,
    /// Where it stands.
    pub state: TxnState,
    /// Since when, in milliseconds since the epoch.
    pub at_ms: u64,
    /// When its files may be deleted, in milliseconds since the epoch; none while they may not.
    pub prune_ms: Option<u64>,
}

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TxnState {
    /// Steps may be added to it, and it may be undone.
    Open,
    /// An undoing has begun; it may have been interrupted, and may be repeated.
    Reverting,
    /// It has been undone in full.
    Reverted,
    /// Its change is kept; it may still be undone by hand until it is pruned.
    Kept,
}

/// A line of `steps.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A step begins. It is on disk before the step's first change.
    Begin {
        /// The step.
        step: Step,
        /// What it runs. Kept for handlers only, which a revert runs again: parameters may be secret.
        call: Option<ModuleCall>,
        /// Environment of a handler's processes.
        environment: BTreeMap<String, String>,
        /// A handler's timeout.
        timeout_ms: Option<u64>,
    },
    /// An object before the step changes it.
    Pre {
        /// The step's position.
        step: u64,
        /// The object.
        object: Object,
        /// As it was.
        state: State,
        /// Others write lines into this file as well; only ours are taken back then (R10).
        shared: bool,
        /// Digest of the bytes about to be put there, where they are known.
        intended: Option<String>,
    },
    /// An object after the step.
    Post {
        /// The step's position.
        step: u64,
        /// The object.
        object: Object,
        /// As we left it.
        state: State,
    },
    /// A step has ended.
    End {
        /// The step's position.
        step: u64,
        /// It changed something.
        changed: bool,
        /// It failed.
        failed: bool,
    },
    /// A revert begins or begins again.
    Reverting,
    /// A part of a revert is done.
    Undone {
        /// The part.
        part: Part,
        /// What was done, for people.
        what: String,
        /// It was not as it should be before.
        changed: bool,
    },
    /// A step is about to put a temporary file into a directory, beside what it may change there.
    Staging {
        /// The step's position.
        step: u64,
        /// The directory, in the form of [`path_text`].
        directory: String,
    },
    /// The `undo:` tasks of a step, rendered anew when it had ended: in place of those that it began with.
    UndoTasks {
        /// The step's position.
        step: u64,
        /// The tasks, in the order written.
        tasks: Vec<BundledTask>,
    },
}

/// A part of a revert, done once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// An object of a step.
    Object {
        /// The step's position.
        step: u64,
        /// Position among the step's recorded objects.
        index: usize,
    },
    /// An `undo:` task of a step.
    Task {
        /// The step's position.
        step: u64,
        /// Position among the step's `undo:` tasks.
        index: usize,
    },
    /// A handler, run again.
    Handler {
        /// The step that was its run.
        step: u64,
    },
    /// A unit's state.
    Unit {
        /// The unit.
        name: String,
    },
    /// A `rollback:` task of the play.
    Rollback {
        /// Its position.
        index: usize,
    },
}

/// Something whose state is recorded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    /// A path, in the form of [`path_text`].
    Path(String),
    /// A systemd unit.
    Unit(String),
    /// A user.
    User(String),
    /// A group.
    Group(String),
    /// An engine's data.
    DataRoot {
        /// Where it is without a remap, in the form of [`path_text`].
        root: String,
        /// The directory of the migration's own record, in the same form.
        record: String,
    },
    /// A path of the host that containers bind, with what is in it.
    Bound {
        /// The path, in the form of [`path_text`].
        path: String,
        /// The file of its own record, in the same form.
        record: String,
    },
}

impl std::fmt::Display for Object {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, name) = match self {
            Self::Path(name) => ("path", name),
            Self::Unit(name) => ("unit", name),
            Self::User(name) => ("user", name),
            Self::Group(name) => ("group", name),
            Self::DataRoot { root, .. } => ("data root", root),
            Self::Bound { path, .. } => ("bound path", path),
        };
        write!(formatter, "{kind} {name}")
    }
}

/// The state of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Of a path.
    Path(PathState),
    /// Of a unit.
    Unit(UnitState),
    /// Of a user or a group.
    Account(AccountState),
    /// Of an engine's data.
    DataRoot(DataRootState),
    /// Of a bound path.
    Bound(BoundState),
}

impl State {
    /// One line for people, without secrets.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Path(state) => state.describe(),
            Self::Unit(state) => state.describe(),
            Self::Account(state) => state.describe(),
            Self::DataRoot(state) => state.describe(),
            Self::Bound(state) => state.describe().to_owned(),
        }
    }
}

/// A path as text: itself, or `hex:` and its bytes where they are no UTF-8 (an absolute path never begins so).
#[must_use]
pub fn path_text(path: &Path) -> String {
    path.to_str().map_or_else(|| format!("hex:{}", crate::files::hex(path.as_os_str().as_bytes())), str::to_owned)
}

/// The path that [`path_text`] wrote.
#[must_use]
pub fn path_of(text: &str) -> PathBuf {
    text.strip_prefix("hex:")
        .and_then(crate::files::unhex)
        .map_or_else(|| PathBuf::from(text), |bytes| PathBuf::from(OsString::from_vec(bytes)))
}

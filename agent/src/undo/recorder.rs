//! The recorder that a module writes pre-images with.

use super::UndoError;
use super::account::Accounts;
use super::bound::bound_state;
use super::data_root::data_root_state;
use super::log::Log;
use super::record::{Object, Record, State, path_of, path_text};
use super::txn::{Transaction, sync_dir};
use super::unit::unit_state;
use crate::files::{FileError, Kind, Looked, PathState, hex, open_parent, resolve};
use crate::protocol::{Step, TaskCall};
use crate::serve::Control;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The most entries of a tree that is deleted as a whole.
const TREE_ENTRIES: usize = 20_000;

/// The most bytes of a tree that is deleted as a whole.
const TREE_BYTES: u64 = 1 << 30;

/// Records pre-images. Each call returns after the record is on disk; only then may the object be changed.
#[derive(Debug, Default)]
pub struct Recorder(Option<Active>);

#[derive(Debug)]
struct Active {
    transaction: Transaction,
    log: Log,
    step: Step,
    /// The record of the step's beginning, until it has been written.
    begin: Option<Record>,
    recorded: Vec<Recorded>,
    accounts: Accounts,
    control: Control,
}

#[derive(Debug)]
struct Recorded {
    object: Object,
    shared: bool,
    /// A path where nothing was.
    was_absent: bool,
}

impl Recorder {
    /// A recorder of a task that is part of no transaction: it records nothing.
    #[must_use]
    pub fn inactive() -> Self {
        Self::default()
    }

    /// A recorder for one step of an open transaction. `replay` says that a revert may have to run the step again (it is
    /// a handler's run), so that its call is kept.
    ///
    /// # Errors
    /// [`UndoError`] if the log cannot be opened.
    pub fn for_step(transaction: &Transaction, task: &TaskCall, step: &Step) -> Result<Self, UndoError> {
        let (log, records) = transaction.log()?;
        let used = |record: &Record| matches!(record, Record::Begin { step: begun, .. } if begun.seq == step.seq);
        if records.iter().any(used) {
            return Err(UndoError::Repeated(format!(
                "step {} of transaction {} has been run already",
                step.seq, step.txn
            )));
        }
        let replay = step.handler.is_some();
        let begin = Record::Begin {
            step: step.clone(),
            call: replay.then(|| task.call.clone()),
            environment: if replay { task.environment.clone() } else { Default::default() },
            timeout_ms: task.timeout_ms,
        };
        Ok(Self(Some(Active {
            transaction: transaction.clone(),
            log,
            step: step.clone(),
            begin: Some(begin),
            recorded: Vec::new(),
            accounts: Accounts::default(),
            // What was changed is looked at in any case, also when the request has been cancelled.
            control: Control::default(),
        })))
    }

    /// Uses the account files of another directory than `/etc`.
    #[must_use]
    pub fn with_accounts(mut self, accounts: Accounts) -> Self {
        if let Some(active) = &mut self.0 {
            active.accounts = accounts;
        }
        self
    }

    /// Whether anything is recorded at all: the task is part of a transaction.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.0.is_some()
    }

    /// Whether this step has recorded an object.
    #[must_use]
    pub fn recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|active| !active.recorded.is_empty())
    }

    /// Writes that the step begins. A step without pre-images of its own must be known as well: its `undo:` tasks, or
    /// that a handler had started, decide what a revert does.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn begin(&mut self) -> Result<(), UndoError> {
        self.0.as_mut().map_or(Ok(()), |active| active.write(Vec::new()))
    }

    /// Writes that a temporary file is about to be put beside this path: one that an agent leaves when it is killed is
    /// removed by a revert, also where nothing has been changed yet.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn staging(&mut self, path: &Path) -> Result<(), UndoError> {
        self.0.as_mut().map_or(Ok(()), |active| {
            let path = own_name(path)?;
            let directory = path_text(path.parent().unwrap_or(&path));
            active.write(vec![Record::Staging { step: active.step.seq, directory }])
        })
    }

    /// Records a path: existence, type, bytes, owner, mode, extended attributes. A directory without what is in it.
    ///
    /// # Errors
    /// [`UndoError`]: nothing may be changed then.
    pub fn path(&mut self, path: &Path) -> Result<(), UndoError> {
        self.0.as_mut().map_or(Ok(()), |active| active.path(path, false, None))
    }

    /// Records a path that is about to be given bytes of this digest, so that a change that a crash cut short can be
    /// told from somebody else's.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn replacing(&mut self, path: &Path, sha256: &str) -> Result<(), UndoError> {
        self.0.as_mut().map_or(Ok(()), |active| active.path(path, false, Some(sha256.to_owned())))
    }

    /// Records a file of which we change only lines of our own: undo takes back those where others wrote to it since (R10).
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn shared(&mut self, path: &Path) -> Result<(), UndoError> {
        self.0.as_mut().map_or(Ok(()), |active| active.path(path, true, None))
    }

    /// As [`Recorder::shared`], with the bytes that are about to be written.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn sharing(&mut self, path: &Path, bytes: &[u8]) -> Result<(), UndoError> {
        self.0.as_mut().map_or(Ok(()), |active| {
            let sha256 = active.store(&mut &*bytes)?;
            active.path(path, true, Some(sha256))
        })
    }

    /// Records a directory and everything below it, before it is deleted as a whole.
    ///
    /// # Errors
    /// [`UndoError`]; a tree too large to record, or with special files or another file system in it, is refused.
    pub fn tree(&mut self, path: &Path) -> Result<(), UndoError> {
        self.0.as_mut().map_or(Ok(()), |active| active.tree(path))
    }

    /// Records whether a systemd unit is enabled and active.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn unit(&mut self, name: &str) -> Result<(), UndoError> {
        self.0.as_mut().map_or(Ok(()), |active| {
            let state = State::Unit(unit_state(name, &active.control)?);
            active.object(Object::Unit(name.to_owned()), state)
        })
    }

    /// Records a user: its own lines of passwd, shadow, subuid and subgid, the groups it is in, and the group of its
    /// name, which may come or go with it.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn user(&mut self, name: &str) -> Result<(), UndoError> {
        self.group(name)?;
        self.0.as_mut().map_or(Ok(()), |active| {
            let state = State::Account(active.accounts.user(name)?);
            active.object(Object::User(name.to_owned()), state)
        })
    }

    /// Records a group: its own lines of group and gshadow.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn group(&mut self, name: &str) -> Result<(), UndoError> {
        self.0.as_mut().map_or(Ok(()), |active| {
            let state = State::Account(active.accounts.group(name)?);
            active.object(Object::Group(name.to_owned()), state)
        })
    }

    /// Records where an engine's data is, before it is migrated with a record of its own.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn data_root(&mut self, root: &Path, record: &Path) -> Result<(), UndoError> {
        self.0.as_mut().map_or(Ok(()), |active| {
            let state = State::DataRoot(data_root_state(record)?);
            active.object(Object::DataRoot { root: path_text(root), record: path_text(record) }, state)
        })
    }

    /// Records a path that containers bind, before it is given to a range with a record of its own.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn bound(&mut self, path: &Path, record: &Path) -> Result<(), UndoError> {
        self.0.as_mut().map_or(Ok(()), |active| {
            let state = State::Bound(bound_state(record)?);
            active.object(Object::Bound { path: path_text(path), record: path_text(record) }, state)
        })
    }

    /// Stores what the recorded objects are after the change, and that the step has ended. The agent calls it when the
    /// module has returned. A step that began nothing leaves no record.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn done(&mut self, changed: bool, failed: bool) -> Result<(), UndoError> {
        self.0.as_mut().map_or(Ok(()), |active| active.done(changed, failed))
    }
}

impl Active {
    fn write(&mut self, more: Vec<Record>) -> Result<(), UndoError> {
        let mut records: Vec<Record> = self.begin.clone().into_iter().collect();
        records.extend(more);
        if records.is_empty() {
            return Ok(());
        }
        self.log.append(&records)?;
        self.begin = None;
        Ok(())
    }

    fn knows(&self, object: &Object) -> bool {
        self.recorded.iter().any(|recorded| recorded.object == *object)
    }

    fn object(&mut self, object: Object, state: State) -> Result<(), UndoError> {
        if self.knows(&object) {
            return Ok(());
        }
        let step = self.step.seq;
        self.write(vec![Record::Pre { step, object: object.clone(), state, shared: false, intended: None }])?;
        self.recorded.push(Recorded { object, shared: false, was_absent: false });
        Ok(())
    }

    fn path(&mut self, path: &Path, shared: bool, intended: Option<String>) -> Result<(), UndoError> {
        let path = &own_name(path)?;
        let object = Object::Path(path_text(path));
        if self.knows(&object) {
            return Ok(());
        }
        let state = self.pre_image(path)?;
        let was_absent = state.kind == Kind::Absent;
        let state = State::Path(state);
        self.write(vec![Record::Pre { step: self.step.seq, object: object.clone(), state, shared, intended }])?;
        self.recorded.push(Recorded { object, shared, was_absent });
        Ok(())
    }

    /// The state of a path, its bytes stored.
    fn pre_image(&self, path: &Path) -> Result<PathState, UndoError> {
        let parent = match open_parent(path) {
            Ok(parent) => parent,
            Err(error) if error.leads_nowhere() => return Ok(PathState::absent()),
            Err(error) => return Err(error.into()),
        };
        let Some(looked) = Looked::at(&parent)? else { return Ok(PathState::absent()) };
        if looked.kind() != Kind::File {
            return Ok(looked.state(None)?);
        }
        let mut incoming = Incoming::create(&self.transaction)?;
        let state = looked.state(Some(&mut incoming.file))?;
        incoming.keep(&self.transaction, state.sha256.as_deref().unwrap_or_default())?;
        Ok(state)
    }

    fn store(&self, bytes: &mut impl std::io::Read) -> Result<String, UndoError> {
        let mut incoming = Incoming::create(&self.transaction)?;
        let (_, sha256) = crate::files::copy_digesting(bytes, Some(&mut incoming.file))?;
        incoming.keep(&self.transaction, &sha256)?;
        Ok(sha256)
    }

    fn tree(&mut self, root: &Path) -> Result<(), UndoError> {
        if root.symlink_metadata().is_err() {
            return self.path(root, false, None);
        }
        let paths = walk(&own_name(root)?)?;
        let mut records = Vec::new();
        let mut recorded = Vec::new();
        for path in paths {
            let object = Object::Path(path_text(&path));
            if self.knows(&object) {
                continue;
            }
            let state = self.pre_image(&path)?;
            if state.kind == Kind::Other {
                return Err(refused(&path, "is a special file, which could not be made again"));
            }
            let state = State::Path(state);
            records.push(Record::Pre {
                step: self.step.seq,
                object: object.clone(),
                state,
                shared: false,
                intended: None,
            });
            recorded.push(Recorded { object, shared: false, was_absent: false });
        }
        self.write(records)?;
        self.recorded.extend(recorded);
        Ok(())
    }

    fn done(&mut self, changed: bool, failed: bool) -> Result<(), UndoError> {
        if self.begin.is_some() {
            return Ok(());
        }
        let step = self.step.seq;
        let mut records = Vec::new();
        for recorded in &self.recorded {
            let state = self.post_image(recorded)?;
            records.push(Record::Post { step, object: recorded.object.clone(), state: state.clone() });
            records.extend(self.made_below(recorded, &state)?);
        }
        records.push(Record::End { step, changed, failed });
        self.write(records)
    }

    /// What the step put into a directory that was not there before it (a new user's home): that goes with it.
    fn made_below(&self, recorded: &Recorded, now: &State) -> Result<Vec<Record>, UndoError> {
        let (Object::Path(path), State::Path(now)) = (&recorded.object, now) else { return Ok(Vec::new()) };
        if !recorded.was_absent || now.kind != Kind::Directory {
            return Ok(Vec::new());
        }
        // Too much to be listed stays, and is named, when the directory is to go.
        let Ok(mut paths) = walk(&path_of(path)) else { return Ok(Vec::new()) };
        // Parents before their children, so that undoing in reverse removes children first; the root has its record.
        paths.reverse();
        let step = self.step.seq;
        let mut records = Vec::new();
        for path in paths.into_iter().skip(1) {
            let object = Object::Path(path_text(&path));
            if self.knows(&object) {
                continue;
            }
            let (before, after) = (State::Path(PathState::absent()), State::Path(crate::files::fingerprint(&path)?));
            let pre = Record::Pre { step, object: object.clone(), state: before, shared: false, intended: None };
            records.extend([pre, Record::Post { step, object, state: after }]);
        }
        Ok(records)
    }

    fn post_image(&self, recorded: &Recorded) -> Result<State, UndoError> {
        Ok(match &recorded.object {
            // The bytes that we left are needed to tell our lines from those of others.
            Object::Path(path) if recorded.shared => State::Path(self.pre_image(&path_of(path))?),
            object => state_of(object, &self.accounts, &self.control)?,
        })
    }
}

/// The state of an object now.
pub(super) fn state_of(object: &Object, accounts: &Accounts, control: &Control) -> Result<State, UndoError> {
    Ok(match object {
        Object::Path(path) => State::Path(crate::files::fingerprint(&path_of(path))?),
        Object::Unit(name) => State::Unit(unit_state(name, control)?),
        Object::User(name) => State::Account(accounts.user(name)?),
        Object::Group(name) => State::Account(accounts.group(name)?),
        Object::DataRoot { record, .. } => State::DataRoot(data_root_state(&path_of(record))?),
        Object::Bound { record, .. } => State::Bound(bound_state(&path_of(record))?),
    })
}

/// A blob being written, without its name yet.
struct Incoming {
    path: PathBuf,
    file: File,
}

impl Incoming {
    fn create(transaction: &Transaction) -> Result<Self, UndoError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| UndoError::Other(format!("no random name: {error}")))?;
        let path = transaction.dir.join("blobs").join(format!(".incoming-{}", hex(&random)));
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, file })
    }

    fn keep(self, transaction: &Transaction, sha256: &str) -> Result<(), UndoError> {
        let place = transaction.blob(sha256);
        if place.exists() {
            return Ok(());
        }
        self.file.sync_all()?;
        fs_err::rename(&self.path, &place)?;
        sync_dir(&transaction.dir.join("blobs"))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Renamed away already, where it was kept.
        let _gone = fs_err::remove_file(&self.path);
    }
}

/// The path by which an object is recorded: the directories in it without links, so that one object has one record
/// whichever way steps came to it, and is found again where a step changes the link.
fn own_name(path: &Path) -> Result<PathBuf, UndoError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path.to_owned()) };
    match resolve(parent) {
        Ok(parent) => Ok(parent.join(name)),
        Err(error) if error.leads_nowhere() => Ok(path.to_owned()),
        Err(error) => Err(error.into()),
    }
}

fn refused(path: &Path, reason: &str) -> UndoError {
    FileError::refused(path, reason).into()
}

/// Everything below a directory and the directory itself, children before their parents, so that undoing in reverse
/// makes parents first.
fn walk(root: &Path) -> Result<Vec<PathBuf>, UndoError> {
    use std::os::unix::fs::MetadataExt;
    let device = fs_err::symlink_metadata(root)?.dev();
    let mut bytes = 0;
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs_err::symlink_metadata(&path)?;
        if metadata.dev() != device {
            return Err(refused(&path, "is another file system's, so the tree cannot be recorded for undo"));
        }
        bytes += if metadata.is_file() { metadata.len() } else { 0 };
        found.push(path.clone());
        if found.len() > TREE_ENTRIES || bytes > TREE_BYTES {
            return Err(refused(
                root,
                "is too large to be recorded for undo (20000 entries or 1 GiB); delete it in parts, or outside of the rollout",
            ));
        }
        if metadata.is_dir() {
            for entry in fs_err::read_dir(&path)? {
                left.push(entry?.path());
            }
        }
    }
    found.reverse();
    Ok(found)
}

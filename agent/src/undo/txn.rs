//! A transaction's directory: `<state>/txn/<id>/` with manifest.json, state, rollback.json, steps.jsonl and blobs/.

use super::fence::{Generation, write_bytes, write_json};
use super::log::Log;
use super::record::{Manifest, RECORD_VERSION, Record, Standing, TxnState};
use super::{UndoError, boot_identity, now_ms};
use crate::files::digest;
use crate::protocol::{BundledTask, Step, TxnOpen};
use rustix::fs::Mode;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How old the directory of a transaction that never began is when it is deleted.
const ORPHANED: Duration = Duration::from_secs(86400);

/// How long a record stays that nobody has said a time for: `keep_undo`'s default of seven days (R15).
pub(super) const KEPT_MS: u64 = 7 * 86_400_000;

/// A transaction on disk.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Its directory.
    pub dir: PathBuf,
    /// Whose it is.
    pub manifest: Manifest,
}

/// Whether this can be a transaction's id (S8).
#[must_use]
pub fn is_txn_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Transaction {
    /// Begins a transaction, under the host's lock. The same one again is no error.
    ///
    /// # Errors
    /// [`UndoError::Fenced`] if another run's transaction is open or the generation is not admitted.
    pub fn create(state_dir: &Path, open: &TxnOpen, agent: &Path) -> Result<Self, UndoError> {
        if !is_txn_id(&open.txn) {
            return Err(UndoError::Other("a transaction's id is 32 hexadecimal digits".to_owned()));
        }
        prune(state_dir)?;
        for other in Self::unfinished(state_dir)? {
            if other.manifest.run != open.run {
                return Err(UndoError::Fenced(format!(
                    "transaction {} of run {} is still open on this host; roll it back or finish that run first",
                    other.manifest.txn, other.manifest.run
                )));
            }
            if other.manifest.txn == open.txn {
                Generation::admit(state_dir, open.generation, &open.run)?;
                return Ok(other);
            }
        }
        let dir = state_dir.join("txn").join(&open.txn);
        if dir.join("state").exists() {
            return Err(UndoError::Fenced(format!("transaction {} is no longer open", open.txn)));
        }
        Generation::admit(state_dir, open.generation, &open.run)?;
        Self::write(&dir, open, agent)
    }

    fn write(dir: &Path, open: &TxnOpen, agent: &Path) -> Result<Self, UndoError> {
        make_private(&dir.join("blobs"))?;
        let rollback = serde_json::to_vec(&open.rollback)
            .map_err(|error| UndoError::Other(format!("the rollback tasks cannot be written: {error}")))?;
        write_bytes(&dir.join("rollback.json"), &rollback)?;
        let manifest = Manifest {
            v: RECORD_VERSION,
            txn: open.txn.clone(),
            run: open.run.clone(),
            host: open.host.clone(),
            play: open.play.clone(),
            generation: open.generation,
            boot: boot_identity()?,
            opened_ms: now_ms(),
            uid: rustix::process::geteuid().as_raw(),
            agent: agent.display().to_string(),
            rollback_sha256: digest(&rollback),
        };
        write_json(&dir.join("manifest.json"), &manifest)?;
        let transaction = Self { dir: dir.to_owned(), manifest };
        Log::<Record>::open(&transaction.log_path())?;
        // The state makes it a transaction; without it the directory is what a crash left.
        transaction.set_standing(TxnState::Open, None)?;
        sync_dir(dir)?;
        sync_dir(dir.parent().unwrap_or(dir))?;
        Ok(transaction)
    }

    /// Opens an existing transaction.
    ///
    /// # Errors
    /// [`UndoError`] if there is none, it is damaged, or it belongs to another user.
    pub fn open(state_dir: &Path, txn: &str) -> Result<Self, UndoError> {
        let dir = state_dir.join("txn").join(txn);
        if !is_txn_id(txn) || !dir.join("state").exists() {
            return Err(UndoError::NoTransaction(txn.to_owned()));
        }
        let manifest: Manifest = read_json(&dir.join("manifest.json"))?;
        if manifest.v != RECORD_VERSION || manifest.txn != txn {
            return Err(UndoError::Other(format!(
                "the manifest of transaction {txn} is of another version or another transaction's"
            )));
        }
        Ok(Self { dir, manifest })
    }

    /// Transactions that are open or half undone, oldest first.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn unfinished(state_dir: &Path) -> Result<Vec<Self>, UndoError> {
        let mut found = Vec::new();
        for txn in ids(state_dir)? {
            let looked =
                Self::open(state_dir, &txn).and_then(|transaction| Ok((transaction.standing()?.state, transaction)));
            match looked {
                Ok((TxnState::Open | TxnState::Reverting, transaction)) => found.push(transaction),
                Ok(_) => {}
                // Pruned by another agent since it was listed.
                Err(_) if !state_dir.join("txn").join(&txn).exists() => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by_key(|transaction| transaction.manifest.opened_ms);
        Ok(found)
    }

    /// The transactions of a host, oldest first.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn all(state_dir: &Path) -> Result<Vec<Self>, UndoError> {
        let mut found = Vec::new();
        for txn in ids(state_dir)? {
            match Self::open(state_dir, &txn) {
                Ok(transaction) => found.push(transaction),
                // Pruned by another agent since it was listed.
                Err(UndoError::NoTransaction(_)) => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by_key(|transaction| transaction.manifest.opened_ms);
        Ok(found)
    }

    /// The ids of a host's transactions, damaged ones among them.
    ///
    /// # Errors
    /// [`UndoError`] if the directory cannot be read.
    pub fn ids(state_dir: &Path) -> Result<Vec<String>, UndoError> {
        ids(state_dir)
    }

    /// Where it stands.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn standing(&self) -> Result<Standing, UndoError> {
        read_json(&self.dir.join("state"))
    }

    /// Says where it stands from now on.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn set_standing(&self, state: TxnState, prune_ms: Option<u64>) -> Result<(), UndoError> {
        write_json(&self.dir.join("state"), &Standing { v: RECORD_VERSION, state, at_ms: now_ms(), prune_ms })
    }

    /// Refuses a record that another user owns, or may have written (S8).
    ///
    /// # Errors
    /// [`UndoError::Other`].
    pub fn check_private(&self) -> Result<(), UndoError> {
        let uid = rustix::process::geteuid().as_raw();
        for path in [self.dir.clone(), self.dir.join("manifest.json"), self.log_path()] {
            let metadata = fs_err::symlink_metadata(&path)?;
            if metadata.uid() != uid || metadata.mode() & 0o077 != 0 {
                return Err(UndoError::Other(format!(
                    "{} must be of user {uid} and nobody else's to read; nothing is undone from it",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// Keeps the change for the default time: it has been confirmed, and its run may not come back to say for how long.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn confirm(&self) -> Result<(), UndoError> {
        self.set_standing(TxnState::Kept, Some(now_ms().saturating_add(KEPT_MS)))
    }

    /// Opens its log.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn log(&self) -> Result<(Log, Vec<Record>), UndoError> {
        Log::open(&self.log_path())
    }

    /// Puts a step's `undo:` tasks in place of those that it began with; a step that had nothing to record until now
    /// begins and ends here.
    ///
    /// # Errors
    /// [`UndoError`] if the log cannot be read or written; nothing is added then.
    pub fn undo_tasks(&self, step: &Step) -> Result<(), UndoError> {
        let (mut log, records) = self.log()?;
        let begun = |record: &Record| matches!(record, Record::Begin { step: begun, .. } if begun.seq == step.seq);
        if records.iter().any(begun) {
            return log.append(&[Record::UndoTasks { step: step.seq, tasks: step.undo.clone() }]);
        }
        let begin = Record::Begin { step: step.clone(), call: None, environment: BTreeMap::new(), timeout_ms: None };
        log.append(&[begin, Record::End { step: step.seq, changed: true, failed: false }])
    }

    /// The play's `rollback:` tasks.
    ///
    /// # Errors
    /// [`UndoError`] if they are not those that the manifest names.
    pub fn rollback(&self) -> Result<Vec<BundledTask>, UndoError> {
        let path = self.dir.join("rollback.json");
        let bytes = fs_err::read(&path)?;
        if digest(&bytes) != self.manifest.rollback_sha256 {
            return Err(UndoError::Other(format!("{} is not what the manifest names", path.display())));
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| UndoError::Other(format!("{} is damaged: {error}", path.display())))
    }

    /// The recorded bytes of this digest.
    #[must_use]
    pub fn blob(&self, sha256: &str) -> PathBuf {
        self.dir.join("blobs").join(sha256)
    }

    /// The recorded bytes of this digest, which they must have.
    ///
    /// # Errors
    /// [`UndoError`] if they cannot be read or are damaged.
    pub fn bytes(&self, sha256: &str) -> Result<Vec<u8>, UndoError> {
        let path = self.blob(sha256);
        let bytes = fs_err::read(&path)?;
        if digest(&bytes) != sha256 {
            return Err(UndoError::Other(format!(
                "recorded bytes are damaged: {} has another digest than its name",
                path.display()
            )));
        }
        Ok(bytes)
    }

    /// Keeps the change: the record may be pruned after `keep_undo_s` seconds, at once for 0.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn keep(&self, keep_undo_s: u64) -> Result<(), UndoError> {
        let standing = self.standing()?;
        let state = if standing.state == TxnState::Reverted { TxnState::Reverted } else { TxnState::Kept };
        let prune_ms = now_ms().saturating_add(keep_undo_s.saturating_mul(1000));
        self.set_standing(state, Some(prune_ms))?;
        if keep_undo_s == 0 {
            fs_err::remove_dir_all(&self.dir)?;
        }
        Ok(())
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("steps.jsonl")
    }
}

/// Deletes the records whose time has passed (R15), and what a crash left of one that never began.
///
/// # Errors
/// [`UndoError`].
pub fn prune(state_dir: &Path) -> Result<(), UndoError> {
    for directory in begun(state_dir)? {
        let age = fs_err::metadata(&directory)?.modified()?.elapsed().unwrap_or_default();
        if !directory.join("state").exists() && age > ORPHANED {
            fs_err::remove_dir_all(&directory)?;
        }
    }
    for txn in ids(state_dir)? {
        let transaction = Transaction::open(state_dir, &txn)?;
        if transaction.standing()?.prune_ms.is_some_and(|at| at <= now_ms()) {
            fs_err::remove_dir_all(&transaction.dir)?;
        }
    }
    Ok(())
}

/// The ids of the transactions of a host.
fn ids(state_dir: &Path) -> Result<Vec<String>, UndoError> {
    let whole = begun(state_dir)?.into_iter().filter(|directory| directory.join("state").exists());
    Ok(whole.filter_map(|directory| Some(directory.file_name()?.to_string_lossy().into_owned())).collect())
}

/// The directories of transactions, those that a crash left without a state among them.
fn begun(state_dir: &Path) -> Result<Vec<PathBuf>, UndoError> {
    let entries = match fs_err::read_dir(state_dir.join("txn")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_txn_id(&name) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Reads a small file of the state directory.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, UndoError> {
    let bytes = fs_err::read(path)?;
    serde_json::from_slice(&bytes).map_err(|error| UndoError::Other(format!("{} is damaged: {error}", path.display())))
}

/// Makes a directory, and those above it that are missing, for nobody else.
pub(crate) fn make_private(path: &Path) -> Result<(), UndoError> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(|error| {
        UndoError::from(std::io::Error::new(error.kind(), format!("cannot make {}: {error}", path.display())))
    })
}

pub(super) fn sync_dir(path: &Path) -> Result<(), UndoError> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(std::io::Error::from)?;
    rustix::fs::fsync(&dir).map_err(|error| std::io::Error::from(error).into())
}

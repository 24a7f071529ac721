//! The directory of one run (rollout.md R20): `journal.jsonl`, `reserve`, `lock`, `key`, `outputs/`.

use super::{JournalError, line::hex};
use fs_err::{self as fs, os::unix::fs::OpenOptionsExt as _};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use serde::{Deserialize, Serialize};
use std::{
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// Size of the file that is freed when the disk is full, in bytes.
pub(super) const RESERVE: usize = 1 << 20;

/// Where runs are kept: `$ROLLGATE_STATE_DIR`, else `$XDG_STATE_HOME/rollgate`, else `~/.local/state/rollgate`.
///
/// # Errors
/// [`JournalError::NoStateDir`] when none of the three is known.
pub fn state_dir() -> Result<PathBuf, JournalError> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("ROLLGATE_STATE_DIR")
        .or_else(|| set("XDG_STATE_HOME").map(|dir| dir.join("rollgate")))
        .or_else(|| set("HOME").map(|home| home.join(".local/state/rollgate")))
        .ok_or(JournalError::NoStateDir)
}

/// A new run id: the time in UTC to the millisecond, so that ids sort by it, and 24 random bits.
pub fn new_run_id(now: jiff::Timestamp) -> String {
    let mut random = [0; 3];
    // Without random bits the id is still unique by its time; the directory is made exclusively, so a clash is an error.
    let _ = getrandom::fill(&mut random);
    format!("{}-{}", now.strftime("%Y%m%dT%H%M%S.%3fZ"), hex(&random))
}

/// The directory of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    id: String,
    path: PathBuf,
}

impl RunDir {
    /// Makes the directory of a new run, 0700, with its key; every directory entry is on disk when this returns.
    ///
    /// # Errors
    /// System errors, an existing run of that id among them.
    pub fn create(state: &Path, id: &str) -> Result<Self, JournalError> {
        let runs = state.join("runs");
        let builder = |recursive| {
            let mut builder = std::fs::DirBuilder::new();
            builder.mode(0o700).recursive(recursive);
            builder
        };
        let named = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| std::io::Error::new(error.kind(), format!("cannot make {path}: {error}"))
        };
        builder(true).create(&runs).map_err(named(&runs))?;
        let path = runs.join(id);
        builder(false).create(&path).map_err(named(&path))?;
        let dir = Self { id: id.to_owned(), path };
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| std::io::Error::other(format!("no random bytes: {error}")))?;
        create_private(&dir.path.join("key"))?.write_all(&key)?;
        sync_dir(&runs)?;
        Ok(dir)
    }

    /// The directory of an earlier run.
    ///
    /// # Errors
    /// [`JournalError::NoSuchRun`].
    pub fn find(state: &Path, id: &str) -> Result<Self, JournalError> {
        let runs = state.join("runs");
        let known = Self::list(state)?.into_iter().find(|run| run.id == id);
        known.ok_or_else(|| JournalError::NoSuchRun { run: id.to_owned(), dir: runs })
    }

    /// All runs, oldest first.
    ///
    /// # Errors
    /// System errors; a state directory that is not there holds no runs.
    pub fn list(state: &Path) -> Result<Vec<Self>, JournalError> {
        let entries = match fs::read_dir(state.join("runs")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut runs = Vec::new();
        for entry in entries {
            let entry = entry?;
            let is_run = entry.path().join("journal.jsonl").is_file();
            if let (true, Ok(id)) = (is_run, entry.file_name().into_string()) {
                runs.push(Self { id, path: entry.path() });
            }
        }
        runs.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(runs)
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    /// The file that is freed when the disk is full.
    pub(super) fn reserve(&self) -> PathBuf {
        self.path.join("reserve")
    }

    /// The key of this run's fingerprints (architecture.md S5): never in the journal.
    ///
    /// # Errors
    /// System errors.
    pub fn key(&self) -> Result<Vec<u8>, JournalError> {
        Ok(fs::read(self.path.join("key"))?)
    }

    /// Takes the run for this process.
    ///
    /// # Errors
    /// [`JournalError::Locked`] with the holder's own words when another process has it.
    pub fn lock(&self) -> Result<Lock, JournalError> {
        Lock::take(&self.path.join("lock"))
    }
}

/// Who holds a run: for people. The flock decides.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    since: jiff::Timestamp,
    host: String,
}

/// A run held by this process, as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: fs::File,
}

impl Lock {
    fn take(path: &Path) -> Result<Self, JournalError> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            let holder = match serde_json::from_str::<Holder>(&text) {
                Ok(holder) => format!("process {} on {} since {}", holder.pid, holder.host, holder.since),
                Err(_) => "another process".to_owned(),
            };
            return Err(JournalError::Locked { holder });
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let holder = Holder { pid: std::process::id(), since: jiff::Timestamp::now(), host };
        file.file().set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(serde_json::to_string(&holder).unwrap_or_default().as_bytes())?;
        Ok(Self { _file: file })
    }
}

/// Makes a file that only its owner reads; it must not be there.
pub(super) fn create_private(path: &Path) -> Result<fs::File, JournalError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).read(true).create_new(true).mode(0o600);
    Ok(options.open(path)?)
}

/// Brings a directory's entries to disk.
pub(super) fn sync_dir(path: &Path) -> Result<(), JournalError> {
    let named = |error: rustix::io::Errno| {
        std::io::Error::new(std::io::Error::from(error).kind(), format!("cannot sync {}: {error}", path.display()))
    };
    let dir =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(named)?;
    rustix::fs::fsync(&dir).map_err(named)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn ids_sort_by_time() {
        let at = |text: &str| new_run_id(text.parse().expect("a time"));
        assert!(at("2026-01-02T03:04:05Z") < at("2026-01-02T03:04:06Z"));
        assert!(at("2026-01-02T03:04:05.009Z") < at("2026-01-02T03:04:05.01Z"));
        assert!(at("2026-01-02T03:04:05Z").starts_with("20260102T030405.000Z-"));
    }

    #[test]
    fn a_run_is_private_and_made_once() {
        let state = tempfile::tempdir().expect("a directory");
        let run = RunDir::create(&state.path().join("state"), "r1").expect("made");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(run.path()), mode(&run.path().join("key"))), (0o700, 0o600));
        assert!(RunDir::create(&state.path().join("state"), "r1").is_err());
        assert_eq!(run.key().expect("a key").len(), 32);
    }

    #[test]
    fn a_held_run_names_its_holder() {
        let state = tempfile::tempdir().expect("a directory");
        let run = RunDir::create(state.path(), "r1").expect("made");
        let held = run.lock().expect("taken");
        let refused = run.lock().expect_err("refused").to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(held);
        run.lock().expect("free again");
    }

    #[test]
    fn a_run_that_is_not_there_is_named() {
        let state = tempfile::tempdir().expect("a directory");
        assert!(RunDir::list(state.path()).expect("none").is_empty());
        assert!(RunDir::find(state.path(), "r9").expect_err("none").to_string().contains("r9"));
    }
}

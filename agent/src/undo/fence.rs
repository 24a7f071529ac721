//! Generation and lock of a host's state directory (S9): whoever comes with a lower generation is refused.

use super::UndoError;
use crate::files::{Final, Staged};
use crate::serve::Control;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// The highest generation that a host has seen, and whose it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// 0 for none.
    pub generation: u64,
    /// The run that raised it.
    pub run: String,
}

/// The lock that covers a changing request. Let go of when dropped, or when the process ends.
#[derive(Debug)]
pub struct HostLock(#[expect(dead_code, reason = "the lock lasts as long as the descriptor")] OwnedFd);

impl HostLock {
    /// Waits for the lock; a cancelled or timed out request gives up.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn take(state_dir: &Path, control: &Control) -> Result<Self, UndoError> {
        loop {
            if let Some(lock) = Self::take_now(state_dir)? {
                return Ok(lock);
            }
            if control.ended().is_some() {
                return Err(UndoError::Fenced("another request still holds this host's lock".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Says in the lock file who holds it.
    fn sign(fd: &OwnedFd) -> Result<(), UndoError> {
        let Some(own) = LockHolder::of(std::process::id()) else { return Ok(()) };
        let text = format!("{} {}\n", own.pid, own.started);
        rustix::fs::ftruncate(fd, 0).map_err(std::io::Error::from)?;
        // A full disk keeps nobody from the lock.
        let _unsigned = rustix::io::pwrite(fd, text.as_bytes(), 0);
        Ok(())
    }

    /// Takes the lock if nobody holds it.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn take_now(state_dir: &Path) -> Result<Option<Self>, UndoError> {
        let path = state_dir.join("lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)).map_err(std::io::Error::from)?;
        match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                Self::sign(&fd)?;
                Ok(Some(Self(fd)))
            }
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(std::io::Error::from(error).into()),
        }
    }
}

/// Who holds a host's lock, as the lock file says: worth something only while the lock is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LockHolder {
    /// Its process.
    pub(crate) pid: i32,
    /// When that process started, in the kernel's own count, so that a number used again is not taken for it.
    started: String,
}

impl LockHolder {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold spaces and brackets; field 22 counts from after it.
        let started = stat.rsplit(')').next()?.split_whitespace().nth(19)?.to_owned();
        Some(Self { pid: i32::try_from(pid).ok()?, started })
    }

    /// Signs for another process.
    #[cfg(test)]
    pub(crate) fn sign_as(pid: u32, lock: &Path) {
        if let Some(holder) = Self::of(pid) {
            let _unsigned = fs_err::write(lock, format!("{pid} {}", holder.started));
        }
    }

    /// The living process that holds the lock; none if nobody does, or it cannot be told.
    pub(crate) fn find(state_dir: &Path) -> Option<Self> {
        let text = fs_err::read_to_string(state_dir.join("lock")).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Self::of(pid.parse().ok()?).filter(|found| found.started == started)
    }
}

impl Generation {
    /// What the host has seen.
    ///
    /// # Errors
    /// [`UndoError`]; a damaged file is an error, not a zero.
    pub fn read(state_dir: &Path) -> Result<Self, UndoError> {
        let path = state_dir.join("generation");
        match fs_err::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| UndoError::Other(format!("{} is damaged: {error}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Admits a request of this run and generation, and raises the host's if it is higher. Under the lock.
    ///
    /// # Errors
    /// [`UndoError::Fenced`] for a lower generation, or an equal one of another run.
    pub fn admit(state_dir: &Path, generation: u64, run: &str) -> Result<(), UndoError> {
        let seen = Self::read(state_dir)?;
        if generation < seen.generation || (generation == seen.generation && run != seen.run) {
            return Err(UndoError::Fenced(format!(
                "this host has seen generation {} of run {}; generation {generation} of run {run} is refused",
                seen.generation, seen.run
            )));
        }
        if generation == seen.generation {
            return Ok(());
        }
        write_json(&state_dir.join("generation"), &Self { generation, run: run.to_owned() })
    }
}

/// Writes a small file of the state directory in one step, synced.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), UndoError> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| UndoError::Other(format!("{} cannot be written: {error}", path.display())))?;
    write_bytes(path, &bytes)
}

pub(super) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), UndoError> {
    let mut staged = Staged::create(path)?;
    staged.write(bytes)?;
    staged.commit(&Final { mode: 0o600, uid: None, gid: None, xattrs: None })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_generations_and_equal_ones_of_others_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path();
        Generation::admit(state, 3, "a").unwrap();
        Generation::admit(state, 3, "a").unwrap();
        assert!(matches!(Generation::admit(state, 3, "b"), Err(UndoError::Fenced(_))));
        assert!(matches!(Generation::admit(state, 2, "a"), Err(UndoError::Fenced(_))));
        Generation::admit(state, 4, "b").unwrap();
        assert!(matches!(Generation::admit(state, 3, "a"), Err(UndoError::Fenced(_))));
        assert_eq!(Generation::read(state).unwrap(), Generation { generation: 4, run: "b".into() });
    }

    #[test]
    fn a_damaged_generation_is_no_zero() {
        let directory = tempfile::tempdir().unwrap();
        fs_err::write(directory.path().join("generation"), "{").unwrap();
        assert!(Generation::read(directory.path()).is_err());
    }
}

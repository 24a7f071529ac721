//! Tells how far a migration has come, and stops it when its request is to end.

use crate::fault::Changes;
use crate::migrate::{Manifest, MigrateError, Watch};
use crate::modules::ModuleError;
use crate::modules::userns::Asked;
use crate::protocol::WorkProgress;
use crate::serve::Control;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often it is told.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// How many bytes take about as long as a file of its own.
const BYTES_A_FILE: u64 = 16 << 10;

/// What goes on.
#[derive(Debug)]
struct Phase {
    doing: &'static str,
    begun: Instant,
    told: Instant,
    files: u64,
    all_files: Option<u64>,
    bytes: u64,
    all_bytes: Option<u64>,
}

impl Phase {
    fn new(doing: &'static str, all: Option<&Manifest>, bytes: bool) -> Self {
        let now = Instant::now();
        Self {
            doing,
            begun: now,
            told: now,
            files: 0,
            all_files: all.map(|all| all.inodes),
            bytes: 0,
            all_bytes: all.filter(|_| bytes).map(|all| all.bytes),
        }
    }

    fn so_far(&self, took: Duration) -> WorkProgress {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let work = |files: u64, bytes: u64| u128::from(files) + u128::from(bytes / BYTES_A_FILE);
        let done = work(self.files, self.bytes);
        let left = self.all_files.map(|all| work(all, self.all_bytes.unwrap_or(self.bytes)).saturating_sub(done));
        let left_ms = left.filter(|_| done > 0).map(|left| u128::from(took_ms) * left / done.max(1));
        WorkProgress {
            doing: self.doing.to_owned(),
            files: self.files,
            all_files: self.all_files,
            bytes: self.bytes,
            all_bytes: self.all_bytes,
            took_ms,
            left_ms: left_ms.map(|left| u64::try_from(left).unwrap_or(u64::MAX)),
        }
    }
}

/// Looks on for a request.
pub(super) struct Teller<'a> {
    asked: Asked<'a>,
    phase: Mutex<Phase>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(control: &'a Control, changes: Changes) -> Self {
        Self { asked: Asked { control, changes }, phase: Mutex::new(Phase::new("looking at", None, false)) }
    }

    /// An error of the migration, or why its request has ended.
    pub(super) fn failed(&self, error: MigrateError) -> ModuleError {
        self.asked.failed(super::SPEC.name, error)
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Teller<'_> {
    fn go_on(&self) -> Result<(), MigrateError> {
        self.asked.go_on()
    }

    fn before_change(&self) -> Result<(), MigrateError> {
        self.asked.before_change()
    }

    fn begins(&self, doing: &'static str, all: Option<&Manifest>, bytes: bool) {
        *self.phase() = Phase::new(doing, all, bytes);
    }

    fn seen(&self, inodes: u64, bytes: u64) {
        let mut phase = self.phase();
        phase.files += inodes;
        phase.bytes += if phase.all_bytes.is_some() { bytes } else { 0 };
        if phase.told.elapsed() >= TOLD_EVERY {
            phase.told = Instant::now();
            let work = phase.so_far(phase.begun.elapsed());
            drop(phase);
            self.asked.control.progress(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(bytes: u64) -> Manifest {
        let mut all = Manifest::default();
        (all.inodes, all.bytes) = (1000, bytes);
        all
    }

    #[test]
    fn what_is_left_is_told_by_files_and_bytes() {
        let all = manifest(1000 * BYTES_A_FILE);
        let mut phase = Phase::new("copying", Some(&all), true);
        (phase.files, phase.bytes) = (100, 400 * BYTES_A_FILE);
        let work = phase.so_far(Duration::from_secs(10));
        assert_eq!((work.all_files, work.all_bytes, work.took_ms), (Some(1000), Some(all.bytes), 10_000));
        assert_eq!(work.left_ms, Some(30_000));
        let mut phase = Phase::new("shifting", Some(&all), false);
        phase.files = 250;
        let work = phase.so_far(Duration::from_secs(1));
        assert_eq!((work.left_ms, work.all_bytes), (Some(3_000), None));
    }

    #[test]
    fn nothing_is_foretold_where_nothing_is_known() {
        let all = manifest(0);
        let mut phase = Phase::new("looking at", None, false);
        phase.files = 10;
        assert_eq!(phase.so_far(Duration::from_secs(1)).left_ms, None);
        assert_eq!(Phase::new("shifting", Some(&all), false).so_far(Duration::from_secs(1)).left_ms, None);
    }
}

//! What a guard's files say. These formats are on hosts: readers of later versions must understand them.

use super::clock::Now;
use crate::files::digest;
use crate::protocol::{GuardArm, GuardCause, GuardFired, GuardForm, GuardReport, GuardState};
use crate::undo::{RECORD_VERSION, Transaction, UndoError, now_ms, read_json, write_json};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

const RECORD: &str = "guard.json";
const DEADLINE: &str = "deadline";

/// `guard.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct GuardRecord {
    pub(super) v: u32,
    /// SHA-256 of the nonce's text, lower-case hexadecimal.
    pub(super) nonce_sha256: String,
    pub(super) state: GuardState,
    pub(super) since_ms: u64,
    pub(super) form: GuardForm,
    pub(super) weak: Option<String>,
    pub(super) armed_ms: u64,
    pub(super) timeout_ms: u64,
    pub(super) delay_ms: u64,
    pub(super) revert_budget_ms: u64,
    /// A reboot still gives one more deadline.
    pub(super) expect_reboot: bool,
    /// Why the deadline was ended by hand, if it was.
    pub(super) ended_by: Option<GuardCause>,
    pub(super) fired: Option<GuardFired>,
}

/// `deadline`: the lease's end by the host's monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deadline {
    v: u32,
    /// The boot that `at_ms` counts from.
    pub(super) boot: String,
    /// Milliseconds since that boot.
    pub(super) at_ms: u64,
    /// The same by the host's wall clock, for people.
    pub(super) wall_ms: u64,
}

impl GuardRecord {
    pub(super) fn armed(arm: &GuardArm, form: GuardForm, weak: Option<String>) -> Self {
        let now = now_ms();
        Self {
            v: RECORD_VERSION,
            nonce_sha256: digest(arm.nonce.as_bytes()),
            state: GuardState::Armed,
            since_ms: now,
            form,
            weak,
            armed_ms: now,
            timeout_ms: arm.timeout_ms,
            delay_ms: arm.delay_ms,
            revert_budget_ms: arm.revert_budget_ms,
            expect_reboot: arm.expect_reboot,
            ended_by: None,
            fired: None,
        }
    }

    /// What stands in for a record that somebody has deleted or damaged: a guard that is armed and late. A guard is
    /// disarmed by a matching nonce, never because a file is missing.
    fn missing() -> Self {
        let arm = GuardArm {
            txn: String::new(),
            nonce: String::new(),
            timeout_ms: 0,
            delay_ms: 0,
            revert_budget_ms: 0,
            expect_reboot: false,
        };
        let weak = Some("its record is missing or damaged".to_owned());
        Self { nonce_sha256: String::new(), ..Self::armed(&arm, GuardForm::Process, weak) }
    }

    pub(super) fn enter(&mut self, state: GuardState) {
        if self.state != state {
            self.state = state;
            self.since_ms = now_ms();
        }
    }

    pub(super) fn knows(&self, nonce: &str) -> bool {
        self.nonce_sha256 == digest(nonce.as_bytes())
    }

    pub(super) fn save(&self, dir: &Path) -> Result<(), UndoError> {
        write_json(&dir.join(RECORD), self)
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, GuardState::Armed | GuardState::Reverting)
    }
}

impl Deadline {
    pub(super) fn after(now: &Now, ms: u64) -> Self {
        Self {
            v: RECORD_VERSION,
            boot: now.boot.clone(),
            at_ms: now.since_boot_ms.saturating_add(ms),
            wall_ms: now.wall_ms.saturating_add(ms),
        }
    }

    /// One that has passed, as far back as can be told.
    fn missing() -> Self {
        Self { v: RECORD_VERSION, boot: String::new(), at_ms: 0, wall_ms: now_ms() }
    }

    pub(super) fn is_of(&self, now: &Now) -> bool {
        self.boot == now.boot
    }

    pub(super) fn left_ms(&self, now: &Now) -> u64 {
        if self.is_of(now) { self.at_ms.saturating_sub(now.since_boot_ms) } else { 0 }
    }

    pub(super) fn save(&self, dir: &Path) -> Result<(), UndoError> {
        write_json(&dir.join(DEADLINE), self)
    }
}

/// A guard as its files have it.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) record: GuardRecord,
    pub(super) deadline: Deadline,
}

impl Guard {
    /// The guard of a transaction; none if it never had one. `known` is what its guard has read before: that stands
    /// where a file has gone since.
    pub(super) fn load(dir: &Path, known: Option<&Self>) -> Option<Self> {
        let record: Result<GuardRecord, UndoError> = read_json(&dir.join(RECORD));
        let deadline: Result<Deadline, UndoError> = read_json(&dir.join(DEADLINE));
        if record.is_err() && deadline.is_err() && known.is_none() && !super::runner::has_run(dir) {
            return None;
        }
        let record = record.ok().or_else(|| known.map(|known| known.record.clone()));
        let deadline = deadline.ok().or_else(|| known.map(|known| known.deadline.clone()));
        Some(Self {
            record: record.unwrap_or_else(GuardRecord::missing),
            deadline: deadline.unwrap_or_else(Deadline::missing),
        })
    }

    /// The guard of a revert that the host's last reboot cut short: it goes on, whoever began it, armed or not.
    pub(super) fn resumed(known: Option<Self>) -> Self {
        let mut guard = known.unwrap_or_else(|| {
            let record = GuardRecord { weak: None, ..GuardRecord::missing() };
            Self { record, deadline: Deadline::missing() }
        });
        guard.record.enter(GuardState::Reverting);
        guard.record.fired.get_or_insert_with(|| GuardFired::begun(GuardCause::Reboot, now_ms()));
        guard
    }

    /// Moves the deadline to the armed time from now.
    pub(super) fn renew(&mut self, dir: &Path, now: &Now) -> Result<(), UndoError> {
        self.deadline = Deadline::after(now, self.record.timeout_ms.saturating_add(self.record.delay_ms));
        self.deadline.save(dir)
    }

    /// After a reboot that was expected: one more deadline.
    pub(super) fn allow_reboot(&mut self, dir: &Path, now: &Now) -> Result<(), UndoError> {
        if self.record.state != GuardState::Armed || !self.record.expect_reboot || self.deadline.is_of(now) {
            return Ok(());
        }
        // First the deadline: cut short here, the next one sees this boot's and gives no second.
        self.renew(dir, now)?;
        self.record.expect_reboot = false;
        self.record.save(dir)
    }

    pub(super) fn is_late(&self, now: &Now) -> bool {
        self.record.ended_by.is_some() || self.deadline.left_ms(now) == 0
    }

    pub(super) fn cause(&self, now: &Now) -> GuardCause {
        let passed = if self.deadline.is_of(now) { GuardCause::Deadline } else { GuardCause::Reboot };
        self.record.ended_by.unwrap_or(passed)
    }

    pub(super) fn report(&self, transaction: &Transaction, now: &Now) -> GuardReport {
        let (record, manifest) = (self.record.clone(), &transaction.manifest);
        let counts = record.state == GuardState::Armed && record.ended_by.is_none();
        GuardReport {
            txn: manifest.txn.clone(),
            run: manifest.run.clone(),
            host: manifest.host.clone(),
            state: record.state,
            form: record.form,
            weak: record.weak,
            armed_ms: record.armed_ms,
            deadline_ms: self.deadline.wall_ms,
            left_ms: if counts { self.deadline.left_ms(now) } else { 0 },
            revert_budget_ms: record.revert_budget_ms,
            since_ms: record.since_ms,
            fired: record.fired,
        }
    }
}

/// The guard's own lock, on the transaction's directory: no file that could be deleted. Held for moments.
#[derive(Debug)]
pub(super) struct GuardLock(#[expect(dead_code, reason = "the lock lasts as long as the descriptor")] OwnedFd);

impl GuardLock {
    pub(super) fn take(dir: &Path) -> Result<Self, UndoError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(dir, flags, Mode::empty()).map_err(std::io::Error::from)?;
        loop {
            match flock(&fd, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self(fd)),
                Err(Errno::INTR) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
        }
    }
}

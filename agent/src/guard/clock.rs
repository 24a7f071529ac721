//! The clock that deadlines are measured by: monotonic, and going on while the host sleeps.

use crate::undo::{UndoError, boot_identity, now_ms};
use rustix::time::{ClockId, clock_gettime};

/// A moment of this boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Now {
    /// The boot's identity (R24).
    pub(super) boot: String,
    /// Milliseconds since the boot, time asleep included.
    pub(super) since_boot_ms: u64,
    /// The same moment by the host's wall clock, in milliseconds since the epoch, for people.
    pub(super) wall_ms: u64,
}

impl Now {
    pub(super) fn read() -> Result<Self, UndoError> {
        Ok(Self { boot: boot_identity()?, since_boot_ms: since_boot_ms(), wall_ms: now_ms() })
    }
}

fn since_boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let millis = now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000);
    u64::try_from(millis).unwrap_or_default()
}

//! How far what is sent may be ahead of what the other side has read, where both share one machine.
//!
//! OpenSSH lets a channel fill a window of 2 MiB, in a buffer that it grows by copying it: where nothing slows the
//! sender, the copies cost the machine more than the rest of an upload. A sender that stays this little ahead keeps the
//! reader busy all the same.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// What may be on its way, in bytes. More than three packets of 32 KiB: OpenSSH gives no window back for less.
const AHEAD: usize = 128 << 10;

/// The window that OpenSSH opens a session with, in bytes (channels.h: `CHAN_SES_WINDOW_DEFAULT`).
const WINDOW: usize = 2 << 20;

/// A server that gives nothing back for so long waits for more than we send: it is not paced any more.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is on its way over one channel.
#[derive(Default)]
pub(crate) struct Pace {
    way: Mutex<Way>,
    changed: Notify,
}

#[derive(Default)]
struct Way {
    /// Bytes sent that nobody has read yet, as far as is known.
    ahead: usize,
    /// The server gives its window back in larger parts.
    free: bool,
}

impl Pace {
    /// The server has given window back; there are `window` bytes of it now.
    pub(crate) fn adjusted(&self, window: u32) {
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        self.way().ahead = WINDOW.saturating_sub(window);
        self.changed.notify_one();
    }

    /// Waits until `bytes` may be sent, and takes them as sent.
    pub(crate) async fn wait_for(&self, bytes: usize) {
        while !self.takes(bytes) {
            if timeout(PATIENCE, self.changed.notified()).await.is_err() {
                self.way().free = true;
            }
        }
    }

    fn takes(&self, bytes: usize) -> bool {
        let mut way = self.way();
        let takes = way.free || way.ahead < AHEAD;
        if takes {
            way.ahead += bytes;
        }
        takes
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test(start_paused = true)]
    async fn a_sender_stays_a_little_ahead_of_its_reader() {
        let pace = Pace::default();
        pace.wait_for(AHEAD).await;
        assert!(pace.wait_for(1).now_or_never().is_none());
        pace.adjusted(u32::try_from(WINDOW).unwrap() - 10);
        pace.wait_for(1).now_or_never().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_gives_its_window_back_late_is_not_paced() {
        let pace = Pace::default();
        for _ in 0..64 {
            pace.wait_for(AHEAD).await;
        }
        pace.adjusted(1);
        pace.wait_for(AHEAD).now_or_never().unwrap();
    }
}

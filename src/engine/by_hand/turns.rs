//! Whose turn it is: hosts begin while nothing stops the rollback, and wait while it is paused.

use crate::{
    engine::{dispatcher::Desk, stop::Level},
    journal::EventKind,
};
use tokio::sync::watch;

/// How many hosts are at work, and who may begin.
#[derive(Debug)]
pub(super) struct Turns {
    at_work: watch::Sender<usize>,
}

/// A host at work.
pub(super) struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.at_work.send_modify(|count| *count -= 1);
    }
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { at_work: watch::Sender::new(0) }
    }

    /// Waits for a host's turn; none: the rollback has been ended before.
    pub(super) async fn next(&self, desk: &Desk) -> Option<Turn<'_>> {
        loop {
            match desk.stopped().level {
                Level::None => {
                    self.at_work.send_modify(|count| *count += 1);
                    return Some(Turn(self));
                }
                Level::Pause => {
                    let _ = desk.unpaused().await;
                }
                Level::Abort | Level::Kill => return None,
            }
        }
    }

    /// Says each time that the rollback is paused and nothing is under way any more. Never ends.
    pub(super) async fn tell_waits(&self, desk: &Desk) {
        let mut at_work = self.at_work.subscribe();
        loop {
            desk.until(Level::Pause).await;
            if desk.stopped().level > Level::Pause {
                return std::future::pending().await;
            }
            tokio::select! {
                idle = at_work.wait_for(|count| *count == 0) => drop(idle),
                _ = desk.unpaused() => continue,
            }
            if desk.stopped().level == Level::Pause {
                let (what, then) = ("resume".to_owned(), String::new());
                desk.emit(EventKind::Waits { play: 0, what, timeout_ms: None, then, armed: 0, guards_ms: None });
            }
            let _ = desk.unpaused().await;
        }
    }
}

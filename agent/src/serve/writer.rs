//! Frames on their way out: answers always, progress only while there is room (it is dropped, never waited for).

use crate::protocol::{FromAgent, encode};
use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How many bytes may wait before progress is dropped.
const ROOM: usize = 1 << 20;

#[derive(Default)]
struct Queue {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    closing: bool,
    broken: bool,
    drained: bool,
}

/// The outgoing side of the channel. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Outbox(Arc<(Mutex<Queue>, Condvar)>);

impl Outbox {
    /// Queues an answer.
    pub(super) fn send(&self, message: &FromAgent) {
        self.push(message, usize::MAX);
    }

    /// Queues progress, or drops it.
    pub(super) fn offer(&self, message: &FromAgent) {
        self.push(message, ROOM);
    }

    /// Nothing comes after what is queued now.
    pub(super) fn close(&self) {
        self.queue().closing = true;
        self.0.1.notify_all();
    }

    /// Waits until everything is written, but not for a controller that reads nothing.
    pub(super) fn wait(&self, limit: Duration) {
        let written = |queue: &mut Queue| !queue.drained;
        let _either_way_it_ends = self.0.1.wait_timeout_while(self.queue(), limit, written);
    }

    fn push(&self, message: &FromAgent, room: usize) {
        if self.queue().bytes >= room {
            return;
        }
        // An answer too large for a frame must still be an answer.
        let frame = encode(message).or_else(|error| match message {
            FromAgent::Response { id, .. } => encode(&FromAgent::Response {
                id: *id,
                result: Err(crate::protocol::AgentError {
                    kind: crate::protocol::AgentErrorKind::Internal,
                    message: format!("the answer cannot be sent: {error}"),
                }),
            }),
            FromAgent::Welcome(_) | FromAgent::Progress { .. } => Err(error),
        });
        let Ok(frame) = frame else { return };
        let mut queue = self.queue();
        if !queue.broken {
            queue.bytes += frame.len();
            queue.frames.push_back(frame);
        }
        drop(queue);
        self.0.1.notify_all();
    }

    /// Writes until closed and empty, or until the other side has gone.
    pub(super) fn drain(&self, mut to: impl Write) {
        loop {
            let mut queue = self.queue();
            while queue.frames.is_empty() && !queue.closing {
                queue = self.0.1.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let Some(frame) = queue.frames.pop_front() else {
                queue.drained = true;
                self.0.1.notify_all();
                return;
            };
            drop(queue);
            let written = to.write_all(&frame).and_then(|()| to.flush());
            let mut queue = self.queue();
            queue.bytes = queue.bytes.saturating_sub(frame.len());
            if written.is_err() {
                queue.broken = true;
                queue.frames.clear();
                queue.bytes = 0;
            }
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Answer, Progress, Stream, decode};

    fn output(id: u64) -> FromAgent {
        FromAgent::Progress { id, progress: Progress::Output { stream: Stream::Stdout, data: vec![7; 64 << 10] } }
    }

    #[test]
    fn progress_is_dropped_when_nobody_reads_and_answers_never_are() {
        let outbox = Outbox::default();
        for id in 0..100 {
            outbox.offer(&output(id));
        }
        outbox.send(&FromAgent::Response { id: 1, result: Ok(Answer::Done) });
        outbox.close();
        let mut bytes = Vec::new();
        outbox.drain(&mut bytes);
        assert!(bytes.len() < ROOM + (128 << 10), "{}", bytes.len());
        let mut rest = bytes.as_slice();
        let mut last = None;
        while let Ok(message) = crate::protocol::read_frame::<FromAgent>(&mut rest) {
            last = Some(message);
        }
        assert!(matches!(last, Some(FromAgent::Response { id: 1, .. })));
    }

    #[test]
    fn an_answer_too_large_for_a_frame_becomes_an_error() {
        let outbox = Outbox::default();
        let mut facts = serde_json::Map::new();
        facts.insert("big".into(), "x".repeat(17 << 20).into());
        outbox.send(&FromAgent::Response { id: 4, result: Ok(Answer::Facts(facts)) });
        outbox.close();
        let mut bytes = Vec::new();
        outbox.drain(&mut bytes);
        let message: FromAgent = decode(&bytes[4..]).unwrap();
        assert!(matches!(message, FromAgent::Response { id: 4, result: Err(_) }));
    }
}

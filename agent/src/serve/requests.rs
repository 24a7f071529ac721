//! Requests under way: one thread each.

use super::agent::Agent;
use super::control::{Control, Sink};
use super::writer::Outbox;
use crate::protocol::{AgentError, AgentErrorKind, Call, FromAgent, Progress};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many requests may be under way (S7): a controller that asks for more is not ours.
const MOST: usize = 256;

#[derive(Default)]
struct Table {
    controls: BTreeMap<u64, Control>,
}

/// The requests under way on one channel.
pub(super) struct Requests {
    agent: Arc<Agent>,
    outbox: Outbox,
    table: Arc<(Mutex<Table>, Condvar)>,
}

impl Requests {
    pub(super) fn new(agent: Agent, outbox: Outbox) -> Self {
        Self { agent: Arc::new(agent), outbox, table: Arc::default() }
    }

    /// Starts a request; it answers by itself.
    pub(super) fn start(&self, id: u64, call: Box<Call>) {
        let control = Control::new(None, Some(self.output(id)));
        let refused = {
            let mut table = lock(&self.table.0);
            if table.controls.contains_key(&id) {
                Some(format!("request {id} is under way already"))
            } else if table.controls.len() >= MOST {
                Some(format!("{MOST} requests are under way already"))
            } else {
                table.controls.insert(id, control.clone());
                None
            }
        };
        if let Some(message) = refused {
            self.respond(id, Err(AgentError { kind: AgentErrorKind::Internal, message }));
            return;
        }
        let (agent, outbox, table) = (Arc::clone(&self.agent), self.outbox.clone(), Arc::clone(&self.table));
        let work = move || {
            let progress = |progress: Progress| outbox.offer(&FromAgent::Progress { id, progress });
            let result = agent.answer(&call, &control, &progress);
            outbox.send(&FromAgent::Response { id, result });
            lock(&table.0).controls.remove(&id);
            table.1.notify_all();
        };
        if let Err(error) = std::thread::Builder::new().name(format!("request {id}")).spawn(work) {
            lock(&self.table.0).controls.remove(&id);
            let message = format!("no thread for the request: {error}");
            self.respond(id, Err(AgentError { kind: AgentErrorKind::Internal, message }));
        }
    }

    /// Asks a request to end. One that is not under way has been answered already.
    pub(super) fn cancel(&self, id: u64) {
        if let Some(control) = lock(&self.table.0).controls.get(&id) {
            control.cancel();
        }
    }

    /// Asks all to end and waits until they have; critical ones finish what they do.
    pub(super) fn finish(&self) {
        let mut table = lock(&self.table.0);
        for control in table.controls.values() {
            control.cancel();
        }
        let begun = Instant::now();
        while !table.controls.is_empty() {
            let waited = self.table.1.wait_timeout(table, Duration::from_millis(200));
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
            // Reading modules hold no process group that outlives them; the others answer within TERM's grace.
            let only_readers = begun.elapsed() > Duration::from_secs(30) && self.agent.turns.is_free();
            if only_readers {
                return;
            }
        }
    }

    fn respond(&self, id: u64, result: Result<crate::protocol::Answer, AgentError>) {
        self.outbox.send(&FromAgent::Response { id, result });
    }

    fn output(&self, id: u64) -> Arc<Sink> {
        let outbox = self.outbox.clone();
        Arc::new(move |progress| {
            outbox.offer(&FromAgent::Progress { id, progress });
        })
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

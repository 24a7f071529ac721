//! One agent at the other end of a stream: many requests at once, each answered once.
//!
//! A reader task always drains the stream and never waits for anybody; a writer task sends frames and heartbeats. A
//! lost channel resolves every call under way, so that nothing waits for an answer that cannot come.

use super::{
    HostError, Request, Stage,
    frames::FrameReader,
    slots::Alive,
    stream::{Exit, Output, Sink, Source, Tail, ending},
};
use crate::crash;
use rollgate_agent::protocol::{
    AgentError, AgentErrorKind, Answer, FromAgent, PROTOCOL_VERSION, Progress, ToAgent, Welcome, encode,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often the controller says that it is there (rollout.md R2).
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long an answer may still take once a request was cut: TERM, 5 s, KILL, and some.
const CUT_GRACE: Duration = Duration::from_secs(10);

/// How long an agent may take to end.
const GOODBYE: Duration = Duration::from_secs(2);

/// Frames waiting to be written.
const QUEUE: usize = 64;

type Reply = Result<Answer, HostError>;

struct Pending {
    answer: oneshot::Sender<Reply>,
    progress: Option<mpsc::Sender<Progress>>,
}

#[derive(Default)]
struct State {
    pending: HashMap<u64, Pending>,
    last_id: u64,
    ended: Option<HostError>,
}

#[derive(Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves everything under way; the first reason stands.
    fn end(&self, why: HostError) {
        let mut state = self.lock();
        let why = state.ended.get_or_insert(why).clone();
        for (_, pending) in state.pending.drain() {
            drop(pending.answer.send(Err(why.clone())));
        }
    }
}

/// Ends the calls under way when the reader ends, by a panic too.
struct EndsAll(Arc<Shared>);

impl Drop for EndsAll {
    fn drop(&mut self) {
        self.0.end(HostError::Lost { message: "the session ended by an error of rollgate itself".to_owned() });
    }
}

/// A running agent.
pub(crate) struct Mux {
    welcome: Welcome,
    outgoing: mpsc::Sender<Vec<u8>>,
    shared: Arc<Shared>,
    closed: CancellationToken,
    /// The agent's input has been ended.
    said: CancellationToken,
    /// Ends the writer, and with it the agent's input, when the mux goes.
    _stop: DropGuard,
}

impl Alive for Mux {
    fn alive(&self) -> bool {
        !self.outgoing.is_closed() && self.shared.lock().ended.is_none()
    }
}

impl Mux {
    /// Waits for the agent's welcome to a Hello already sent, then serves. `stage` names what failed when the process
    /// ends before it said anything; the caller bounds the time.
    pub(crate) async fn start(
        mut source: Box<dyn Source>,
        sink: Box<dyn Sink>,
        read_ahead: &[u8],
        stage: Stage,
    ) -> Result<Self, HostError> {
        let mut frames = FrameReader::default();
        frames.push(read_ahead);
        let welcome = welcome(source.as_mut(), &mut frames, stage).await?;
        let shared = Arc::new(Shared::default());
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let stop = CancellationToken::new();
        let closed = CancellationToken::new();
        let ends_all = EndsAll(shared.clone());
        let done = closed.clone().drop_guard();
        tokio::spawn(async move {
            let why = read(source, frames, &ends_all.0).await;
            ends_all.0.end(why);
            drop(done);
        });
        let said = CancellationToken::new();
        let writing = write(sink, queue, shared.clone(), stop.clone(), closed.clone());
        let ended = said.clone().drop_guard();
        tokio::spawn(async move {
            writing.await;
            drop(ended);
        });
        Ok(Self { welcome, outgoing, shared, closed, said, _stop: stop.drop_guard() })
    }

    /// What the agent said of itself.
    pub(crate) fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Does one call; see [`super::Host::call`].
    pub(crate) async fn call(&self, request: Request) -> Reply {
        let Request { call, deadline, cancel, progress, .. } = request;
        let (answer, mut answered) = oneshot::channel();
        let mut in_flight = self.register(Pending { answer, progress })?;
        let number = crash::request(&call);
        let frame = match encode(&ToAgent::Request { id: in_flight.id, call: Box::new(call) }) {
            Ok(frame) => frame,
            Err(error) => return in_flight.unsent(invalid(error.to_string())),
        };
        let until = tokio::time::sleep(deadline);
        tokio::pin!(until);
        // Into the queue of the writer: from here on the call may reach the agent.
        tokio::select! {
            () = &mut until => return in_flight.unsent(not_sent("the host reads nothing")),
            () = cancel.cancelled() => {
                return in_flight.unsent(cancelled("the request was cancelled before it was sent"));
            }
            sent = self.outgoing.send(frame) => if sent.is_err() {
                return in_flight.unsent(not_sent("the channel is closed"));
            },
        }
        crash::sent(number).await;
        tokio::select! {
            answer = &mut answered => {
                crash::answered(number);
                return self.done(in_flight, answer);
            }
            () = &mut until => {}
            () = cancel.cancelled() => {
                self.send_cancel(in_flight.id);
                tokio::select! {
                    answer = &mut answered => return self.done(in_flight, answer),
                    () = &mut until => {}
                }
            }
        }
        self.send_cancel(in_flight.id);
        match tokio::time::timeout(CUT_GRACE, &mut answered).await {
            Ok(answer) => self.done(in_flight, answer).map_err(|error| timed_out(error, deadline)),
            Err(_) => Err(HostError::Deadline { after: deadline }),
        }
    }

    /// Ends the agent's input. It ends by itself then, and holds nothing between two calls: nobody has to wait for it.
    pub(crate) async fn end(&self) {
        self.shared.end(HostError::Lost { message: "the connection was closed".to_owned() });
        drop(self.outgoing.try_send(Vec::new()));
        drop(tokio::time::timeout(GOODBYE, self.said.cancelled()).await);
    }

    /// Ends the agent's input and waits a little until it has gone.
    pub(crate) async fn close(&self) {
        self.end().await;
        drop(tokio::time::timeout(GOODBYE, self.closed.cancelled()).await);
    }

    fn register(&self, pending: Pending) -> Result<InFlight<'_>, HostError> {
        let mut state = self.shared.lock();
        if let Some(why) = &state.ended {
            return Err(HostError::Unreachable {
                stage: Stage::Agent,
                message: format!("the agent had gone before the call: {why}"),
                hint: None,
            });
        }
        state.last_id += 1;
        let id = state.last_id;
        state.pending.insert(id, pending);
        Ok(InFlight { id, mux: Some(self) })
    }

    fn done(&self, mut in_flight: InFlight<'_>, answer: Result<Reply, oneshot::error::RecvError>) -> Reply {
        in_flight.mux = None;
        answer.unwrap_or_else(|_| Err(self.why_ended()))
    }

    fn why_ended(&self) -> HostError {
        self.shared.lock().ended.clone().unwrap_or(HostError::Lost { message: "the channel is closed".to_owned() })
    }

    fn send_cancel(&self, id: u64) {
        // A full queue means that the host does not read: the deadline ends the call then.
        if let Ok(frame) = encode(&ToAgent::Cancel { id }) {
            drop(self.outgoing.try_send(frame));
        }
    }
}

/// A call under way. A caller that goes away leaves nothing running on the host.
struct InFlight<'a> {
    id: u64,
    mux: Option<&'a Mux>,
}

impl InFlight<'_> {
    /// The call has not left the controller: there is nothing to cancel on the host.
    fn unsent(&mut self, why: HostError) -> Reply {
        if let Some(mux) = self.mux.take() {
            mux.shared.lock().pending.remove(&self.id);
        }
        Err(why)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(mux) = self.mux
            && mux.shared.lock().pending.remove(&self.id).is_some()
        {
            mux.send_cancel(self.id);
        }
    }
}

fn not_sent(message: &str) -> HostError {
    HostError::Unreachable { stage: Stage::Agent, message: format!("the call was not sent: {message}"), hint: None }
}

fn invalid(message: String) -> HostError {
    HostError::Agent(AgentError { kind: AgentErrorKind::Invalid, message })
}

fn cancelled(message: &str) -> HostError {
    HostError::Agent(AgentError { kind: AgentErrorKind::Cancelled, message: message.to_owned() })
}

/// The agent says "cancelled" of a request that the deadline cut.
fn timed_out(error: HostError, deadline: Duration) -> HostError {
    match error {
        HostError::Agent(AgentError { kind: AgentErrorKind::Cancelled, message }) => HostError::Agent(AgentError {
            kind: AgentErrorKind::TimedOut,
            message: format!("not done within {} s, and ended: {message}", deadline.as_secs_f32()),
        }),
        other => other,
    }
}

async fn welcome(source: &mut dyn Source, frames: &mut FrameReader, stage: Stage) -> Result<Welcome, HostError> {
    let (mut stderr, mut exit): (Tail, Option<Exit>) = (Tail::default(), None);
    let refused = |message: String| HostError::Unreachable { stage: Stage::Agent, message, hint: None };
    loop {
        match frames
            .next()
            .map_err(|error| refused(format!("the agent's first words are not the protocol: {error}")))?
        {
            Some(FromAgent::Welcome(welcome)) if welcome.protocol == PROTOCOL_VERSION => return Ok(welcome),
            Some(FromAgent::Welcome(welcome)) => {
                return Err(refused(format!(
                    "the agent speaks version {} of the protocol, the controller {PROTOCOL_VERSION}",
                    welcome.protocol
                )));
            }
            Some(FromAgent::Response { result: Err(error), .. }) => return Err(refused(error.message)),
            Some(_) => return Err(refused("the agent answered before it said who it is".to_owned())),
            None => {}
        }
        match source.next().await {
            Output::Stdout(bytes) => frames.push(&bytes),
            Output::Stderr(bytes) => stderr.push(&bytes),
            Output::Exit(how) => exit = Some(how),
            Output::End => {
                return Err(HostError::Unreachable {
                    stage,
                    message: format!("the agent did not start: {}", ending(exit.as_ref(), &stderr)),
                    hint: None,
                });
            }
        }
    }
}

/// Reads until the end and says why it came.
async fn read(mut source: Box<dyn Source>, mut frames: FrameReader, shared: &Shared) -> HostError {
    let (mut stderr, mut exit): (Tail, Option<Exit>) = (Tail::default(), None);
    loop {
        loop {
            match frames.next() {
                Ok(Some(message)) => {
                    if let Err(message) = take(message, shared) {
                        return HostError::Protocol { message };
                    }
                }
                Ok(None) => break,
                Err(error) => return HostError::Protocol { message: error.to_string() },
            }
        }
        match source.next().await {
            Output::Stdout(bytes) => frames.push(&bytes),
            Output::Stderr(bytes) => stderr.push(&bytes),
            Output::Exit(how) => exit = Some(how),
            Output::End => {
                return HostError::Lost { message: format!("the agent has gone: {}", ending(exit.as_ref(), &stderr)) };
            }
        }
    }
}

/// Hands one message to whom it is for.
fn take(message: FromAgent, shared: &Shared) -> Result<(), String> {
    let mut state = shared.lock();
    match message {
        FromAgent::Welcome(_) => Err("a second welcome".to_owned()),
        FromAgent::Progress { id, .. } | FromAgent::Response { id, .. } if id == 0 || id > state.last_id => {
            Err(format!("an answer to request {id}, which was never made"))
        }
        FromAgent::Progress { id, progress } => {
            if let Some(sender) = state.pending.get(&id).and_then(|pending| pending.progress.as_ref()) {
                // Full or gone: progress may be dropped, the answer never is.
                drop(sender.try_send(progress));
            }
            Ok(())
        }
        FromAgent::Response { id, result } => {
            // None: answered after its caller gave up.
            if let Some(pending) = state.pending.remove(&id) {
                drop(pending.answer.send(result.map_err(HostError::Agent)));
            }
            Ok(())
        }
    }
}

/// Writes frames and heartbeats until told to stop. An empty frame ends the agent's input.
async fn write(
    mut sink: Box<dyn Sink>,
    mut queue: mpsc::Receiver<Vec<u8>>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    closed: CancellationToken,
) {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    heartbeat.tick().await;
    let serve = async {
        loop {
            let frame = tokio::select! {
                biased;
                frame = queue.recv() => match frame {
                    Some(frame) if !frame.is_empty() => frame,
                    _ => return,
                },
                _ = heartbeat.tick() => match encode(&ToAgent::Heartbeat) {
                    Ok(frame) => frame,
                    Err(_) => return,
                },
            };
            if let Err(error) = sink.send(frame.into()).await {
                return shared.end(HostError::Lost { message: format!("the agent cannot be written to: {error}") });
            }
        }
    };
    tokio::select! {
        () = serve => {}
        () = stop.cancelled() => {}
        () = closed.cancelled() => {}
    }
    sink.end().await;
}

#[cfg(test)]
#[path = "mux_tests.rs"]
mod tests;

//! The linearising point: one task through which everything passes that happens in a run.
//!
//! A unit of work asks before it acts. The dispatcher writes the intent to the journal, shows the event to the sinks once
//! it is on disk, and only then grants the permit. Aborts are decided here too, so that in the order of the journal no
//! permit follows an abort.

use super::{
    operator::{Heard, Said},
    stop::{Level, Order, Signal, Stop, StopRequest, Waiting, on_failure_key},
};
use crate::{
    clock::Clock,
    journal::{Ack, Acks, Event, EventKind, StopCause, Writer},
    playbook::OnFailure,
    report::Sink,
    secrets::Redactor,
};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{mpsc, oneshot, watch};

/// What a unit wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Begin with a host. Refused from a pause on.
    Start,
    /// Run a step. Refused from an abort on.
    Step,
    /// A step that the controller does by itself: like the others, but nobody waits for the disk.
    Local,
    /// Undo. Refused only when killed, or when nothing can be written down any more.
    Rollback,
}

/// The answer to an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permit {
    /// The intent is on disk.
    Granted,
    /// It must not be done, and nothing was written.
    Denied,
}

enum Message {
    Emit(EventKind),
    Ask {
        permission: Permission,
        intent: EventKind,
        answer: oneshot::Sender<Permit>,
    },
    Stop(StopRequest),
    Policy(OnFailure),
    Continue,
    Wait {
        waiting: Waiting,
        event: EventKind,
        asked: oneshot::Sender<()>,
    },
    /// Time has decided what was waited for.
    Decided,
    Order {
        order: Order,
        answer: oneshot::Sender<Heard>,
    },
    Close(oneshot::Sender<()>),
}

/// A unit's way to the dispatcher. The channel is unbounded: units wait for the answers to their asks, so what is in it
/// is bounded by the hosts in flight.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    inbox: mpsc::UnboundedSender<Message>,
    stop: watch::Receiver<Stop>,
    /// How many requests to stop were made.
    requests: Arc<AtomicU64>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl Desk {
    /// Says that something happened.
    pub(crate) fn emit(&self, kind: EventKind) {
        // A dispatcher that has ended has said why; nobody listens any more.
        let _ = self.inbox.send(Message::Emit(kind));
    }

    /// Asks to do something; returns when the intent is on disk.
    pub(crate) async fn ask(&self, permission: Permission, intent: EventKind) -> Permit {
        let (answer, permit) = oneshot::channel();
        if self.inbox.send(Message::Ask { permission, intent, answer }).is_err() {
            return Permit::Denied;
        }
        permit.await.unwrap_or(Permit::Denied)
    }

    /// Asks the run to stop; the first request of a level wins.
    pub(crate) fn stop(&self, request: StopRequest) {
        self.requests.fetch_add(1, Ordering::AcqRel);
        let _ = self.inbox.send(Message::Stop(request));
    }

    /// Whether every request to stop has been dealt with: what [`Desk::stopped`] says is all there is to say.
    pub(crate) fn is_heeded(&self) -> bool {
        let made = self.requests.load(Ordering::Acquire);
        self.stop.has_changed().is_err() || self.stop.borrow().heeded >= made
    }

    /// Says what follows an abort that does not say so itself.
    pub(crate) fn policy(&self, then: OnFailure) {
        let _ = self.inbox.send(Message::Policy(then));
    }

    /// Takes an abort back: the batch it ended is over and the run goes on (`on_failure: continue`). An operator's abort and
    /// a lost journal stay: the caller asks for nothing else.
    pub(crate) async fn go_on(&self) {
        if self.inbox.send(Message::Continue).is_ok() {
            let mut stop = self.stop.clone();
            let _ = stop.wait_for(|stop| stop.level != Level::Abort).await;
        }
    }

    /// Says that from now on an operator is waited for; the event says what for.
    pub(crate) async fn wait(&self, waiting: Waiting, event: EventKind) {
        let (asked, answered) = oneshot::channel();
        if self.inbox.send(Message::Wait { waiting, event, asked }).is_ok() {
            let _ = answered.await;
        }
    }

    /// Says that an operator is waited for no more.
    pub(crate) fn decided(&self) {
        let _ = self.inbox.send(Message::Decided);
    }

    /// Says an operator's word; the answer comes when it is on disk. None: the run is over.
    pub(crate) async fn order(&self, order: Order) -> Option<Said> {
        let (answer, heard) = oneshot::channel();
        self.inbox.send(Message::Order { order, answer }).ok()?;
        let Heard { said, written } = heard.await.ok()?;
        if let Some(written) = written {
            let _ = written.await;
        }
        Some(said)
    }

    /// Waits until anything is said that was not said at this turn.
    pub(crate) async fn turned(&self, turn: u64, level: Level) {
        let mut stop = self.stop.clone();
        let gone = stop.wait_for(|stop| stop.turn != turn).await.is_err();
        if gone && level == Level::Kill {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the run is not paused: false if it was told to stop further.
    pub(crate) async fn unpaused(&self) -> bool {
        let mut stop = self.stop.clone();
        let level = stop.wait_for(|stop| stop.level != Level::Pause).await.map(|stop| stop.level);
        level.is_ok_and(|level| level == Level::None)
    }

    /// How far the run has been told to stop.
    pub(crate) fn stopped(&self) -> Stop {
        let mut stop = self.stop.borrow().clone();
        if self.stop.has_changed().is_err() {
            // Without a dispatcher nothing can be written down any more.
            stop.level = Level::Kill;
            stop.journal_lost = true;
        }
        stop
    }

    /// Waits until the run is told to stop at least so far; for ever if it never is.
    pub(crate) async fn until(&self, level: Level) {
        let mut stop = self.stop.clone();
        // An error is a dispatcher that has ended: a kill.
        let _ = stop.wait_for(|stop| stop.level >= level).await;
    }

    /// Writes and shows everything said so far, ends the journal and the sinks.
    pub(crate) async fn close(&self) {
        let (done, wait) = oneshot::channel();
        if self.inbox.send(Message::Close(done)).is_ok() {
            let _ = wait.await;
        }
    }
}

/// What the dispatcher needs.
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) redactor: Redactor,
    pub(crate) sinks: Vec<Box<dyn Sink>>,
    pub(crate) journal: Option<(Writer, Acks)>,
    pub(crate) signals: mpsc::Receiver<Signal>,
    /// The run is a rollback by hand: an abort begins with no further host, and finishes those under way.
    pub(crate) undoes: bool,
}

struct Pending {
    event: Arc<Event>,
    permit: Option<oneshot::Sender<Permit>>,
}

pub(crate) struct Dispatcher {
    clock: Clock,
    redactor: Redactor,
    sinks: Vec<Box<dyn Sink>>,
    journal: Option<Writer>,
    pending: VecDeque<Pending>,
    seq: u64,
    pub(super) policy: OnFailure,
    pub(super) undoes: bool,
    pub(super) stop: watch::Sender<Stop>,
    /// What the play waits for.
    pub(super) waiting: Option<Waiting>,
    /// Signals since the last time that the run went on: the first pauses, the second aborts, the third kills.
    pub(super) signals: u8,
}

impl Dispatcher {
    /// Starts the dispatcher's task.
    pub(crate) fn start(parts: Parts) -> Desk {
        let (sender, inbox) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(Stop::default());
        let (journal, acks) = parts.journal.unzip();
        let dispatcher = Self {
            clock: parts.clock,
            redactor: parts.redactor,
            sinks: parts.sinks,
            journal,
            pending: VecDeque::new(),
            seq: 0,
            policy: OnFailure::Pause,
            undoes: parts.undoes,
            stop,
            waiting: None,
            signals: 0,
        };
        tokio::spawn(dispatcher.serve(inbox, acks, parts.signals));
        Desk { inbox: sender, stop: stopped, requests: Arc::default() }
    }

    async fn serve(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Message>,
        mut acks: Option<Acks>,
        mut signals: mpsc::Receiver<Signal>,
    ) {
        let mut closing = None;
        loop {
            if closing.is_some() && self.pending.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                Some(signal) = signals.recv() => self.signal(signal),
                Some(ack) = next(&mut acks) => self.acknowledged(ack),
                message = inbox.recv() => match message {
                    None => break,
                    Some(Message::Close(done)) => closing = Some(done),
                    Some(message) => self.handle(message),
                },
            }
        }
        if let Some(journal) = self.journal.take() {
            journal.close().await;
        }
        self.sinks.iter_mut().for_each(|sink| sink.finish());
        if let Some(done) = closing {
            let _ = done.send(());
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Emit(kind) => self.record(kind, None, false),
            Message::Ask { permission, intent, answer } => {
                if self.permits(permission) {
                    self.record(intent, Some(answer), permission != Permission::Local);
                } else {
                    let _ = answer.send(Permit::Denied);
                }
            }
            Message::Stop(request) => {
                match request {
                    StopRequest::Pause { cause } => self.pause(cause),
                    StopRequest::Abort { cause, evidence, then } => self.abort(cause, evidence, then),
                }
                self.stop.send_modify(|stop| {
                    stop.heeded += 1;
                    stop.turn += 1;
                });
            }
            Message::Wait { waiting, event, asked } => {
                self.stop.send_modify(|stop| stop.decision = None);
                self.waiting = Some(waiting);
                self.record(event, None, true);
                let _ = asked.send(());
            }
            Message::Decided => self.waiting = None,
            Message::Order { order, answer } => {
                let _ = answer.send(self.order(order));
            }
            Message::Policy(then) => self.policy = then,
            Message::Continue => {
                let stop = self.stop.borrow();
                let ends = stop.level == Level::Abort && !stop.lasts();
                drop(stop);
                if ends {
                    self.lift();
                }
            }
            Message::Close(_) => {}
        }
    }

    fn permits(&self, permission: Permission) -> bool {
        let stop = self.stop.borrow();
        let below = match permission {
            Permission::Start => Level::Pause,
            Permission::Step | Permission::Local => Level::Abort,
            Permission::Rollback => Level::Kill,
        };
        stop.level < below && !stop.journal_lost
    }

    fn pause(&mut self, cause: StopCause) {
        let above = self.stop.borrow().level >= Level::Pause;
        // A rollback that stops is said also where the run is aborted already.
        if !above || matches!(cause, StopCause::Environment | StopCause::Rollback { .. }) {
            self.record(EventKind::Paused { cause: cause.clone() }, None, true);
        }
        if !above {
            self.raise(Level::Pause, cause, String::new(), None);
        }
    }

    fn abort(&mut self, cause: StopCause, evidence: String, then: Option<OnFailure>) {
        // What `on_failure: pause` waited for comes as an abort of its own.
        let decided = self.waiting == Some(Waiting::Failure);
        if self.stop.borrow().level < Level::Abort || decided || self.outdoes(&cause) {
            self.waiting = None;
            let follows = on_failure_key(then.unwrap_or(self.policy)).to_owned();
            let kind = EventKind::Aborted { cause: cause.clone(), evidence: evidence.clone(), then: follows };
            self.record(kind, None, true);
            self.raise(Level::Abort, cause, evidence, then);
        }
    }

    /// A rehearsal that failed ends the run, whatever an abort before it left to the play.
    fn outdoes(&self, cause: &StopCause) -> bool {
        let stop = self.stop.borrow();
        let mild = matches!(stop.then.unwrap_or(self.policy), OnFailure::Continue | OnFailure::Pause);
        matches!(cause, StopCause::Rehearsal { .. }) && stop.level == Level::Abort && mild && !stop.lasts()
    }

    pub(super) fn raise(&mut self, level: Level, cause: StopCause, evidence: String, then: Option<OnFailure>) {
        self.stop.send_modify(|stop| {
            stop.level = level;
            stop.cause = Some(cause);
            stop.evidence = evidence;
            stop.then = then;
            stop.turn += 1;
        });
    }

    /// The run goes on as if nothing had stopped it.
    pub(super) fn lift(&mut self) {
        self.signals = 0;
        self.stop.send_modify(|stop| {
            (stop.level, stop.cause, stop.then) = (Level::None, None, None);
            stop.evidence.clear();
            stop.turn += 1;
        });
    }

    /// Gives an event its place, hands it to the journal, and holds it back until the journal has it.
    pub(super) fn record(&mut self, kind: EventKind, permit: Option<oneshot::Sender<Permit>>, sync: bool) {
        self.seq += 1;
        let event = Arc::new(Event {
            seq: self.seq,
            at: self.clock.wall(),
            elapsed_ms: self.clock.elapsed_ms(),
            kind: self.redacted(kind),
        });
        let sync = sync || matches!(event.kind, EventKind::Aborted { .. } | EventKind::RunEnded { .. });
        let lost = self.stop.borrow().journal_lost;
        self.pending.push_back(Pending { event: event.clone(), permit });
        match &self.journal {
            Some(journal) if !lost => {
                if journal.submit(event, sync).is_err() {
                    self.journal_lost("the journal's writer has ended");
                }
            }
            _ => self.release(self.seq, !lost),
        }
    }

    fn acknowledged(&mut self, ack: Ack) {
        match ack {
            Ack::Written { through, reserve_used } => {
                self.release(through, true);
                if reserve_used {
                    let cause = StopCause::Journal { error: "no space left on the controller's disk".to_owned() };
                    self.abort(cause, "The journal is written to its reserve.".to_owned(), None);
                }
            }
            Ack::Failed { error } => self.journal_lost(&error),
        }
    }

    /// Nothing may happen on a host that is not recorded first: from here on nothing is granted.
    fn journal_lost(&mut self, error: &str) {
        let cause = StopCause::Journal { error: error.to_owned() };
        let already = self.stop.borrow().level;
        self.stop.send_modify(|stop| {
            stop.journal_lost = true;
            stop.turn += 1;
        });
        self.release(self.seq, false);
        if already < Level::Abort {
            self.abort(cause, "The journal cannot be written.".to_owned(), Some(OnFailure::Pause));
        }
    }

    /// Shows the events up to `through` and answers those who wait for them.
    fn release(&mut self, through: u64, on_disk: bool) {
        while self.pending.front().is_some_and(|pending| pending.event.seq <= through) {
            let Some(pending) = self.pending.pop_front() else { return };
            for sink in &mut self.sinks {
                sink.event(&pending.event);
            }
            if let Some(permit) = pending.permit {
                let _ = permit.send(if on_disk { Permit::Granted } else { Permit::Denied });
            }
        }
    }

    /// The event without secrets. Secrets are rare, so most events are not touched.
    fn redacted(&self, kind: EventKind) -> EventKind {
        if self.redactor.is_empty() {
            return kind;
        }
        let Ok(mut value) = serde_json::to_value(&kind) else { return kind };
        let before = value.clone();
        self.redactor.redact_value(&mut value);
        if value == before {
            return kind;
        }
        // A secret that is a word of the format itself (a host's name, a state) cannot be taken out of the event.
        serde_json::from_value(value).ok().filter(|clean| *clean != EventKind::Unknown).unwrap_or_else(|| {
            EventKind::Warning {
                host: None,
                message: "An event was withheld: a secret is the name of something in it.".to_owned(),
            }
        })
    }
}

async fn next(acks: &mut Option<Acks>) -> Option<Ack> {
    match acks {
        Some(acks) => match acks.recv().await {
            Some(ack) => Some(ack),
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

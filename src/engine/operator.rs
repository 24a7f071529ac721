//! What the dispatcher does when an operator says something: by a signal, or through the control socket.

use super::{
    dispatcher::{Dispatcher, Permit},
    stop::{Command, Decision, Level, Order, Signal, Waiting, on_failure_key},
};
use crate::{
    journal::{EventKind, StopCause},
    playbook::OnFailure,
};
use tokio::sync::oneshot;

/// What a word came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// No new host starts.
    Paused,
    /// It was paused already, for another reason; now it waits without limit.
    Held,
    /// No new step starts; then this follows (`on_failure`).
    Aborted(String),
    /// The rest is not rolled back.
    RollbackEnds,
    /// The run goes on.
    Resumed,
    /// Failed hosts are rolled back, the rest of the batch is kept, and the run goes on.
    Continued,
    /// Hosts are rolled back further.
    RollbackGoesOn,
    /// The next batch begins.
    Promoted,
    /// The next batch begins when the run is resumed.
    PromotedWhilePaused,
    /// Nothing was done: it is so already.
    Already(&'static str),
    /// Nothing was done: this must be said instead, or later.
    Refused(&'static str),
}

/// A word that was heard, and the moment when it is on disk.
pub(super) struct Heard {
    pub(super) said: Said,
    pub(super) written: Option<oneshot::Receiver<Permit>>,
}

impl From<Said> for Heard {
    fn from(said: Said) -> Self {
        Self { said, written: None }
    }
}

impl Dispatcher {
    /// The first signal pauses, the second aborts, the third kills (rollout.md R21 and 2.4). A closed terminal or pipe
    /// only ever pauses.
    pub(super) fn signal(&mut self, signal: Signal) {
        let cause = StopCause::Signal { signal: signal.name().to_owned() };
        match signal {
            Signal::Order(order) => drop(self.order(order)),
            Signal::Hangup | Signal::Pipe => {
                if self.stop.borrow().level == Level::None {
                    drop(self.pause_said(cause));
                }
            }
            Signal::Interrupt | Signal::Terminate => {
                self.signals = self.signals.saturating_add(1);
                match self.signals {
                    1 => self.noted(&signal, "twice more ends it at once", |it| it.pause_said(cause)),
                    2 => self.noted(&signal, "once more ends it at once", |it| it.abort_said(cause)),
                    _ => self.kill(cause),
                }
            }
        }
    }

    /// Does it, or says why the signal changed nothing.
    fn noted(&mut self, signal: &Signal, more: &str, does: impl FnOnce(&mut Self) -> Heard) {
        if let Said::Already(why) | Said::Refused(why) = does(self).said {
            let message = format!("{}: {why} The same signal {more}, and leaves the hosts as they are.", signal.name());
            self.record(EventKind::Warning { host: None, message }, None, false);
        }
    }

    fn kill(&mut self, cause: StopCause) {
        if self.stop.borrow().level < Level::Kill {
            self.record(EventKind::Killed { cause: cause.clone() }, None, true);
            self.raise(Level::Kill, cause, String::new(), None);
        }
    }

    /// An operator's word.
    pub(super) fn order(&mut self, order: Order) -> Heard {
        match order.command {
            Command::Pause => self.pause_said(order.cause),
            Command::Abort => self.abort_said(order.cause),
            Command::Resume => self.resume_said(order.cause),
            Command::Promote => self.promote_said(order.cause),
        }
    }

    fn pause_said(&mut self, cause: StopCause) -> Heard {
        let level = self.stop.borrow().level;
        let said = match level {
            Level::None => Said::Paused,
            Level::Pause if self.stop.borrow().by_operator() => {
                return Said::Already("The run is paused already.").into();
            }
            Level::Pause => Said::Held,
            Level::Abort | Level::Kill => {
                return Said::Already(match self.waiting {
                    Some(Waiting::Failure) => {
                        "The batch has failed and waits for an operator: nothing starts, and nothing is rolled back until \
                         `rollgate abort` or the same signal again says so."
                    }
                    Some(Waiting::Rollback) => {
                        "The rollback waits for an operator: `rollgate resume` rolls the other hosts back, `rollgate abort` \
                         or the same signal again leaves them as they are."
                    }
                    _ => "The run is aborted already: no new host starts, and rollbacks go on.",
                })
                .into();
            }
        };
        let written = self.written(EventKind::Paused { cause: cause.clone() });
        self.raise(Level::Pause, cause, String::new(), None);
        Heard { said, written }
    }

    fn abort_said(&mut self, cause: StopCause) -> Heard {
        let level = self.stop.borrow().level;
        let waiting = self.waiting;
        if waiting == Some(Waiting::Rollback) {
            return self.decided(Decision::Abort, Said::RollbackEnds, |_| EventKind::Aborted {
                cause,
                evidence: String::new(),
                then: "keep".to_owned(),
            });
        }
        if level >= Level::Abort && waiting != Some(Waiting::Failure) {
            return Said::Already(if self.undoes {
                "The rollback ends already: hosts under way are finished, no other is begun."
            } else {
                "The run is aborted already, and does what `on_failure` says."
            })
            .into();
        }
        if self.undoes {
            let kind = EventKind::Aborted { cause: cause.clone(), evidence: String::new(), then: "keep".to_owned() };
            let written = self.written(kind);
            self.raise(Level::Abort, cause, String::new(), None);
            return Heard { said: Said::RollbackEnds, written };
        }
        // `on_failure: pause` asks an operator: here is the answer.
        let then = (self.policy == OnFailure::Pause).then_some(OnFailure::RollbackBatch);
        let follows = on_failure_key(then.unwrap_or(self.policy)).to_owned();
        let evidence = String::new();
        let kind = EventKind::Aborted { cause: cause.clone(), evidence: evidence.clone(), then: follows.clone() };
        let written = self.written(kind);
        if self.waiting.take().is_some() {
            self.stop.send_modify(|stop| stop.decision = Some(Decision::Abort));
        }
        self.raise(Level::Abort, cause, evidence, then);
        Heard { said: Said::Aborted(follows), written }
    }

    fn resume_said(&mut self, cause: StopCause) -> Heard {
        let level = self.stop.borrow().level;
        match (level, self.waiting) {
            (Level::Kill, _) => Said::Refused("The run was killed.").into(),
            (_, Some(Waiting::Rollback)) => {
                let heard = self.decided(Decision::GoOn, Said::RollbackGoesOn, |_| EventKind::Resumed { cause });
                if level == Level::Pause {
                    self.lift();
                }
                heard
            }
            (Level::Abort, Some(Waiting::Failure)) => self.decided(Decision::GoOn, Said::Continued, |it| {
                it.stop.send_modify(|stop| stop.then = Some(OnFailure::Continue));
                EventKind::Resumed { cause }
            }),
            (Level::Pause, _) => {
                let written = self.written(EventKind::Resumed { cause });
                self.lift();
                Heard { said: Said::Resumed, written }
            }
            (Level::None, Some(Waiting::Promotion)) => {
                Said::Refused("The run is not paused: it waits for the promotion of its batch.").into()
            }
            (Level::None, _) => Said::Already("The run is not paused.").into(),
            (Level::Abort, _) => Said::Refused("The run is aborted: it cannot be resumed.").into(),
        }
    }

    fn promote_said(&mut self, cause: StopCause) -> Heard {
        if self.waiting != Some(Waiting::Promotion) {
            return Said::Refused("The run does not wait for a promotion.").into();
        }
        let paused = self.stop.borrow().level == Level::Pause;
        let said = if paused { Said::PromotedWhilePaused } else { Said::Promoted };
        self.decided(Decision::GoOn, said, |_| EventKind::Promoted { cause })
    }

    /// What the play waits for is decided.
    fn decided(&mut self, decision: Decision, said: Said, event: impl FnOnce(&mut Self) -> EventKind) -> Heard {
        let event = event(self);
        let written = self.written(event);
        self.waiting = None;
        self.stop.send_modify(|stop| {
            stop.decision = Some(decision);
            stop.turn += 1;
        });
        Heard { said, written }
    }

    fn written(&mut self, event: EventKind) -> Option<oneshot::Receiver<Permit>> {
        let (written, on_disk) = oneshot::channel();
        self.record(event, Some(written), true);
        Some(on_disk)
    }
}

//! Where a play waits: for the end of a pause, for a promotion, for what becomes of an aborted batch.

use super::{driver::Driver, vigil::Over};
use crate::{
    clock::millis,
    engine::stop::{Decision, Level, StopRequest, Waiting},
    journal::{EventKind, StopCause},
    playbook::OnFailure,
};
use tokio::time::Instant;

/// What came of a question to an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Said(Decision),
    /// Nobody has answered in time.
    Late,
    /// What was asked is no question any more, or another one comes first.
    Moot,
}

impl Driver {
    /// Waits while the run is paused: hosts in flight finish, none starts. Then what `on_failure: pause` and a rollback
    /// that does not help wait for. False: the run was aborted or killed.
    pub(super) async fn hold(&mut self) -> bool {
        loop {
            self.pump().await;
            let stopped = self.run.desk.stopped();
            if stopped.journal_lost || stopped.level == Level::Kill {
                return stopped.level == Level::None;
            }
            if self.asks_about_the_rest() {
                self.ask_about_the_rest().await;
                continue;
            }
            match stopped.level {
                Level::None => {
                    // Only healthy hosts let the run go on.
                    if !self.look_again() {
                        return true;
                    }
                }
                Level::Pause => self.wait_while_paused().await,
                Level::Abort if self.undecided() => self.ask_about_the_batch().await,
                Level::Abort | Level::Kill => return false,
            }
        }
    }

    /// Hosts wait for their rollback, and an operator for the question whether they are to be put back at all.
    fn asks_about_the_rest(&self) -> bool {
        self.held_back.is_some() && !self.gave_up && !self.queue.is_empty()
    }

    /// Nothing is under way any more: waits for the end of the pause. One that the run made itself ends after
    /// `pause_timeout` as if its batch had failed.
    async fn wait_while_paused(&mut self) {
        let stopped = self.run.desk.stopped();
        let limit = (!stopped.by_operator()).then_some(self.rollout.pause_timeout);
        let environment = matches!(stopped.cause, Some(StopCause::Environment | StopCause::Rollback { .. }));
        let then = if environment { "end" } else { "rollback_batch" };
        self.run.desk.emit(self.waits("resume", limit.map(|limit| self.paused_at + limit), then));
        let by_operator = stopped.by_operator();
        let over = |driver: &Self| {
            let stopped = driver.run.desk.stopped();
            stopped.level != Level::Pause || stopped.by_operator() != by_operator || driver.asks_about_the_rest()
        };
        if self.vigil(limit.map(|limit| self.paused_at + limit), over).await == Over::Late {
            if environment {
                self.gave_up = true;
            }
            let then = if environment { OnFailure::Pause } else { OnFailure::RollbackBatch };
            self.ask_to_stop(self.timed_out(then));
        }
    }

    /// `on_failure: pause`: what becomes of the batch (R6). Failed hosts are put back already.
    async fn ask_about_the_batch(&mut self) {
        let until = Instant::now() + self.rollout.pause_timeout;
        match self.ask(Waiting::Failure, until, "rollback_batch").await {
            Answer::Said(Decision::GoOn) => {
                self.failures.forgive();
                self.upgraded.forgive();
            }
            Answer::Said(Decision::Abort) | Answer::Moot => {}
            Answer::Late => self.ask_to_stop(self.timed_out(OnFailure::RollbackBatch)),
        }
    }

    /// The first hosts put back are not as healthy as before, or one could not be put back: whether the others are to
    /// be put back all the same (R18).
    async fn ask_about_the_rest(&mut self) {
        let until = Instant::now() + self.rollout.pause_timeout;
        match self.ask(Waiting::Rollback, until, "end").await {
            Answer::Said(Decision::GoOn) => (self.held_back, self.restored) = (None, 0),
            answer @ (Answer::Said(Decision::Abort) | Answer::Late) => {
                self.give_up(answer != Answer::Late);
                if self.run.desk.stopped().level < Level::Abort {
                    self.ask_to_stop(self.timed_out(OnFailure::Pause));
                }
            }
            Answer::Moot => {}
        }
    }

    /// Asks an operator, and the hosts changed so far meanwhile.
    async fn ask(&mut self, waiting: Waiting, until: Instant, then: &str) -> Answer {
        let what = match waiting {
            Waiting::Promotion => "promotion",
            Waiting::Failure => "failure",
            Waiting::Rollback => "rollback",
        };
        let desk = self.run.desk.clone();
        desk.wait(waiting, self.waits(what, Some(until), then)).await;
        let level = desk.stopped().level;
        let other = |driver: &Self| {
            let fails = waiting == Waiting::Failure && (!driver.undecided() || driver.asks_about_the_rest());
            fails || driver.run.desk.stopped().level > level
        };
        let said = |driver: &Self| driver.run.desk.stopped().decision.is_some();
        let end = self.vigil(Some(until), |driver| said(driver) || other(driver)).await;
        let stopped = desk.stopped();
        match stopped.decision {
            Some(decision) if stopped.level < Level::Kill => Answer::Said(decision),
            _ if end == Over::Said => Answer::Moot,
            _ => {
                if waiting != Waiting::Failure {
                    desk.decided();
                }
                Answer::Late
            }
        }
    }

    pub(super) fn waits(&self, what: &str, until: Option<Instant>, then: &str) -> EventKind {
        let timeout_ms = until.map(|until| millis(until.saturating_duration_since(Instant::now())));
        let then = if until.is_some() { then.to_owned() } else { String::new() };
        let armed = self.armed_hosts();
        let guards_ms = (armed > 0).then(|| millis(self.guards_done()));
        EventKind::Waits { play: self.index, what: what.to_owned(), timeout_ms, then, armed, guards_ms }
    }

    fn timed_out(&self, then: OnFailure) -> StopRequest {
        let cause = StopCause::Deadline { deadline: "pause_timeout".to_owned(), host: None };
        StopRequest::Abort { cause, evidence: "Nobody has said how the run goes on.".to_owned(), then: Some(then) }
    }
}

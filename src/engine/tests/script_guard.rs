//! The guard of a scripted host: leases, deadlines and reverts in tokio's time.

use crate::host::HostError;
use rollgate_agent::protocol::{
    AgentError, AgentErrorKind, Answer, GuardArm, GuardCause, GuardFired, GuardForm, GuardReport, GuardState,
};
use std::time::Duration;
use tokio::time::Instant;

/// One guard.
#[derive(Debug, Clone)]
pub(super) struct SimGuard {
    arm: GuardArm,
    deadline: Instant,
    state: GuardState,
}

impl SimGuard {
    pub(super) fn new(arm: &GuardArm) -> Self {
        let mut guard = Self { arm: arm.clone(), deadline: Instant::now(), state: GuardState::Armed };
        guard.lease();
        guard
    }

    fn lease(&mut self) {
        self.deadline = Instant::now() + Duration::from_millis(self.arm.timeout_ms + self.arm.delay_ms);
    }

    /// How long a revert takes: all of its budget, or a second where that is less than likely to matter.
    fn takes(&self) -> Duration {
        Duration::from_millis(self.arm.revert_budget_ms)
    }

    /// When it puts the host back if nobody says anything any more; none: not at all.
    pub(super) fn window(&self) -> Option<(Instant, Instant)> {
        let waits = matches!(self.state, GuardState::Armed | GuardState::Reverting | GuardState::RevertedByGuard);
        waits.then(|| (self.deadline, self.deadline + self.takes()))
    }

    /// Lets time pass; true: it has just put the host back.
    pub(super) fn tick(&mut self) -> bool {
        if self.state == GuardState::Armed && Instant::now() >= self.deadline {
            self.state = GuardState::Reverting;
        }
        let done = self.state == GuardState::Reverting && Instant::now() >= self.deadline + self.takes();
        if done {
            self.state = GuardState::RevertedByGuard;
        }
        done
    }

    pub(super) fn is(&self, txn: &str) -> bool {
        self.arm.txn == txn
    }

    pub(super) fn state(&self) -> GuardState {
        self.state
    }

    /// Somebody else has put the host back.
    pub(super) fn reverted(&mut self) {
        if self.state != GuardState::RevertedByGuard {
            self.state = GuardState::Reverted;
        }
    }

    pub(super) fn extend(&mut self, nonce: &str) -> Result<Answer, HostError> {
        self.check(nonce)?;
        if self.state != GuardState::Armed {
            return Err(lost());
        }
        self.lease();
        Ok(Answer::Guard(Box::new(self.report())))
    }

    pub(super) fn confirm(&mut self, nonce: &str) -> Result<Answer, HostError> {
        self.check(nonce)?;
        if !matches!(self.state, GuardState::Armed | GuardState::Confirmed) {
            return Err(lost());
        }
        self.state = GuardState::Confirmed;
        Ok(Answer::Guard(Box::new(self.report())))
    }

    fn check(&self, nonce: &str) -> Result<(), HostError> {
        if nonce == self.arm.nonce {
            return Ok(());
        }
        Err(HostError::Agent(AgentError { kind: AgentErrorKind::Guard, message: "another nonce".to_owned() }))
    }

    pub(super) fn report(&self) -> GuardReport {
        let fired = matches!(self.state, GuardState::Reverting | GuardState::RevertedByGuard);
        GuardReport {
            txn: self.arm.txn.clone(),
            run: String::new(),
            host: String::new(),
            state: self.state,
            form: GuardForm::Systemd,
            weak: None,
            armed_ms: 0,
            deadline_ms: 0,
            left_ms: 0,
            revert_budget_ms: self.arm.revert_budget_ms,
            since_ms: 0,
            fired: fired.then_some(GuardFired {
                cause: GuardCause::Deadline,
                begun_ms: 0,
                ended_ms: None,
                revert: None,
                verify: None,
                error: None,
            }),
        }
    }
}

fn lost() -> HostError {
    HostError::Agent(AgentError { kind: AgentErrorKind::GuardLost, message: "the guard has fired".to_owned() })
}

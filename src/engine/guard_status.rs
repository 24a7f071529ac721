//! What a host's guard has done by itself, read at the next contact and written down (R16).

use super::{
    calls::{self, CallPlan},
    rollback::Reverter,
    unit::Txn,
};
use crate::{host::HostError, journal::EventKind};
use rollgate_agent::protocol::{Answer, Call, GuardCause, GuardFired, GuardReport, GuardState};
use std::time::Duration;
use tokio::time::Instant;

/// How long asking may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Between two looks at a guard that is at work.
const LOOK: Duration = Duration::from_millis(500);

/// What is left to do on a host whose guard was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guarded {
    /// It has put the host back.
    RevertedByGuard,
    /// Everything: it had not fired, or could not, or somebody else came first.
    No,
}

impl Reverter<'_> {
    /// Asks the guard of a transaction, and waits until one that is at work has ended.
    pub(super) async fn guarded(&self, txn: &Txn, until: Instant) -> Result<Guarded, HostError> {
        loop {
            let Some(report) = self.guard_report(txn).await? else { return Ok(Guarded::No) };
            match report.state {
                GuardState::Reverting if Instant::now() < until => self.clock.sleep(LOOK).await,
                GuardState::RevertedByGuard => {
                    self.fired(&report);
                    return Ok(Guarded::RevertedByGuard);
                }
                GuardState::RevertFailed => {
                    self.fired(&report);
                    return Ok(Guarded::No);
                }
                GuardState::Armed | GuardState::Confirmed | GuardState::Reverted | GuardState::Reverting => {
                    return Ok(Guarded::No);
                }
            }
        }
    }

    async fn guard_report(&self, txn: &Txn) -> Result<Option<GuardReport>, HostError> {
        let call = Call::GuardStatus { txn: Some(txn.id.clone()) };
        match calls::call(self.desk, self.host, call, CallPlan::whole(&txn.run_as, LIMIT)).await? {
            Answer::Guards(reports) => Ok(reports.into_iter().find(|report| report.txn == txn.id)),
            _ => Err(HostError::Protocol { message: "an answer of another kind".to_owned() }),
        }
    }

    fn fired(&self, report: &GuardReport) {
        for step in report.fired.iter().filter_map(|fired| fired.revert.as_ref()).flat_map(|revert| &revert.done) {
            self.desk.emit(EventKind::RollbackStep { host: self.name.to_owned(), step: step.clone() });
        }
        let fired = report.fired.as_ref();
        self.desk.emit(EventKind::GuardFired {
            host: self.name.to_owned(),
            txn: report.txn.clone(),
            cause: fired.map_or(GuardCause::Deadline, |fired| fired.cause),
            begun_ms: fired.map_or(report.since_ms, |fired| fired.begun_ms),
            ended_ms: fired.and_then(|fired| fired.ended_ms),
            failed: fired.and_then(why),
        });
    }
}

/// Why a guard could not put everything back.
fn why(fired: &GuardFired) -> Option<String> {
    let reverted = fired.revert.as_ref();
    let drifted = reverted.filter(|revert| !revert.drifted.is_empty());
    let different = fired.verify.as_ref().filter(|verify| !verify.different.is_empty());
    let objects = |verify: &rollgate_agent::protocol::VerifyReport| {
        verify.different.iter().map(|it| it.object.clone()).collect::<Vec<_>>().join(", ")
    };
    fired
        .error
        .clone()
        .or_else(|| reverted.and_then(|revert| revert.failed.clone()))
        .or_else(|| drifted.map(|revert| format!("drifted: changed by somebody else: {}", revert.drifted.join(", "))))
        .or_else(|| different.map(|verify| format!("not as before: {}", objects(verify))))
}

//! A host put back: revert, verify, and its probes again (rollout.md R8, R16, R28). Done by the agent from its own record;
//! here it is asked for, tried again, and written down.

use super::{
    calls::{self, CallPlan},
    dispatcher::{Desk, Permission, Permit},
    guard_status::Guarded,
    unit::{Txn, Unit, explained},
    watch::{For, Watch},
};
use crate::{
    clock::{Clock, millis},
    host::{Host, HostError},
    journal::EventKind,
};
use rollgate_agent::protocol::{Answer, Call, RevertReport, VerifyReport};
use std::time::Duration;
use tokio::time::Instant;

/// How often a revert that fails on the host is tried (R8).
const ATTEMPTS: u32 = 3;

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(5);

/// How long comparing the recorded objects may take.
const VERIFY: Duration = Duration::from_secs(300);

/// How a host's rollback ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RollbackEnd {
    /// As before; whether it is as healthy as before, its probes have told the play.
    Restored {
        /// Objects compared with their state before.
        compared: u64,
        /// Its guard had done it before we could.
        by_guard: bool,
    },
    /// It could not be put back.
    Failed(String),
    /// Nobody knows.
    Unknown(String),
}

/// The limits of a rollback.
pub(crate) struct RollbackPlan {
    /// A host out of reach is tried until then (R16).
    pub(crate) until: Instant,
    /// How long the probes have to regain their verdict.
    pub(crate) regain: Duration,
    /// The probes that were healthy before.
    pub(crate) watch: Watch,
}

impl Unit {
    /// Puts the host back: its transactions in the reverse order of their opening, each verified.
    pub(crate) async fn roll_back(&mut self, plan: RollbackPlan) -> RollbackEnd {
        let (mut objects, mut guarded) = (0, false);
        for txn in self.txns.clone().iter().rev() {
            match self.reverter().revert(txn, plan.until).await {
                RollbackEnd::Restored { compared, by_guard } => {
                    objects += compared;
                    guarded |= by_guard;
                }
                other => {
                    self.leave_to_guard();
                    return other;
                }
            }
        }
        self.disarmed();
        if plan.watch.only.as_ref().is_some_and(|only| !only.is_empty()) {
            let watch = Watch { last_step: Instant::now(), lasts: For::Ever, ..plan.watch };
            if tokio::time::timeout(plan.regain, self.watch(&watch)).await.is_err() {
                watch.cancel.cancel();
            }
        }
        RollbackEnd::Restored { compared: objects, by_guard: guarded }
    }

    fn reverter(&self) -> Reverter<'_> {
        Reverter {
            desk: &self.run.desk,
            clock: &self.run.clock,
            play: self.play.index,
            name: &self.name,
            host: self.host.as_ref(),
        }
    }
}

/// One host whose transactions are undone, whoever asked for it.
pub(crate) struct Reverter<'a> {
    pub(crate) desk: &'a Desk,
    pub(crate) clock: &'a Clock,
    pub(crate) play: usize,
    pub(crate) name: &'a str,
    pub(crate) host: &'a dyn Host,
}

impl Reverter<'_> {
    /// Undoes one transaction and compares what it recorded; tried again until `until` while the host is out of reach.
    pub(crate) async fn revert(&self, txn: &Txn, until: Instant) -> RollbackEnd {
        let (mut attempt, mut refused) = (0, 0);
        loop {
            attempt += 1;
            let intent =
                EventKind::RollbackIntent { play: self.play, host: self.name.to_owned(), txn: txn.id.clone(), attempt };
            if self.desk.ask(Permission::Rollback, intent).await == Permit::Denied {
                return RollbackEnd::Unknown("the run ended before it could be rolled back".to_owned());
            }
            let began = Instant::now();
            let tried = self.revert_once(txn, until).await;
            let took_ms = millis(began.elapsed());
            let again = match tried {
                Ok((guarded, reverted, verified)) => {
                    let compared = verified.compared;
                    let by_guard = guarded == Guarded::RevertedByGuard;
                    let failed = wrong(&reverted, &verified);
                    self.reverted(by_guard, reverted, verified, failed.clone(), took_ms);
                    match failed {
                        None => return RollbackEnd::Restored { compared, by_guard },
                        Some(Wrong::Drifted(why)) => return RollbackEnd::Failed(why),
                        Some(Wrong::Failed(why)) => RollbackEnd::Failed(why),
                    }
                }
                Err(error) if error.unreachable() => {
                    let why = explained(&error);
                    self.not_reverted(&why, took_ms);
                    RollbackEnd::Unknown(why)
                }
                Err(error) => {
                    let why = explained(&error);
                    self.not_reverted(&why, took_ms);
                    RollbackEnd::Failed(why)
                }
            };
            refused += u32::from(matches!(again, RollbackEnd::Failed(_)));
            let over = match again {
                RollbackEnd::Failed(_) => refused >= ATTEMPTS,
                _ => Instant::now() + PAUSE >= until,
            };
            if over {
                return again;
            }
            self.clock.sleep(PAUSE).await;
        }
    }

    async fn revert_once(&self, txn: &Txn, until: Instant) -> Result<(Guarded, RevertReport, VerifyReport), HostError> {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_secs(60));
        let call = |call, deadline| calls::call(self.desk, self.host, call, CallPlan::whole(&txn.run_as, deadline));
        let other = || HostError::Protocol { message: "an answer of another kind".to_owned() };
        let guarded = self.guarded(txn, until).await?;
        // What the guard has done already is told again by the record: nothing is done twice.
        let Answer::Revert(reverted) = call(Call::Revert { txn: txn.id.clone() }, left).await? else {
            return Err(other());
        };
        if reverted.failed.is_some() {
            return Ok((guarded, reverted, VerifyReport { compared: 0, different: Vec::new() }));
        }
        match call(Call::Verify { txn: txn.id.clone() }, VERIFY).await? {
            Answer::Verify(verified) => Ok((guarded, reverted, verified)),
            _ => Err(other()),
        }
    }

    fn reverted(
        &self,
        by_guard: bool,
        reverted: RevertReport,
        verified: VerifyReport,
        wrong: Option<Wrong>,
        took_ms: u64,
    ) {
        let steps = if by_guard { Vec::new() } else { reverted.done };
        for step in steps {
            self.desk.emit(EventKind::RollbackStep { host: self.name.to_owned(), step });
        }
        let different =
            verified.different.iter().map(|it| format!("{}: was {}, is {}", it.object, it.expected, it.found));
        self.desk.emit(EventKind::RollbackResult {
            play: self.play,
            host: self.name.to_owned(),
            compared: verified.compared,
            different: different.collect(),
            failed: wrong.map(|wrong| match wrong {
                Wrong::Drifted(why) | Wrong::Failed(why) => why,
            }),
            no_op: reverted.no_op,
            took_ms,
        });
    }

    fn not_reverted(&self, why: &str, took_ms: u64) {
        self.desk.emit(EventKind::RollbackResult {
            play: self.play,
            host: self.name.to_owned(),
            compared: 0,
            different: Vec::new(),
            failed: Some(why.to_owned()),
            no_op: false,
            took_ms,
        });
    }
}

/// Why a revert that was answered is no rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wrong {
    /// Somebody else changed it meanwhile: trying again cannot help (R10).
    Drifted(String),
    Failed(String),
}

fn wrong(reverted: &RevertReport, verified: &VerifyReport) -> Option<Wrong> {
    if !reverted.drifted.is_empty() {
        return Some(Wrong::Drifted(format!("drifted: changed by somebody else: {}", reverted.drifted.join(", "))));
    }
    if let Some(why) = &reverted.failed {
        return Some(Wrong::Failed(why.clone()));
    }
    let objects: Vec<&str> = verified.different.iter().map(|it| it.object.as_str()).collect();
    (!objects.is_empty()).then(|| Wrong::Failed(format!("not as before: {}", objects.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollgate_agent::protocol::ObjectState;

    #[test]
    fn rolled_back_is_said_only_when_nothing_failed_drifted_or_differs() {
        let good = RevertReport { done: Vec::new(), failed: None, drifted: Vec::new(), no_op: false };
        let same = VerifyReport { compared: 3, different: Vec::new() };
        assert_eq!(wrong(&good, &same), None);
        let drifted = RevertReport { drifted: vec!["/etc/a".to_owned()], ..good.clone() };
        assert!(matches!(wrong(&drifted, &same), Some(Wrong::Drifted(_))));
        let failed = RevertReport { failed: Some("no".to_owned()), ..good.clone() };
        assert!(matches!(wrong(&failed, &same), Some(Wrong::Failed(_))));
        let state = ObjectState { object: "path /etc/a".to_owned(), expected: "x".to_owned(), found: "y".to_owned() };
        let other = VerifyReport { compared: 3, different: vec![state] };
        assert_eq!(wrong(&good, &other), Some(Wrong::Failed("not as before: path /etc/a".to_owned())));
    }
}

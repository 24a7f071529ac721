//! The rollback of a recorded run, journaled as a run of its own. Latest batch first, at the run's rollback speed; a host
//! that cannot be put back stops no other. Stop words are heard between hosts: one that is begun with is finished.

use super::{
    recorded::{RecordedHost, RecordedRun, RecordedTxn},
    turns::Turns,
};
use crate::{
    clock::Clock,
    engine::{
        base::{Purpose, RunBase},
        calls::{self, CallPlan},
        dispatcher::Desk,
        rollback::{Reverter, RollbackEnd},
        spec::RunOutcome,
        stop::Level,
        unit::{Txn, explained},
    },
    error::{Error, ExitCode},
    host::{Fleet, Host, HostError, Target},
    journal::{EventKind, FinalHost, HostState, Recap},
    rollout::count,
    secrets::Redactor,
};
use futures::StreamExt as _;
use rollgate_agent::protocol::{Answer, Call, RevertPreview, TxnStanding};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long looking at a record may take.
const LOOK: Duration = Duration::from_secs(120);

/// Before a host that was out of reach is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// How long saying goodbye to all hosts may take.
const GOODBYE: Duration = Duration::from_secs(10);

/// A rollback to be done.
pub struct RollbackSpec {
    /// The run that is undone, with the hosts meant and no others.
    pub undone: RecordedRun,
    /// How its hosts are reached, by name; a host that is missing here is told as such.
    pub targets: BTreeMap<String, Target>,
    /// Only say what would be done.
    pub check: bool,
    /// Hosts at once.
    pub parallel: usize,
    /// How long a host out of reach is tried (R16).
    pub deadline: Duration,
    /// Who runs it, where it is kept, who sees it, what stops it.
    pub base: RunBase,
}

/// Undoes a run on its hosts.
///
/// # Errors
/// Nothing was touched: the journal cannot be begun.
pub async fn roll_back_run(spec: RollbackSpec, fleet: Arc<dyn Fleet>) -> Result<RunOutcome, Error> {
    let purpose = Purpose {
        command: "rollback".to_owned(),
        playbook: spec.undone.playbook.clone(),
        inventory: spec.undone.inventory.clone(),
        check: spec.check,
    };
    let mut opened = spec.base.open(purpose, Redactor::new())?;
    let desk = opened.desk.clone();
    let (check, parallel) = (spec.check, spec.parallel.max(1));
    begin(&desk, &spec.undone, parallel);
    let until = Instant::now() + spec.deadline;
    let turns = Turns::new();
    let work = futures::stream::iter(spec.undone.hosts.iter().enumerate()).map(|(place, host)| {
        let reached = spec.targets.get(&host.host).map(|target| fleet.host(target));
        let (desk, clock, turns) = (&desk, &opened.clock, &turns);
        async move {
            let end = one(&Undoing { desk, clock, turns, until, check }, host, reached.as_deref()).await;
            say(desk, &host.host, end.state, end.reason.clone());
            if let Some(reached) = reached {
                drop(tokio::time::timeout(GOODBYE, reached.close()).await);
            }
            End { place, ..end }
        }
    });
    let mut ends: Vec<End> = tokio::select! {
        ends = work.buffer_unordered(parallel).collect() => ends,
        () = turns.tell_waits(&desk) => Vec::new(),
    };
    ends.sort_by_key(|end| end.place);
    desk.emit(EventKind::PlayEnded { play: 0 });
    let ended = ends.iter().any(|end| end.held);
    let exit_code = exit_code(&ends, ended) as u8;
    let hosts: Vec<FinalHost> = ends
        .into_iter()
        .zip(&spec.undone.hosts)
        .map(|(end, host)| FinalHost {
            host: host.host.clone(),
            state: end.state,
            reason: end.reason,
            recap: Recap::default(),
        })
        .collect();
    desk.emit(EventKind::RunEnded { exit_code, hosts: hosts.clone() });
    opened.deaf();
    desk.close().await;
    Ok(RunOutcome { exit_code, run_id: opened.run_id.clone(), hosts, paused: ended })
}

fn begin(desk: &Desk, undone: &RecordedRun, parallel: usize) {
    let hosts: Vec<String> = undone.hosts.iter().map(|host| host.host.clone()).collect();
    let resolved = vec![
        format!("Undoes run {} on {}.", undone.run, count(hosts.len(), "host", "hosts")),
        format!("Latest batch first, at most {} at once.", count(parallel.min(hosts.len()).max(1), "host", "hosts")),
        "Every recorded object is compared with its pre-image afterwards; probes are not asked.".to_owned(),
    ];
    let name = format!("Rollback of {}", undone.run);
    desk.emit(EventKind::PlayStarted { play: 0, name, batches: vec![hosts], rollout: true, resolved });
}

/// A host's end.
struct End {
    place: usize,
    state: HostState,
    reason: Option<String>,
    /// Out of reach, and nothing was to be done but look.
    unreachable: bool,
    /// Not begun, since the rollback was ended.
    held: bool,
}

impl End {
    fn new(state: HostState, reason: impl Into<String>) -> Self {
        let reason = Some(reason.into()).filter(|reason| !reason.is_empty());
        Self { place: 0, state, reason, unreachable: false, held: false }
    }
}

/// What the hosts of this rollback share.
struct Undoing<'a> {
    desk: &'a Desk,
    clock: &'a Clock,
    turns: &'a Turns,
    until: Instant,
    check: bool,
}

fn say(desk: &Desk, host: &str, state: HostState, reason: Option<String>) {
    desk.emit(EventKind::HostChanged { play: 0, host: host.to_owned(), state, reason });
}

async fn one(undoing: &Undoing<'_>, host: &RecordedHost, reached: Option<&dyn Host>) -> End {
    let Some(_turn) = undoing.turns.next(undoing.desk).await else {
        return End { held: true, ..End::new(HostState::NeverStarted, "the rollback was ended before its turn") };
    };
    if host.txns.is_empty() {
        return End::new(HostState::NeverStarted, "no target: the run recorded no change here");
    }
    let Some(reached) = reached else {
        let why = "how to reach it is not known: name the inventory (-i)";
        return End { unreachable: true, ..End::new(HostState::Unknown, why) };
    };
    tokio::select! {
        end = put_back(undoing, host, reached) => end,
        () = undoing.desk.until(Level::Kill) => End::new(HostState::Unknown, "killed"),
    }
}

async fn put_back(undoing: &Undoing<'_>, host: &RecordedHost, reached: &dyn Host) -> End {
    let (mut restored, mut standings) = (0, Vec::new());

    for recorded in host.txns.iter().rev() {
        let preview = match look(undoing, reached, recorded).await {
            Ok(preview) => preview,
            Err(error) => {
                let unreachable = error.unreachable();
                let state = match (unreachable, undoing.check) {
                    (true, true) => HostState::NeverStarted,
                    (true, false) => HostState::Unknown,
                    (false, _) => HostState::RollbackFailed,
                };
                let word = if unreachable { "unreachable: " } else { "" };
                let end = End::new(state, format!("{word}{}", explained(&error)));
                return End { unreachable, ..end };
            }
        };
        standings.push(preview.standing);
        if undoing.check {
            undoing.desk.emit(EventKind::RollbackPreviewed {
                host: host.host.clone(),
                txn: recorded.id.clone(),
                standing: preview.standing,
                would: preview.would,
            });
            continue;
        }
        if matches!(preview.standing, TxnStanding::Gone | TxnStanding::Reverted) {
            continue;
        }
        if restored == 0 {
            say(undoing.desk, &host.host, HostState::RollingBack, None);
        }
        restored += 1;
        match revert(undoing, host, reached, recorded).await {
            RollbackEnd::Restored { .. } => {}
            RollbackEnd::Failed(why) => return End::new(HostState::RollbackFailed, why),
            RollbackEnd::Unknown(why) => return End::new(HostState::Unknown, format!("unreachable: {why}")),
        }
    }
    verdict(undoing.check, restored, &standings)
}

/// What a host came to whose transactions were all looked at, and undone where there was something to undo.
fn verdict(check: bool, restored: usize, standings: &[TxnStanding]) -> End {
    if restored > 0 {
        return End::new(HostState::RolledBack, "");
    }
    let left = standings.iter().any(|standing| !matches!(standing, TxnStanding::Gone | TxnStanding::Reverted));
    if check && left {
        return End::new(HostState::Changed, "");
    }
    if standings.contains(&TxnStanding::Reverted) {
        return End::new(HostState::Unchanged, "no-op: it has been rolled back already");
    }
    End::new(HostState::NeverStarted, "no target: its undo record is gone (never begun, or past keep_undo)")
}

/// Looks at a transaction; a host out of reach is tried until the deadline.
async fn look(undoing: &Undoing<'_>, host: &dyn Host, txn: &RecordedTxn) -> Result<RevertPreview, HostError> {
    loop {
        let call = Call::RevertPreview { txn: txn.id.clone() };
        let looked = match calls::open(host, &txn.run_as).await {
            Ok(_) => calls::call(undoing.desk, host, call, CallPlan::whole(&txn.run_as, LOOK)).await,
            Err(error) => Err(error),
        };
        match looked {
            Ok(Answer::RevertPreview(preview)) => return Ok(preview),
            Ok(_) => return Err(HostError::Protocol { message: "an answer of another kind".to_owned() }),
            Err(error) => {
                let ended = undoing.desk.stopped().level >= Level::Abort;
                let over = undoing.check || ended || !error.unreachable() || Instant::now() + PAUSE >= undoing.until;
                if over {
                    return Err(error);
                }
            }
        }
        tokio::select! {
            () = undoing.clock.sleep(PAUSE) => {}
            // Nobody waits for a host that is out of reach and has not been begun with.
            () = undoing.desk.until(Level::Abort) => {}
        }
    }
}

async fn revert(undoing: &Undoing<'_>, host: &RecordedHost, reached: &dyn Host, txn: &RecordedTxn) -> RollbackEnd {
    let reverter = Reverter { desk: undoing.desk, clock: undoing.clock, play: 0, name: &host.host, host: reached };
    let txn = Txn { id: txn.id.clone(), run_as: txn.run_as.clone(), generation: txn.generation, guard: None };
    reverter.revert(&txn, undoing.until).await
}

/// R19, with this difference from `run`: hosts rolled back are what was asked for, so they are no failure.
fn exit_code(ends: &[End], ended: bool) -> ExitCode {
    let any = |states: &[HostState]| ends.iter().any(|end| states.contains(&end.state));
    if ended || any(&[HostState::Unknown, HostState::RollbackFailed]) {
        ExitCode::NeedsOperator
    } else if ends.iter().any(|end| end.unreachable) {
        ExitCode::Unreachable
    } else {
        ExitCode::Success
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_op_and_no_target_have_their_names() {
        let reason = |end: End| end.reason.unwrap_or_default();
        assert!(reason(verdict(false, 0, &[TxnStanding::Reverted])).starts_with("no-op"));
        assert!(reason(verdict(false, 0, &[TxnStanding::Gone])).starts_with("no target"));
        assert_eq!(verdict(false, 1, &[TxnStanding::Kept]).state, HostState::RolledBack);
        assert_eq!(verdict(true, 0, &[TxnStanding::Kept]).state, HostState::Changed);
    }

    #[test]
    fn what_was_asked_for_is_no_failure() {
        let ends = |states: &[HostState]| states.iter().map(|state| End::new(*state, "")).collect::<Vec<_>>();
        assert_eq!(exit_code(&ends(&[HostState::RolledBack, HostState::Unchanged]), false), ExitCode::Success);
        assert_eq!(exit_code(&ends(&[HostState::RolledBack, HostState::Unknown]), false), ExitCode::NeedsOperator);
        assert_eq!(exit_code(&ends(&[HostState::RolledBack]), true), ExitCode::NeedsOperator);
    }
}

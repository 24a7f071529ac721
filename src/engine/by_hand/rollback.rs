//! The rollback of a recorded run, journaled as a run of its own. Latest batch first, at the run's rollback speed; a host
//! that cannot be put back stops no other.

use super::recorded::{RecordedHost, RecordedRun, RecordedTxn};
use crate::{
    clock::Clock,
    engine::{
        calls::{self, CallPlan},
        dispatcher::{Desk, Dispatcher, Parts},
        rollback::{Reverter, RollbackEnd},
        spec::RunOutcome,
        stop::{Level, Signal},
        unit::{Txn, explained},
    },
    error::{Error, ExitCode},
    host::{Fleet, Host, HostError, Target},
    journal::{EventKind, FinalHost, HostState, Recap, RunDir, Writer},
    report::Sink,
    rollout::count,
    secrets::Redactor,
};
use futures::StreamExt as _;
use rollgate_agent::protocol::{Answer, Call, RevertPreview, TxnStanding};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};

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
    /// The agent's digest, for the first event.
    pub agent_sha256: String,
    /// The local user, for the first event.
    pub user: String,
    /// Where this run is kept; none: no journal.
    pub dir: Option<RunDir>,
    /// This run's id.
    pub run_id: String,
    /// Where the events go, beside the journal.
    pub sinks: Vec<Box<dyn Sink>>,
    /// SIGINT and SIGTERM.
    pub signals: mpsc::Receiver<Signal>,
}

/// Undoes a run on its hosts.
///
/// # Errors
/// Nothing was touched: the journal cannot be begun.
pub async fn roll_back_run(spec: RollbackSpec, fleet: Arc<dyn Fleet>) -> Result<RunOutcome, Error> {
    let journal = spec.dir.as_ref().map(Writer::create).transpose().map_err(anyhow::Error::from)?;
    let _held = spec.dir.as_ref().map(RunDir::lock).transpose().map_err(anyhow::Error::from)?;
    let clock = Clock::system();
    let desk = Dispatcher::start(Parts {
        clock: clock.clone(),
        redactor: Redactor::new(),
        sinks: spec.sinks,
        journal,
        signals: spec.signals,
    });
    begin(&desk, &spec.undone, &spec.run_id, spec.user, spec.agent_sha256, spec.check, spec.parallel);
    let until = Instant::now() + spec.deadline;
    let (check, parallel) = (spec.check, spec.parallel.max(1));
    let mut ends: Vec<End> = futures::stream::iter(spec.undone.hosts.iter().enumerate())
        .map(|(place, host)| {
            let reached = spec.targets.get(&host.host).map(|target| fleet.host(target));
            let (desk, clock) = (&desk, &clock);
            async move {
                let end = one(&Undoing { desk, clock, until, check }, host, reached.as_deref()).await;
                say(desk, &host.host, end.state, end.reason.clone());
                if let Some(reached) = reached {
                    drop(tokio::time::timeout(GOODBYE, reached.close()).await);
                }
                End { place, ..end }
            }
        })
        .buffer_unordered(parallel)
        .collect()
        .await;
    ends.sort_by_key(|end| end.place);
    desk.emit(EventKind::PlayEnded { play: 0 });
    let paused = desk.stopped().level > Level::None && ends.iter().any(|end| end.held);
    let exit_code = exit_code(&ends, paused) as u8;
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
    desk.close().await;
    Ok(RunOutcome { exit_code, run_id: spec.run_id, hosts, paused })
}

fn begin(
    desk: &Desk,
    undone: &RecordedRun,
    run: &str,
    user: String,
    agent_sha256: String,
    check: bool,
    parallel: usize,
) {
    desk.emit(EventKind::RunStarted {
        run: run.to_owned(),
        command: "rollback".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        playbook: undone.playbook.clone(),
        inventory: undone.inventory.clone(),
        check,
        user,
        agent_sha256,
    });
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
    /// Not begun, since the run was told to stop.
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
    until: Instant,
    check: bool,
}

fn say(desk: &Desk, host: &str, state: HostState, reason: Option<String>) {
    desk.emit(EventKind::HostChanged { play: 0, host: host.to_owned(), state, reason });
}

async fn one(undoing: &Undoing<'_>, host: &RecordedHost, reached: Option<&dyn Host>) -> End {
    if undoing.desk.stopped().level > Level::None {
        return End { held: true, ..End::new(HostState::NeverStarted, "paused before its rollback") };
    }
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
                let over = undoing.check || !error.unreachable() || Instant::now() + PAUSE >= undoing.until;
                if over {
                    return Err(error);
                }
            }
        }
        undoing.clock.sleep(PAUSE).await;
    }
}

async fn revert(undoing: &Undoing<'_>, host: &RecordedHost, reached: &dyn Host, txn: &RecordedTxn) -> RollbackEnd {
    let reverter = Reverter { desk: undoing.desk, clock: undoing.clock, play: 0, name: &host.host, host: reached };
    let txn = Txn { id: txn.id.clone(), run_as: txn.run_as.clone(), generation: txn.generation, guard: None };
    reverter.revert(&txn, undoing.until).await
}

/// R19, with this difference from `run`: hosts rolled back are what was asked for, so they are no failure.
fn exit_code(ends: &[End], paused: bool) -> ExitCode {
    let any = |states: &[HostState]| ends.iter().any(|end| states.contains(&end.state));
    if paused || any(&[HostState::Unknown, HostState::RollbackFailed]) {
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

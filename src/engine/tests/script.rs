//! Hosts that do what a script says, in tokio's time: for faults and timing that no real host shows on demand.

use super::{
    script_guard::SimGuard,
    support::{Log, Seen},
};
use crate::host::{Fleet, Host, HostError, RawOutput, Request, RunAs, Stage, Target};
use async_trait::async_trait;
use rollgate_agent::protocol::{
    AgentError, AgentErrorKind, Answer, Call, Change, GuardState, ProbeReport, ProbeStatus, Progress, RevertReport,
    TaskReport, VerifyReport, Welcome, WorkProgress,
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::time::Instant;

/// What a host does with one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepFault {
    /// It works.
    None,
    /// It changes nothing.
    Unchanged,
    /// It fails, having changed something.
    Fails,
    /// The connection is lost with the step under way.
    Lost,
    /// It takes so many seconds.
    Slow(u64),
}

/// What a host answers to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Good,
    Bad,
    Error,
    Lost,
}

/// A host's script.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    /// It cannot be reached at all.
    pub(super) unreachable: bool,
    /// What it does with each mutating step, in order; then it works.
    pub(super) steps: Vec<StepFault>,
    /// What it answers to probes before its change; then good.
    pub(super) before: Vec<Health>,
    /// After its change; the last one repeats; none: good.
    pub(super) after: Vec<Health>,
    /// After its rollback; the last one repeats; none: good.
    pub(super) restored: Vec<Health>,
    /// How often a revert fails.
    pub(super) revert_fails: u32,
    /// It is out of reach from its first mutating step on.
    pub(super) gone: bool,
    /// It is out of reach from its first revert on.
    pub(super) lost_at_revert: bool,
    /// After its change nobody gets a new connection to it.
    pub(super) locked: bool,
    /// Nothing that is said to its guard arrives, but a confirmation.
    pub(super) deaf: bool,
    /// How far its steps say that they have come.
    pub(super) tells: Option<WorkProgress>,
}

#[derive(Debug, Default)]
struct State {
    steps: usize,
    /// Steps whose change is in place.
    changes: Vec<u64>,
    reverted: bool,
    before: usize,
    after: usize,
    restored: usize,
    reverts: u32,
    generation: u64,
    guards: Vec<SimGuard>,
}

impl State {
    /// Lets the guards do what is due.
    fn tick(&mut self) {
        let fired = self.guards.iter_mut().map(SimGuard::tick).filter(|fired| *fired).count();
        if fired > 0 {
            self.changes.clear();
            self.reverted = true;
        }
    }
}

pub(super) struct ScriptHost {
    name: String,
    script: Script,
    state: Arc<Mutex<State>>,
    log: Log,
    /// Not the first connection.
    fresh: bool,
}

/// A fleet of scripted hosts.
pub(super) struct ScriptFleet {
    scripts: BTreeMap<String, Script>,
    log: Log,
    hosts: Mutex<HashMap<String, Arc<ScriptHost>>>,
}

impl ScriptFleet {
    pub(super) fn new(scripts: BTreeMap<String, Script>, log: &Log) -> Arc<Self> {
        Arc::new(Self { scripts, log: Arc::clone(log), hosts: Mutex::default() })
    }

    /// Whether a host holds any of the run's change.
    pub(super) fn is_changed(&self, host: &str) -> bool {
        self.of(host, false, |state| !state.changes.is_empty())
    }

    /// Whether a host would put itself back, was nobody to say anything any more.
    pub(super) fn is_armed(&self, host: &str) -> bool {
        self.of(host, false, |state| state.guards.iter().any(|guard| guard.state() == GuardState::Armed))
    }

    /// When each host puts itself back.
    pub(super) fn windows(&self) -> Vec<(Instant, Instant)> {
        let names: Vec<String> = self.hosts.lock().expect("lock").keys().cloned().collect();
        names
            .iter()
            .flat_map(|host| {
                self.of(host, Vec::new(), |state| state.guards.iter().filter_map(SimGuard::window).collect())
            })
            .collect()
    }

    fn of<T>(&self, host: &str, none: T, ask: impl FnOnce(&State) -> T) -> T {
        let hosts = self.hosts.lock().expect("lock");
        hosts.get(host).map_or(none, |host| ask(&host.state()))
    }
}

impl Fleet for ScriptFleet {
    fn host(&self, target: &Target) -> Arc<dyn Host> {
        let mut hosts = self.hosts.lock().expect("lock");
        let known = hosts.get(&target.name);
        let host = Arc::new(ScriptHost {
            name: target.name.clone(),
            script: self.scripts.get(&target.name).cloned().unwrap_or_default(),
            state: known.map(|host| Arc::clone(&host.state)).unwrap_or_default(),
            log: Arc::clone(&self.log),
            fresh: known.is_some(),
        });
        hosts.entry(target.name.clone()).or_insert_with(|| Arc::clone(&host));
        host
    }
}

impl ScriptHost {
    fn note(&self, call: &str) {
        self.log.lock().expect("lock").push(Seen::Call { host: self.name.clone(), call: call.to_owned() });
    }

    fn is_gone(&self) -> bool {
        self.script.gone && self.state().steps > 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().expect("lock");
        state.tick();
        state
    }

    fn guard(
        &self,
        txn: &str,
        ask: impl FnOnce(&mut SimGuard) -> Result<Answer, HostError>,
    ) -> Result<Answer, HostError> {
        let mut state = self.state();
        ask(state.guards.iter_mut().find(|guard| guard.is(txn)).expect("an armed transaction"))
    }

    async fn task(&self, mutating: bool, seq: u64) -> Result<Answer, HostError> {
        if !mutating {
            return Ok(Answer::Task(Box::new(report(Change::Unchanged))));
        }
        let fault = {
            let mut state = self.state();
            state.steps += 1;
            state.reverted = false;
            let fault = self.script.steps.get(state.steps - 1).copied().unwrap_or(StepFault::None);
            if fault != StepFault::Unchanged {
                state.changes.push(seq);
            }
            fault
        };
        match fault {
            StepFault::Lost => return Err(HostError::Lost { message: "cut".to_owned() }),
            StepFault::Slow(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            _ => tokio::time::sleep(Duration::from_millis(300)).await,
        }
        let mut report = report(if fault == StepFault::Unchanged { Change::Unchanged } else { Change::Changed });
        report.failed = (fault == StepFault::Fails).then(|| "it was told to fail".to_owned());
        Ok(Answer::Task(Box::new(report)))
    }

    fn health(&self) -> Health {
        let mut state = self.state();
        let (list, at) = if state.reverted {
            (&self.script.restored, &mut state.restored)
        } else if state.steps > 0 {
            (&self.script.after, &mut state.after)
        } else {
            (&self.script.before, &mut state.before)
        };
        let health = list.get(*at).or(list.last()).copied().unwrap_or(Health::Good);
        *at += 1;
        health
    }

    fn revert(&self) -> RevertReport {
        let mut state = self.state();
        state.reverts += 1;
        let mut report = RevertReport { done: Vec::new(), failed: None, drifted: Vec::new(), no_op: false };
        if state.reverts <= self.script.revert_fails {
            report.failed = Some("its undo fails".to_owned());
        } else {
            report.no_op = state.changes.is_empty();
            state.changes.clear();
            state.reverted = true;
            state.guards.iter_mut().for_each(SimGuard::reverted);
        }
        report
    }
}

fn report(change: Change) -> TaskReport {
    TaskReport {
        change,
        failed: None,
        skipped: None,
        data: Map::from_iter([("rc".to_owned(), json!(0)), ("stdout".to_owned(), Value::String(String::new()))]),
        diff: Vec::new(),
        warnings: Vec::new(),
        recorded: change == Change::Changed,
    }
}

fn probe_report(health: Health) -> ProbeReport {
    let (status, rc) = match health {
        Health::Good => (ProbeStatus::Answered, Some(0)),
        Health::Bad => (ProbeStatus::Bad, Some(1)),
        Health::Error | Health::Lost => (ProbeStatus::Error, None),
    };
    ProbeReport { status, elapsed_ms: 20, rc, http_status: None, json: None, detail: String::new() }
}

#[async_trait]
impl Host for ScriptHost {
    fn name(&self) -> &str {
        &self.name
    }

    async fn open(&self, _run_as: &RunAs) -> Result<Welcome, HostError> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let locked = self.fresh && self.script.locked && self.state().steps > 0;
        if self.script.unreachable || locked {
            let message = "no route to host".to_owned();
            return Err(HostError::Unreachable { stage: Stage::Connect, message, hint: None });
        }
        Ok(Welcome {
            protocol: 1,
            version: "0".to_owned(),
            uid: 0,
            path: String::new(),
            state_dir: String::new(),
            boot: "boot".to_owned(),
            clock_ms: 0,
            generation: self.state().generation,
            open_txn: None,
            sudo_records: None,
        })
    }

    async fn call(&self, request: Request) -> Result<Answer, HostError> {
        if self.is_gone() {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let message = "no route to host".to_owned();
            return Err(HostError::Unreachable { stage: Stage::Connect, message, hint: None });
        }
        let work = async {
            match &request.call {
                Call::Task(task) => {
                    let words = task.call.params.values().map(Value::to_string).collect::<Vec<_>>().join(" ");
                    self.note(&format!("task {words}"));
                    if let (Some(work), Some(sender)) = (&self.script.tells, &request.progress) {
                        let _ = sender.send(Progress::Work(work.clone())).await;
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    let seq = task.step.as_ref().map_or(0, |step| step.seq);
                    self.task(words.contains("change"), seq).await
                }
                Call::Probe(_) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    match self.health() {
                        Health::Lost => Err(HostError::Lost { message: "cut".to_owned() }),
                        health => Ok(Answer::Probe(vec![probe_report(health)])),
                    }
                }
                Call::Revert { .. } if self.script.lost_at_revert => {
                    self.note("revert");
                    Err(HostError::Lost { message: "cut".to_owned() })
                }
                Call::Revert { .. } => {
                    self.note("revert");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Ok(Answer::Revert(self.revert()))
                }
                Call::Verify { .. } => Ok(Answer::Verify(VerifyReport { compared: 1, different: Vec::new() })),
                Call::Facts => Ok(Answer::Facts(Map::new())),
                Call::TxnOpen(open) => {
                    self.note("open");
                    self.state().generation = open.generation;
                    Ok(Answer::Done)
                }
                Call::TxnKeep { .. } => {
                    self.note("keep");
                    Ok(Answer::Done)
                }
                Call::Blob(_) | Call::RevertPreview { .. } | Call::UndoTasks(_) => Ok(Answer::Done),
                Call::GuardArm(arm) => {
                    self.note("arm");
                    let guard = SimGuard::new(arm);
                    let report = guard.report();
                    self.state().guards.push(guard);
                    Ok(Answer::Guard(Box::new(report)))
                }
                Call::GuardExtend { .. } if self.script.deaf => {
                    tokio::time::sleep(request.deadline).await;
                    Err(HostError::Deadline { after: request.deadline })
                }
                Call::GuardExtend { txn, nonce } => self.guard(txn, |guard| guard.extend(nonce)),
                Call::GuardConfirm { txn, nonce } => {
                    self.note(if self.fresh { "confirm anew" } else { "confirm" });
                    self.guard(txn, |guard| guard.confirm(nonce))
                }
                Call::GuardStatus { txn } => {
                    let state = self.state();
                    let wanted = |guard: &&SimGuard| txn.as_ref().is_none_or(|txn| guard.is(txn));
                    Ok(Answer::Guards(state.guards.iter().filter(wanted).map(SimGuard::report).collect()))
                }
                Call::GuardCancel { .. } => unreachable!("the engine does not ask for it"),
            }
        };
        tokio::select! {
            answer = work => answer,
            () = request.cancel.cancelled() => Err(HostError::Agent(AgentError {
                kind: AgentErrorKind::Cancelled,
                message: "cancelled".to_owned(),
            })),
            () = tokio::time::sleep(request.deadline) => Err(HostError::Deadline { after: request.deadline }),
        }
    }

    async fn raw(&self, _command: &str, _run_as: &RunAs, _deadline: Duration) -> Result<RawOutput, HostError> {
        Ok(RawOutput { rc: Some(0), stdout: Vec::new(), stderr: Vec::new() })
    }

    async fn close(&self) {}
}

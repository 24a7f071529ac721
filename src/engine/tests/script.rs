//! Hosts that do what a script says, in tokio's time: for faults and timing that no real host shows on demand.

use super::support::{Log, Seen};
use crate::host::{Fleet, Host, HostError, RawOutput, Request, RunAs, Stage, Target};
use async_trait::async_trait;
use rollgate_agent::protocol::{
    AgentError, AgentErrorKind, Answer, Call, Change, ProbeReport, ProbeStatus, RevertReport, TaskReport, VerifyReport,
    Welcome,
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

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
}

pub(super) struct ScriptHost {
    name: String,
    script: Script,
    state: Mutex<State>,
    log: Log,
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
        let hosts = self.hosts.lock().expect("lock");
        hosts.get(host).is_some_and(|host| !host.state.lock().expect("lock").changes.is_empty())
    }
}

impl Fleet for ScriptFleet {
    fn host(&self, target: &Target) -> Arc<dyn Host> {
        let host = Arc::new(ScriptHost {
            name: target.name.clone(),
            script: self.scripts.get(&target.name).cloned().unwrap_or_default(),
            state: Mutex::default(),
            log: Arc::clone(&self.log),
        });
        self.hosts.lock().expect("lock").insert(target.name.clone(), Arc::clone(&host));
        host
    }
}

impl ScriptHost {
    fn note(&self, call: &str) {
        self.log.lock().expect("lock").push(Seen::Call { host: self.name.clone(), call: call.to_owned() });
    }

    fn is_gone(&self) -> bool {
        self.script.gone && self.state.lock().expect("lock").steps > 0
    }

    async fn task(&self, mutating: bool, seq: u64) -> Result<Answer, HostError> {
        if !mutating {
            return Ok(Answer::Task(Box::new(report(Change::Unchanged))));
        }
        let fault = {
            let mut state = self.state.lock().expect("lock");
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
        let mut state = self.state.lock().expect("lock");
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
        let mut state = self.state.lock().expect("lock");
        state.reverts += 1;
        let mut report = RevertReport { done: Vec::new(), failed: None, drifted: Vec::new(), no_op: false };
        if state.reverts <= self.script.revert_fails {
            report.failed = Some("its undo fails".to_owned());
        } else {
            report.no_op = state.changes.is_empty();
            state.changes.clear();
            state.reverted = true;
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
        if self.script.unreachable {
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
            generation: self.state.lock().expect("lock").generation,
            open_txn: None,
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
                    self.state.lock().expect("lock").generation = open.generation;
                    Ok(Answer::Done)
                }
                Call::TxnKeep { .. } => {
                    self.note("keep");
                    Ok(Answer::Done)
                }
                Call::Blob(_) | Call::RevertPreview { .. } => Ok(Answer::Done),
                Call::GuardArm(_)
                | Call::GuardExtend { .. }
                | Call::GuardConfirm { .. }
                | Call::GuardCancel { .. }
                | Call::GuardStatus { .. } => Err(HostError::Agent(AgentError {
                    kind: AgentErrorKind::Guard,
                    message: "the script has no guard".to_owned(),
                })),
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

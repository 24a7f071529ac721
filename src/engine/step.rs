//! One step: one item, one attempt of a task, from the ask to its result event.

use super::{
    args::{Blob, staging},
    calls::{self, CallPlan},
    dispatcher::{Permission, Permit},
    result::Outcome,
    txn::TxnError,
    undo_tasks::UndoTasks,
    unit::{Unit, explained},
};
use crate::{
    clock::millis,
    fault,
    host::{Host, HostError, RunAs},
    journal::{EventKind, StepId, StepInfo, StepStatus},
};
use hmac::{Hmac, KeyInit, Mac};
use rollgate_agent::{
    modules::{UndoClass, spec},
    protocol::{AgentErrorKind, Answer, Call, Change, Diff, Mode, ModuleCall, Progress, Step, TaskCall, TaskReport},
};
use serde_json::{Map, Value};
use sha2::Sha256;
use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};
use tokio::{sync::mpsc, time::Instant};

/// Why a step was ended before it was done.
const CUT: &str = "It was ended: the run is aborted and its grace is over.";

/// What a step does.
pub(crate) enum Work {
    /// A module of the agent.
    Module {
        call: ModuleCall,
        mode: Mode,
        diff: bool,
        environment: BTreeMap<String, String>,
        /// Never cut: the task or the module says so (R2).
        critical: bool,
        /// The task's `undo:`.
        undo: UndoTasks,
        /// A file to be staged first.
        blob: Option<Blob>,
    },
    /// A line for the login shell.
    Raw(String),
    /// `gather_facts`.
    Facts,
    /// Something that the controller has done by itself.
    Local(Outcome),
}

/// A step ready to be asked for.
pub(crate) struct StepPlan {
    pub(crate) info: StepInfo,
    pub(crate) work: Work,
    pub(crate) run_as: RunAs,
    /// On this machine instead of the host.
    pub(crate) delegated: bool,
    /// `timeout:`.
    pub(crate) timeout: Option<Duration>,
    /// The handler that this is a run of.
    pub(crate) handler: Option<(usize, String)>,
    /// The handlers that it notifies.
    pub(crate) notify: Vec<String>,
    /// `no_log:`.
    pub(crate) no_log: bool,
}

/// A step that ran, before `changed_when` and `failed_when`.
pub(crate) struct Ran {
    pub(crate) id: StepId,
    pub(crate) outcome: Outcome,
    pub(crate) diff: Vec<Diff>,
    pub(crate) warnings: Vec<String>,
    pub(crate) took_ms: u64,
    /// Nothing had been touched before it, and the host recorded nothing: if `changed_when` says that nothing changed,
    /// the host is as untouched as it was.
    pub(crate) untouched_but_for_it: bool,
    /// What the host records of it, where `undo:` tasks follow that need what it registers.
    pub(crate) undo_follows: Option<Step>,
}

/// What a step came to.
pub(crate) enum StepRun {
    /// It ran; its result event is still to be written.
    Ran(Box<Ran>),
    /// The host is out of reach; the event is written.
    Unreachable(String),
    /// The run was told to stop: it was not begun, or it was cut; the event is written.
    Stopped,
}

impl Unit {
    /// Asks, runs, and gives back what came of it. The result event is the caller's, once the verdict is known.
    pub(crate) async fn step(&mut self, plan: StepPlan) -> StepRun {
        let step = match self.step_record(&plan).await {
            Ok(step) => step,
            Err(TxnError::Stopped) => return StepRun::Stopped,
            Err(TxnError::Unreachable(why)) => return self.lost_before(plan.info, why),
            Err(TxnError::Failed(why)) => {
                let why = format!("No undo record could be opened, so nothing was done: {why}.");
                let id = self.next_step();
                self.announce(&id, plan.info);
                return ran(id, Outcome::failed(why), 0, None);
            }
        };
        // `raw` needs no agent: it is for hosts where none can run.
        if !matches!(plan.work, Work::Local(_) | Work::Raw(_))
            && !plan.delegated
            && let Err(error) = self.open(&plan.run_as).await
        {
            return self.lost_before(plan.info, explained(&error));
        }
        let id = self.next_step();
        let intent = EventKind::StepIntent { id: id.clone(), info: plan.info.clone() };
        let permission = if matches!(plan.work, Work::Local(_)) { Permission::Local } else { Permission::Step };
        if self.run.desk.ask(permission, intent).await == Permit::Denied {
            self.seq -= 1;
            return StepRun::Stopped;
        }
        let began = Instant::now();
        let step = step.map(|step| Step { seq: id.seq, ..step });
        let follows = matches!(&plan.work, Work::Module { undo, .. } if undo.later);
        let undo_follows = step.clone().filter(|_| follows);
        let mutating = plan.info.mutating && !plan.delegated && !self.play.check;
        let before = self.touched.fetch_or(mutating, Ordering::AcqRel);
        match self.work(&id, plan, step).await {
            Done::Report(module, report) => {
                let touched = mutating && may_have_changed(&module, &report);
                self.touched.store(before || touched, Ordering::Release);
                let outcome = Outcome::reported(&report, &module);
                let TaskReport { diff, warnings, recorded, .. } = *report;
                let untouched_but_for_it = !before && !recorded;
                let took_ms = took(began);
                let ran = Ran { id, outcome, diff, warnings, took_ms, untouched_but_for_it, undo_follows };
                StepRun::Ran(Box::new(ran))
            }
            Done::Outcome(outcome) => {
                let touched = mutating && (outcome.changed != Some(false) || outcome.failed.is_some());
                self.touched.store(before || touched, Ordering::Release);
                ran(id, outcome, took(began), undo_follows)
            }
            Done::Refused(why) => {
                self.touched.store(before, Ordering::Release);
                ran(id, Outcome::failed(why), took(began), None)
            }
            Done::Cut(why) => {
                self.result(&id, StepStatus::Failed, Some(why), took(began));
                StepRun::Stopped
            }
            Done::Lost(error) => {
                self.touched.store(before || (mutating && error.outcome_unknown()), Ordering::Release);
                let why = explained(&error);
                self.result(&id, StepStatus::Unreachable, Some(why.clone()), took(began));
                StepRun::Unreachable(why)
            }
        }
    }

    /// Opens the transaction where the step may change something, and says how it is undone.
    async fn step_record(&mut self, plan: &StepPlan) -> Result<Option<Step>, TxnError> {
        let recorded = self.play.transactional() && plan.info.mutating && !plan.delegated;
        let Work::Module { undo, .. } = &plan.work else {
            if recorded && matches!(plan.work, Work::Raw(_)) {
                self.transaction(&plan.run_as).await?;
            }
            return Ok(None);
        };
        if !recorded {
            return Ok(None);
        }
        let undo = undo.known.clone();
        let txn = self.transaction(&plan.run_as).await?;
        Ok(Some(Step {
            txn: txn.id,
            seq: 0,
            name: plan.info.task.clone(),
            handler: plan.handler.clone(),
            notify: plan.notify.clone(),
            undo,
            generation: txn.generation,
            no_log: plan.no_log,
        }))
    }

    async fn work(&mut self, id: &StepId, plan: StepPlan, step: Option<Step>) -> Done {
        let host = if plan.delegated { self.run.localhost() } else { self.host.clone() };
        let limit = plan.timeout.map_or(self.run.options.step_limit, |timeout| timeout + Duration::from_secs(10));
        let stopped = || self.run.desk.stopped().level >= super::stop::Level::Abort;
        let run_as = plan.run_as.clone();
        let (call, module, critical) = match plan.work {
            Work::Local(outcome) => return Done::Outcome(outcome),
            Work::Raw(line) => {
                let raw = tokio::time::timeout(limit, host.raw(&line, &run_as, limit));
                let output = tokio::select! {
                    output = raw => output.unwrap_or(Err(HostError::Deadline { after: limit })),
                    () = calls::grace_over(&self.run.desk, self.play.abort_grace()) => {
                        return Done::Cut(format!("{CUT} It may still run on the host."));
                    }
                };
                return match output {
                    Ok(output) => Done::Outcome(raw_outcome(&output)),
                    Err(error) => Done::Lost(error),
                };
            }
            Work::Facts => (Call::Facts, "setup".to_owned(), false),
            Work::Module { call, mode, diff, environment, critical, blob, .. } => {
                if let (Some(blob), Mode::Apply) = (&blob, mode)
                    && let Err(error) = self.stage(blob, &run_as).await
                {
                    return if error.unreachable() { Done::Lost(error) } else { Done::Refused(staging(&error)) };
                }
                let module = call.module.clone();
                let timeout_ms = plan.timeout.map(millis);
                let task = TaskCall { call, mode, diff, environment, timeout_ms, critical, step };
                (Call::Task(task), module, critical)
            }
        };
        let how = CallPlan::whole(&run_as, limit);
        let how = if critical { how } else { how.cut_after(self.play.abort_grace()) };
        match self.telling(id, host.as_ref(), call, how).await {
            Ok(Answer::Task(report)) => Done::Report(module, report),
            Ok(Answer::Facts(facts)) => {
                self.run.world.gathered(&self.name, &facts);
                Done::Outcome(Outcome::done(
                    false,
                    Map::from_iter([("ansible_facts".to_owned(), Value::Object(facts))]),
                ))
            }
            Ok(_) => Done::Lost(HostError::Protocol { message: "an answer of another kind".to_owned() }),
            Err(HostError::Agent(error)) => match error.kind {
                AgentErrorKind::Cancelled if stopped() => Done::Cut(CUT.to_owned()),
                // It had begun and was ended: what it left behind is not known.
                AgentErrorKind::TimedOut | AgentErrorKind::Cancelled | AgentErrorKind::Internal => {
                    Done::Outcome(Outcome { changed: None, ..Outcome::failed(error.message) })
                }
                AgentErrorKind::Invalid
                | AgentErrorKind::Fenced
                | AgentErrorKind::Record
                | AgentErrorKind::Guard
                | AgentErrorKind::GuardLost => Done::Refused(error.message),
            },
            Err(error) => Done::Lost(error),
        }
    }

    /// Does the call of a step, and tells how far it comes.
    async fn telling(&self, id: &StepId, host: &dyn Host, call: Call, how: CallPlan) -> Result<Answer, HostError> {
        let (sender, mut news) = mpsc::channel(4);
        let how = CallPlan { progress: Some(sender), ..how };
        let send = |call| calls::call(&self.run.desk, host, call, how.clone());
        let tell = async {
            while let Some(news) = news.recv().await {
                if let Progress::Work(work) = news {
                    self.run.desk.emit(EventKind::StepProgress { id: id.clone(), work });
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            answer = fault::step(call, send) => answer,
            answer = tell => answer,
        }
    }

    /// Shows a step that ends without having been asked for: it failed before it could begin.
    pub(crate) fn announce(&self, id: &StepId, info: StepInfo) {
        self.run.desk.emit(EventKind::StepIntent { id: id.clone(), info });
    }

    /// Says how a step ended.
    pub(crate) fn result(&self, id: &StepId, status: StepStatus, message: Option<String>, took_ms: u64) {
        self.run.desk.emit(EventKind::StepResult {
            id: id.clone(),
            status,
            diff: Vec::new(),
            message,
            warnings: Vec::new(),
            took_ms,
        });
    }

    fn lost_before(&mut self, info: StepInfo, why: String) -> StepRun {
        let id = self.next_step();
        self.announce(&id, info);
        self.result(&id, StepStatus::Unreachable, Some(why.clone()), 0);
        StepRun::Unreachable(why)
    }

    /// Recognises the same step on resume: a keyed digest of module and parameters (S5).
    pub(crate) fn digest(&self, module: &str, params: &Value) -> String {
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.run.key) else { return String::new() };
        mac.update(module.as_bytes());
        mac.update(b"\0");
        mac.update(params.to_string().as_bytes());
        crate::journal::hex(&mac.finalize().into_bytes())
    }
}

/// What came of the work itself.
enum Done {
    Report(String, Box<TaskReport>),
    Outcome(Outcome),
    /// Refused before anything was done.
    Refused(String),
    /// Ended by an abort.
    Cut(String),
    Lost(HostError),
}

fn ran(id: StepId, outcome: Outcome, took_ms: u64, undo_follows: Option<Step>) -> StepRun {
    let (diff, warnings) = (Vec::new(), Vec::new());
    StepRun::Ran(Box::new(Ran { id, outcome, diff, warnings, took_ms, untouched_but_for_it: false, undo_follows }))
}

fn took(began: Instant) -> u64 {
    millis(began.elapsed())
}

/// A module that records what it changes and has recorded nothing has changed nothing, also where it failed.
fn may_have_changed(module: &str, report: &TaskReport) -> bool {
    let exact = spec(module).is_some_and(|spec| spec.undo == UndoClass::Exact);
    match report.failed {
        Some(_) => report.recorded || !exact,
        None => report.recorded || report.change != Change::Unchanged,
    }
}

fn raw_outcome(output: &crate::host::RawOutput) -> Outcome {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let lines = |text: &str| text.lines().map(|line| Value::String(line.to_owned())).collect::<Vec<_>>();
    let data = Map::from_iter([
        ("rc".to_owned(), output.rc.map_or(Value::Null, Value::from)),
        ("stdout_lines".to_owned(), Value::Array(lines(&stdout))),
        ("stderr_lines".to_owned(), Value::Array(lines(&stderr))),
        ("stdout".to_owned(), Value::String(stdout)),
        ("stderr".to_owned(), Value::String(stderr)),
    ]);
    let failed = match output.rc {
        Some(0) => None,
        Some(code) => Some(format!("The command exited with {code}.")),
        None => Some("The command was ended by a signal.".to_owned()),
    };
    Outcome { failed, ..Outcome::done(true, data) }
}

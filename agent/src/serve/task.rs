//! Running one module for one request, with its undo record.

use super::agent::{Agent, record_error};
use super::control::Control;
use super::process::RunError;
use crate::modules::{CheckClass, Context, Module, ModuleError, build, spec};
use crate::protocol::{AgentError, AgentErrorKind, Change, Mode, Step, TaskCall, TaskReport};
use crate::undo::{Generation, HostLock, Recorder, Transaction, TxnState, UndoError};
use std::time::Duration;

impl Agent {
    pub(super) fn task(&self, task: &TaskCall, control: &Control) -> Result<TaskReport, AgentError> {
        let module = build(&task.call)
            .map_err(|error| AgentError { kind: AgentErrorKind::Invalid, message: error.to_string() })?;
        let mut control = control.clone();
        if task.critical || module.critical() {
            control = control.critical();
        }
        let read_only = spec(&task.call.module).is_some_and(|spec| spec.check == CheckClass::ReadOnly);
        let step = task.step.as_ref().filter(|_| task.mode == Mode::Apply && !read_only);
        let (_lock, undo) = match step {
            Some(step) => {
                let lock = HostLock::take(&self.state_dir, &control).map_err(record_error)?;
                (Some(lock), self.recorder(task, step).map_err(record_error)?)
            }
            None => (None, Recorder::inactive()),
        };
        if let Some(timeout_ms) = task.timeout_ms {
            control = control.within(Duration::from_millis(timeout_ms));
        }
        let mut cx = Context {
            mode: task.mode,
            diff: task.diff,
            environment: task.environment.clone(),
            control,
            undo,
            state_dir: self.state_dir.clone(),
        };
        run(module.as_ref(), &mut cx)
    }

    /// Takes over the `undo:` tasks of a step that has ended.
    pub(super) fn undo_tasks(&self, step: &Step, control: &Control) -> Result<(), AgentError> {
        let _lock = HostLock::take(&self.state_dir, control).map_err(record_error)?;
        self.open_for(step).and_then(|transaction| transaction.undo_tasks(step)).map_err(record_error)
    }

    /// The recorder of a step.
    fn recorder(&self, task: &TaskCall, step: &Step) -> Result<Recorder, UndoError> {
        let transaction = self.open_for(step)?;
        let mut recorder = Recorder::for_step(&transaction, task, step)?.with_accounts(self.accounts.clone());
        if step.handler.is_some() || !step.undo.is_empty() {
            recorder.begin()?;
        }
        Ok(recorder)
    }

    /// The open transaction of a step, after its fence has been passed (S9).
    fn open_for(&self, step: &Step) -> Result<Transaction, UndoError> {
        let transaction = Transaction::open(&self.state_dir, &step.txn)?;
        let manifest = &transaction.manifest;
        if manifest.run != self.run || manifest.generation != step.generation {
            return Err(UndoError::Fenced(format!(
                "transaction {} is of run {} and generation {}; a step of run {} and generation {} is refused",
                step.txn, manifest.run, manifest.generation, self.run, step.generation
            )));
        }
        if transaction.standing()?.state != TxnState::Open {
            return Err(UndoError::Fenced(format!("transaction {} is no longer open", step.txn)));
        }
        crate::guard::still_armed(&transaction)?;
        Generation::admit(&self.state_dir, step.generation, &self.run)?;
        Ok(transaction)
    }
}

fn run(module: &dyn Module, cx: &mut Context) -> Result<TaskReport, AgentError> {
    let result = match cx.mode {
        Mode::Check => module.check(cx),
        Mode::Apply => module.apply(cx),
    };
    let (changed, failed) = match &result {
        Ok(report) => (report.change != Change::Unchanged, report.failed.is_some()),
        // Nobody knows how far it came.
        Err(_) => (true, true),
    };
    let kept = cx.undo.done(changed, failed);
    let mut report = match result {
        Ok(report) => report,
        Err(error) => failure(error, cx.undo.recorded())?,
    };
    report.recorded = cx.undo.recorded();
    if !cx.diff {
        report.diff.clear();
    }
    if let Err(error) = kept {
        let sentence = format!("the change was made, but what it left could not be recorded: {error}");
        report = report.failing(sentence);
    }
    Ok(report)
}

/// A module's error as a failed report, or as the agent's own error. A module that had recorded nothing has changed
/// nothing; one that had may have.
fn failure(error: ModuleError, recorded: bool) -> Result<TaskReport, AgentError> {
    let kind = match &error {
        ModuleError::Record(_) => AgentErrorKind::Record,
        ModuleError::Run(RunError::Cancelled { .. }) => AgentErrorKind::Cancelled,
        ModuleError::Run(RunError::TimedOut { .. }) => AgentErrorKind::TimedOut,
        ModuleError::Param(_) => AgentErrorKind::Invalid,
        _ => {
            let sentence = error.to_string();
            return Ok(TaskReport::changed_if(recorded).with("msg", sentence.clone()).failing(sentence));
        }
    };
    Err(AgentError { kind, message: error.to_string() })
}

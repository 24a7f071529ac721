//! The `undo:` tasks of a step: given to the host before the step runs, and given again after it where they need what it
//! has registered (rollout.md R11).

use super::{
    calls::{self, CallPlan},
    result::Outcome,
    task_run::variable,
    txn::{bundle, bundle_task, not_prepared},
    unit::{Unit, explained},
};
use crate::{
    playbook::Task,
    template::Rendered,
    vars::{Scope, Variable},
};
use rollgate_agent::protocol::{BundledTask, Call, Step};
use std::time::Duration;

/// Why an `undo:` task is not rendered yet.
const LATER: &str = "the step registers it; it is added when the step has run, and the guard does not have it before";

/// How long the host may take to write them down.
const LIMIT: Duration = Duration::from_secs(60);

/// The `undo:` tasks of a step before it runs.
#[derive(Default)]
pub(crate) struct UndoTasks {
    /// Those that can be rendered.
    pub(crate) known: Vec<BundledTask>,
    /// Others need what the step registers.
    pub(crate) later: bool,
}

impl UndoTasks {
    /// # Errors
    /// A task that cannot be rendered, for another reason than that the step has not run.
    pub(crate) fn before(step: &Task, scope: &Scope) -> Result<Self, String> {
        let mut tasks = Self::default();
        for undo in &step.undo {
            match bundle_task(undo, &scope_before(step, scope, undo))? {
                Rendered::Known(known) => tasks.known.extend(known),
                Rendered::Unknown { because } if because == LATER => tasks.later = true,
                Rendered::Unknown { because } => return Err(not_prepared(undo, &because)),
            }
        }
        Ok(tasks)
    }
}

/// The scope of an `undo:` task before its step has run: an earlier value of what the step registers is not meant.
pub(crate) fn scope_before(step: &Task, scope: &Scope, undo: &Task) -> Scope {
    let scope = scope.task(undo);
    match &step.register {
        Some(name) => scope.with(name, Variable::Unknown { because: LATER.to_owned() }),
        None => scope,
    }
}

impl Unit {
    /// Gives the host all `undo:` tasks of a step that has run. One that changed nothing needs none.
    ///
    /// # Errors
    /// They cannot be rendered, or the host did not take them: undoing this host would leave the step's change.
    pub(crate) async fn add_undo_tasks(
        &self,
        task: &Task,
        scope: &Scope,
        outcome: &Outcome,
        step: Step,
    ) -> Result<(), String> {
        let Some(name) = &task.register else { return Ok(()) };
        if outcome.changed == Some(false) && outcome.failed.is_none() {
            return Ok(());
        }
        let failed = |why: String| format!("what undoes it could not be recorded: {why}");
        let result = variable(outcome);
        let undo = bundle(&task.undo, |undo| scope.task(undo).with(name, result.clone())).map_err(failed)?;
        let txn = self.txns.iter().find(|txn| txn.id == step.txn);
        let run_as = &txn.ok_or_else(|| failed("its transaction is gone".to_owned()))?.run_as;
        let call = Call::UndoTasks(Step { undo, ..step });
        let added = calls::call(&self.run.desk, self.host.as_ref(), call, CallPlan::whole(run_as, LIMIT)).await;
        added.map(drop).map_err(|error| failed(explained(&error)))
    }
}

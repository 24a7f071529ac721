//! The transaction of a host: opened before its first mutating step, with what the host needs to undo without us.

use super::{
    calls::{self, CallPlan},
    dispatcher::{Permission, Permit},
    unit::{Txn, Unit, explained},
    values::{all, known, said, text},
};
use crate::{
    host::{HostError, RunAs},
    journal::EventKind,
    playbook::{Action, ModuleArgs, Task},
    template::Rendered,
    vars::Scope,
};
use rollgate_agent::protocol::{BundledTask, Call, ModuleCall, TxnOpen};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long opening or keeping a transaction may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Why a host has no transaction.
pub(crate) enum TxnError {
    /// The run was told to stop.
    Stopped,
    /// The host is out of reach.
    Unreachable(String),
    /// It was refused, or what belongs to it cannot be rendered.
    Failed(String),
}

impl From<HostError> for TxnError {
    fn from(error: HostError) -> Self {
        if error.unreachable() { Self::Unreachable(explained(&error)) } else { Self::Failed(explained(&error)) }
    }
}

impl Unit {
    /// The open transaction of a user's agent; opened now if there is none. One more generation than the host has seen
    /// (rollout.md 2.7). The play's `rollback:` tasks go with the first one, which is undone last.
    pub(crate) async fn transaction(&mut self, run_as: &RunAs) -> Result<Txn, TxnError> {
        if let Some(txn) = self.txns.iter().find(|txn| txn.run_as == *run_as) {
            return Ok(txn.clone());
        }
        let welcome = self.open(run_as).await?;
        let rollback = if self.txns.is_empty() {
            let scope = self.scope();
            bundle(&self.play.play.rollback, |task| scope.task(task)).map_err(TxnError::Failed)?
        } else {
            Vec::new()
        };
        let mut txn = Txn { id: new_id(), run_as: run_as.clone(), generation: welcome.generation + 1, guard: None };
        let opened = EventKind::TxnOpened {
            host: self.name.clone(),
            txn: txn.id.clone(),
            generation: txn.generation,
            run_as: match run_as {
                RunAs::Login => None,
                RunAs::Become(user) => Some(user.clone()),
            },
            target: (self.run.target)(&self.play.play, &self.name).ok().map(Box::new),
        };
        if self.run.desk.ask(Permission::Step, opened).await == Permit::Denied {
            return Err(TxnError::Stopped);
        }
        let open = Call::TxnOpen(TxnOpen {
            txn: txn.id.clone(),
            run: self.run.run_id.clone(),
            host: self.name.clone(),
            play: self.play.play.name.clone(),
            generation: txn.generation,
            rollback,
        });
        let plan = CallPlan::whole(run_as, LIMIT);
        calls::call(&self.run.desk, self.host.as_ref(), open, plan).await?;
        self.txns.push(txn.clone());
        txn.guard = self.arm(&txn).await?;
        if let Some(opened) = self.txns.last_mut() {
            opened.guard.clone_from(&txn.guard);
        }
        Ok(txn)
    }

    /// Says that the change is kept: for `keep_undo`, or, where nothing was changed, that the record can go.
    pub(crate) async fn keep(&self) {
        let rollout = self.play.play.rollout.as_ref();
        let keep = rollout.filter(|_| self.is_touched()).map_or(0, |rollout| rollout.keep_undo.as_secs());
        for txn in &self.txns {
            let call = Call::TxnKeep { txn: txn.id.clone(), keep_undo_s: keep };
            let plan = CallPlan::whole(&txn.run_as, LIMIT);
            if let Err(error) = calls::call(&self.run.desk, self.host.as_ref(), call, plan).await {
                self.warn(format!("The undo record {} could not be closed: {}.", txn.id, explained(&error)));
            }
        }
    }
}

/// Renders tasks that a host may have to run without the controller (`undo:`, `rollback:`). `scope_of` gives a task's
/// scope. Tasks whose `when` is false are left out; loops are unrolled.
pub(crate) fn bundle(tasks: &[Arc<Task>], scope_of: impl Fn(&Task) -> Scope) -> Result<Vec<BundledTask>, String> {
    let mut bundled = Vec::new();
    for task in tasks {
        let scope = scope_of(task);
        let fail = |message: String| format!("{}: '{}' cannot be prepared: {message}", task.place, task.name);
        for scope in items(task, &scope).map_err(fail)? {
            match all(&scope, &task.when).map_err(fail)? {
                Rendered::Known(false) => {}
                Rendered::Known(true) => bundled.push(bundle_one(task, &scope).map_err(fail)?),
                Rendered::Unknown { because } => return Err(fail(because)),
            }
        }
    }
    Ok(bundled)
}

/// The scopes of a task's items; the task's own where it has no loop.
pub(crate) fn items(task: &Task, scope: &Scope) -> Result<Vec<Scope>, String> {
    let Some(list) = &task.r#loop else { return Ok(vec![scope.clone()]) };
    let Value::Array(items) = known(scope, list)? else { return Err("its loop is not a list".to_owned()) };
    let count = items.len();
    let control = &task.loop_control;
    Ok(items.into_iter().enumerate().map(|(index, item)| scope.item(control, item, index, count)).collect())
}

fn bundle_one(task: &Task, scope: &Scope) -> Result<BundledTask, String> {
    let Action::Agent(args) = &task.action else {
        return Err("only modules that run on the host can be bundled".to_owned());
    };
    Ok(BundledTask {
        name: super::values::shown(scope, &super::values::named(&task.name, Some(task.place.clone()))),
        call: module_call(args, scope)?,
        environment: environment(task, scope)?,
        timeout_ms: task.inherited.timeout.map(crate::clock::millis),
    })
}

fn module_call(args: &ModuleArgs, scope: &Scope) -> Result<ModuleCall, String> {
    match scope.render_params(&args.params).map_err(|error| said(&error))? {
        Rendered::Known(params) => Ok(ModuleCall { module: args.module.clone(), params }),
        Rendered::Unknown { because } => Err(because),
    }
}

/// The environment of a task's processes: the maps from the outermost in, the innermost wins.
pub(crate) fn environment(task: &Task, scope: &Scope) -> Result<BTreeMap<String, String>, String> {
    let mut merged = BTreeMap::new();
    for template in &task.inherited.environment {
        match scope.render(template).map_err(|error| said(&error))? {
            Rendered::Known(Value::Object(map)) => {
                merged.extend(map.into_iter().map(|(name, value)| (name, text(&value))));
            }
            Rendered::Known(other) => return Err(format!("environment is {other}, expected a map")),
            Rendered::Unknown { because } => return Err(format!("environment cannot be known: {because}")),
        }
    }
    Ok(merged)
}

/// 32 random hexadecimal digits.
fn new_id() -> String {
    let mut random = [0; 16];
    if getrandom::fill(&mut random).is_err() {
        // The kernel gives random bytes once it is up; a clash is refused by the host in any case.
        random = jiff::Timestamp::now().as_nanosecond().to_le_bytes();
    }
    crate::journal::hex(&random)
}

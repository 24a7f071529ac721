//! The transaction of a host: opened before its first mutating step, with what the host needs to undo without us.

use super::{
    calls::{self, CallPlan},
    dispatcher::{Permission, Permit},
    unit::{Txn, Unit, explained},
    values::{all, said, text},
};
use crate::{
    host::{HostError, RunAs},
    journal::EventKind,
    playbook::{Action, Task},
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
        match bundle_task(task, &scope_of(task))? {
            Rendered::Known(tasks) => bundled.extend(tasks),
            Rendered::Unknown { because } => return Err(not_prepared(task, &because)),
        }
    }
    Ok(bundled)
}

/// One task of them, an entry for each item.
pub(crate) fn bundle_task(task: &Task, scope: &Scope) -> Result<Rendered<Vec<BundledTask>>, String> {
    let fail = |message: String| not_prepared(task, &message);
    let scopes = match items(task, scope).map_err(fail)? {
        Rendered::Known(scopes) => scopes,
        Rendered::Unknown { because } => return Ok(Rendered::Unknown { because }),
    };
    let mut bundled = Vec::new();
    for scope in scopes {
        match all(&scope, &task.when).map_err(fail)? {
            Rendered::Known(false) => continue,
            Rendered::Known(true) => {}
            Rendered::Unknown { because } => return Ok(Rendered::Unknown { because }),
        }
        match bundle_one(task, &scope).map_err(fail)? {
            Rendered::Known(task) => bundled.push(task),
            Rendered::Unknown { because } => return Ok(Rendered::Unknown { because }),
        }
    }
    Ok(Rendered::Known(bundled))
}

/// Why a task cannot be given to the host.
pub(crate) fn not_prepared(task: &Task, why: &str) -> String {
    format!("{}: '{}' cannot be prepared: {why}", task.place, task.name)
}

/// The scopes of a task's items; the task's own where it has no loop.
pub(crate) fn items(task: &Task, scope: &Scope) -> Result<Rendered<Vec<Scope>>, String> {
    let Some(list) = &task.r#loop else { return Ok(Rendered::Known(vec![scope.clone()])) };
    let items = match scope.render(list).map_err(|error| said(&error))? {
        Rendered::Known(Value::Array(items)) => items,
        Rendered::Known(_) => return Err("its loop is not a list".to_owned()),
        Rendered::Unknown { because } => return Ok(Rendered::Unknown { because }),
    };
    let count = items.len();
    let control = &task.loop_control;
    let scopes = items.into_iter().enumerate().map(|(index, item)| scope.item(control, item, index, count));
    Ok(Rendered::Known(scopes.collect()))
}

fn bundle_one(task: &Task, scope: &Scope) -> Result<Rendered<BundledTask>, String> {
    let Action::Agent(args) = &task.action else {
        return Err("only modules that run on the host can be bundled".to_owned());
    };
    let params = match scope.render_params(&args.params).map_err(|error| said(&error))? {
        Rendered::Known(params) => params,
        Rendered::Unknown { because } => return Ok(Rendered::Unknown { because }),
    };
    Ok(Rendered::Known(BundledTask {
        name: super::values::shown(scope, &super::values::named(&task.name, Some(task.place.clone()))),
        call: ModuleCall { module: args.module.clone(), params },
        environment: environment(task, scope)?,
        timeout_ms: task.inherited.timeout.map(crate::clock::millis),
        no_log: task.inherited.no_log,
    }))
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

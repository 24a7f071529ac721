//! A task on a host: its items, their attempts, the verdict, what is registered and notified.

use super::{
    failure,
    local::shown_data,
    once::Turn as OnceTurn,
    prepare::Turn,
    result::{Outcome, of_loop},
    step::StepRun,
    stop::Level,
    task_end::TaskEnd,
    unit::Unit,
    values::{all, known, number, said, shown, text},
};
use crate::{
    journal::{EventKind, StepId, StepStatus},
    playbook::{Action, Task, Until},
    template::Rendered,
    vars::{Scope, Variable},
};
use rollgate_agent::protocol::HIDDEN;
use serde_json::{Value, json};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// The longest message of an event, in characters.
const MESSAGE: usize = 4000;

/// What an item came to, or why the host goes no further.
enum ItemRun {
    Done(Outcome),
    Unreachable(String),
    Stopped,
}

impl Unit {
    /// Runs a task that its tags select.
    pub(crate) async fn run_task(&mut self, task: &Arc<Task>, handler: Option<usize>) -> TaskEnd {
        let play = Arc::clone(&self.play);
        let Some(once) = play.once.as_ref().filter(|_| task.inherited.run_once) else {
            return self.task_here(task, handler).await;
        };
        let desk = self.run.desk.clone();
        let turn = tokio::select! {
            turn = once.turn(task.index, &self.name) => turn,
            () = desk.until(Level::Abort) => return TaskEnd::Stopped,
        };
        match turn {
            OnceTurn::Done(TaskEnd::Unreachable(why)) => {
                TaskEnd::Failed(format!("'{}' was to run once, and its host was out of reach: {why}", task.name))
            }
            OnceTurn::Done(end) => end,
            OnceTurn::Run => {
                let end = self.task_here(task, handler).await;
                once.finish(task.index, end.clone());
                end
            }
        }
    }

    /// The hosts that get what this task registers or sets.
    pub(crate) fn sharing<'a>(&'a self, task: &Task) -> Vec<&'a str> {
        if task.inherited.run_once { self.play.batch.iter().map(String::as_str).collect() } else { vec![&self.name] }
    }

    async fn task_here(&mut self, task: &Arc<Task>, handler: Option<usize>) -> TaskEnd {
        let scope = self.scope().task(task);
        if let Action::Meta(what) = &task.action {
            let turn = Turn { task, scope: &scope, label: None, attempt: 1, handler };
            return self.meta(what, &turn);
        }
        let whole = match &task.r#loop {
            None => self.item(task, &scope, None, handler).await,
            Some(_) => self.items(task, &scope, handler).await,
        };
        match whole {
            ItemRun::Done(outcome) => self.end(task, &outcome),
            ItemRun::Stopped => TaskEnd::Stopped,
            ItemRun::Unreachable(why) if task.inherited.ignore_unreachable => {
                self.recap.unreachable += 1;
                let mut outcome = Outcome::failed(why);
                outcome.data.insert("unreachable".to_owned(), json!(true));
                self.register(task, &outcome);
                TaskEnd::Ok { changed: false }
            }
            ItemRun::Unreachable(why) => {
                self.recap.unreachable += 1;
                TaskEnd::Unreachable(why)
            }
        }
    }

    /// Registers, counts and notifies.
    fn end(&mut self, task: &Task, outcome: &Outcome) -> TaskEnd {
        self.register(task, outcome);
        let end = if let Some(why) = &outcome.failed {
            if !task.inherited.ignore_errors {
                self.recap.failed += 1;
                return TaskEnd::Failed(why.clone());
            }
            self.recap.ok += 1;
            self.recap.ignored += 1;
            return TaskEnd::Ok { changed: false };
        } else if outcome.skipped.is_some() {
            self.recap.skipped += 1;
            TaskEnd::Skipped
        } else {
            self.recap.ok += 1;
            match outcome.changed {
                Some(changed) => TaskEnd::Ok { changed },
                None => TaskEnd::Unknown,
            }
        };
        if end.notifies() {
            self.recap.changed += 1;
            self.changed = true;
            self.notify(task);
        }
        end
    }

    fn register(&self, task: &Task, outcome: &Outcome) {
        let Some(name) = &task.register else { return };
        for host in self.sharing(task) {
            self.run.world.register(host, name, &variable(outcome));
        }
    }

    async fn items(&mut self, task: &Arc<Task>, scope: &Scope, handler: Option<usize>) -> ItemRun {
        let list = match self.loop_items(task, scope) {
            Ok(Rendered::Known(list)) => list,
            Ok(Rendered::Unknown { because }) => return self.not_known(task, scope, handler, because),
            Err(why) => {
                // Ansible: a loop over what is not defined is no error where the task would be skipped anyway.
                if let Ok(Rendered::Known(false)) = all(scope, &task.when) {
                    return self.skipped(task, scope, None);
                }
                return self.broken(task, scope, None, handler, why);
            }
        };
        let control = &task.loop_control;
        let (mut outcomes, count) = (Vec::new(), list.len());
        for (index, value) in list.into_iter().enumerate() {
            if index > 0 && !control.pause.is_zero() && !self.wait(control.pause).await {
                return ItemRun::Stopped;
            }
            let scope = scope.item(control, value.clone(), index, count);
            let label = match &control.label {
                Some(label) => shown(&scope, label),
                None => text(&value),
            };
            match self.item(task, &scope, Some(&label), handler).await {
                ItemRun::Done(mut outcome) => {
                    outcome.data.insert(control.loop_var.clone(), value);
                    outcome.data.insert("ansible_loop_var".to_owned(), json!(control.loop_var));
                    outcomes.push(outcome);
                }
                other => return other,
            }
        }
        ItemRun::Done(of_loop(&outcomes))
    }

    fn loop_items(&self, task: &Task, scope: &Scope) -> Result<Rendered<Vec<Value>>, String> {
        let Some(template) = &task.r#loop else { return Ok(Rendered::Known(Vec::new())) };
        match scope.render(template).map_err(|error| said(&error))? {
            Rendered::Known(Value::Array(items)) => Ok(Rendered::Known(items)),
            Rendered::Known(other) => {
                Err(format!("loop needs a list and got {}; for a range write `range(3) | list`", kind(&other)))
            }
            Rendered::Unknown { because } => Ok(Rendered::Unknown { because }),
        }
    }

    async fn item(&mut self, task: &Arc<Task>, scope: &Scope, label: Option<&str>, handler: Option<usize>) -> ItemRun {
        match all(scope, &task.when) {
            Ok(Rendered::Known(true)) => {}
            Ok(Rendered::Known(false)) => return self.skipped(task, scope, label),
            Ok(Rendered::Unknown { because }) => return self.not_known(task, scope, handler, because),
            Err(why) => return self.broken(task, scope, label, handler, why),
        }
        let (retries, delay) = match task.until.as_ref().map(|until| patience(until, scope)).transpose() {
            Ok(patience) => patience.unwrap_or_default(),
            Err(why) => return self.broken(task, scope, label, handler, why),
        };
        let mut attempt = 1;
        loop {
            let turn = Turn { task, scope, label, attempt, handler };
            let plan = match self.prepare(&turn) {
                Ok(Rendered::Known(plan)) => plan,
                Ok(Rendered::Unknown { because }) => return self.not_known(task, scope, handler, because),
                Err(why) => return self.broken(task, scope, label, handler, why),
            };
            let ran = match self.step(plan).await {
                StepRun::Ran(ran) => *ran,
                StepRun::Unreachable(why) => return ItemRun::Unreachable(why),
                StepRun::Stopped => return ItemRun::Stopped,
            };
            let (mut outcome, mut satisfied) = match self.verdict(task, scope, ran.outcome, attempt) {
                Ok(judged) => judged,
                Err(why) => (Outcome::failed(why), true),
            };
            if ran.untouched_but_for_it && outcome.failed.is_none() && outcome.changed == Some(false) {
                self.touched.store(false, Ordering::Release);
            }
            if let Some(step) = ran.undo_follows
                && let Err(why) = self.add_undo_tasks(task, scope, &outcome, step).await
            {
                outcome.failed = Some(match outcome.failed.take() {
                    Some(failed) => format!("{failed}; and {why}"),
                    None => why,
                });
                satisfied = true;
            }
            let last = satisfied || attempt > retries;
            if !satisfied && last {
                let why = outcome.failed.take().unwrap_or_else(|| not_come(task.until.as_ref()));
                outcome.failed = Some(format!("{why} (after {attempt} attempts)"));
            }
            let kind = EventKind::StepResult {
                id: ran.id,
                status: status(task, &outcome, last),
                diff: if task.inherited.no_log { Vec::new() } else { ran.diff },
                message: message(task, &outcome, (!last).then_some((attempt, retries))),
                warnings: if task.inherited.no_log { Vec::new() } else { ran.warnings },
                took_ms: ran.took_ms,
            };
            self.run.desk.emit(kind);
            if last {
                outcome.failed = reason(task, &outcome);
                return ItemRun::Done(outcome);
            }
            if !self.wait(delay).await {
                return ItemRun::Stopped;
            }
            attempt += 1;
        }
    }

    /// `changed_when`, `failed_when` and `until` over the result, which they see under its registered name.
    fn verdict(
        &self,
        task: &Task,
        scope: &Scope,
        mut outcome: Outcome,
        attempt: u32,
    ) -> Result<(Outcome, bool), String> {
        if task.until.is_some() {
            outcome.data.insert("attempts".to_owned(), json!(attempt));
        }
        if outcome.skipped.is_some() {
            return Ok((outcome, true));
        }
        let with = |outcome: &Outcome| match &task.register {
            Some(name) => scope.with(name, variable(outcome)),
            None => scope.clone(),
        };
        if !task.failed_when.is_empty()
            && let Rendered::Known(failed) = all(&with(&outcome), &task.failed_when)?
        {
            let why = outcome.failed.take().unwrap_or_else(|| "failed_when holds".to_owned());
            outcome.failed = failed.then_some(why);
        }
        if !task.changed_when.is_empty()
            && let Rendered::Known(changed) = all(&with(&outcome), &task.changed_when)?
        {
            outcome.changed = Some(changed);
        }
        let satisfied = match &task.until {
            None => true,
            Some(_) if outcome.unknown.is_some() => true,
            Some(until) if until.conditions.is_empty() => outcome.failed.is_none(),
            Some(until) => !matches!(all(&with(&outcome), &until.conditions)?, Rendered::Known(false)),
        };
        Ok((outcome, satisfied))
    }

    /// Waits, unless the run is aborted meanwhile.
    async fn wait(&self, duration: Duration) -> bool {
        tokio::select! {
            () = self.run.clock.sleep(duration) => true,
            () = self.run.desk.until(Level::Abort) => false,
        }
    }

    fn skipped(&mut self, task: &Task, scope: &Scope, label: Option<&str>) -> ItemRun {
        let reason = "Conditional result was False";
        let id = self.next_step();
        let turn = Turn { task, scope, label, attempt: 1, handler: None };
        let info = self.info(&turn);
        let shown = match info.item {
            Some(item) => format!("{} ({item})", info.task),
            None => info.task,
        };
        self.run.desk.emit(EventKind::StepSkipped { id, task: shown, reason: reason.to_owned() });
        ItemRun::Done(Outcome::skipped(reason))
    }

    fn not_known(&mut self, task: &Task, scope: &Scope, handler: Option<usize>, because: String) -> ItemRun {
        let id = self.show(task, scope, None, handler);
        self.result(&id, StepStatus::Unknown, Some(because.clone()), 0);
        ItemRun::Done(Outcome::unknown(because))
    }

    /// A task that cannot even be put together: a template or a parameter is wrong.
    fn broken(
        &mut self,
        task: &Task,
        scope: &Scope,
        label: Option<&str>,
        handler: Option<usize>,
        why: String,
    ) -> ItemRun {
        let id = self.show(task, scope, label, handler);
        let outcome = Outcome::failed(why);
        self.result(&id, status(task, &outcome, true), message(task, &outcome, None), 0);
        ItemRun::Done(outcome)
    }

    fn show(&mut self, task: &Task, scope: &Scope, label: Option<&str>, handler: Option<usize>) -> StepId {
        let info = self.info(&Turn { task, scope, label, attempt: 1, handler });
        let id = self.next_step();
        self.announce(&id, info);
        id
    }
}

/// A result as a variable.
pub(crate) fn variable(outcome: &Outcome) -> Variable {
    match &outcome.unknown {
        Some(because) => Variable::Unknown { because: because.clone() },
        None => Variable::Data(outcome.value()),
    }
}

/// How often a task is tried again, and how long is waited in between.
fn patience(until: &Until, scope: &Scope) -> Result<(u32, Duration), String> {
    let retries = number(&known(scope, &until.retries)?).filter(|n| (0.0..=1e6).contains(n));
    let delay = number(&known(scope, &until.delay)?).filter(|n| (0.0..=1e6).contains(n));
    let retries = retries.ok_or("retries needs a number from 0 to 1000000")?;
    let delay = delay.ok_or("delay needs a number of seconds from 0 to 1000000")?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a million")]
    Ok((retries as u32, Duration::from_secs_f64(delay)))
}

fn status(task: &Task, outcome: &Outcome, last: bool) -> StepStatus {
    match (&outcome.failed, &outcome.skipped, outcome.changed) {
        // An attempt that is followed by another decides nothing.
        _ if !last => StepStatus::Ignored,
        (Some(_), _, _) if task.inherited.ignore_errors => StepStatus::Ignored,
        (Some(_), _, _) => StepStatus::Failed,
        (None, Some(_), _) => StepStatus::Skipped,
        (None, None, None) => StepStatus::Unknown,
        (None, None, Some(true)) => StepStatus::Changed,
        (None, None, Some(false)) => StepStatus::Ok,
    }
}

/// What `until` has waited for in vain.
fn not_come(until: Option<&Until>) -> String {
    let conditions: Vec<String> =
        until.iter().flat_map(|until| &until.conditions).map(|one| text(&one.value)).collect();
    format!("this did not come true: {}", conditions.join(" and "))
}

/// Why a host goes no further.
fn reason(task: &Task, outcome: &Outcome) -> Option<String> {
    let told = failure::in_brief(outcome)?;
    Some(if task.inherited.no_log { HIDDEN.to_owned() } else { told })
}

fn message(task: &Task, outcome: &Outcome, again: Option<(u32, u32)>) -> Option<String> {
    if task.inherited.no_log {
        return outcome.failed.as_ref().map(|_| HIDDEN.to_owned());
    }
    let failed = if again.is_some() { failure::in_brief(outcome) } else { failure::in_full(outcome) };
    let told = if let Some(told) = failed {
        Some(told)
    } else if let Some(reason) = outcome.skipped.as_ref().or(outcome.unknown.as_ref()) {
        Some(reason.clone())
    } else if matches!(task.action, Action::Debug { .. } | Action::Assert { .. }) {
        shown_data(outcome)
    } else {
        None
    };
    let told = match again {
        Some((attempt, retries)) => Some(format!(
            "Attempt {attempt} of {}: {}",
            retries + 1,
            told.unwrap_or_else(|| "not yet what `until` asks for".to_owned())
        )),
        None => told,
    };
    told.map(|text| match text.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

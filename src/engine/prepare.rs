//! From a task in its scope to a step that can be asked for.

use super::{
    args::Prepared,
    context::run_as,
    local,
    step::{StepPlan, Work},
    txn::environment,
    undo_tasks::{UndoTasks, scope_before},
    undo_text,
    unit::Unit,
    values::{known, named, said, shown, text},
};
use crate::{
    host::RunAs,
    journal::StepInfo,
    playbook::{Action, Task, Template},
    secrets::looks_secret,
    template::Rendered,
    vars::Scope,
};
use rollgate_agent::{
    modules::{CheckClass, build, spec},
    protocol::{Mode, ModuleCall},
};
use serde_json::{Map, Value, json};

/// An item's turn of a task.
pub(crate) struct Turn<'a> {
    pub(crate) task: &'a Task,
    pub(crate) scope: &'a Scope,
    pub(crate) label: Option<&'a str>,
    pub(crate) attempt: u32,
    pub(crate) handler: Option<usize>,
}

impl Unit {
    /// Renders everything that the step needs. Unknown: check mode cannot even say what would be run.
    pub(crate) fn prepare(&self, turn: &Turn<'_>) -> Result<Rendered<StepPlan>, String> {
        let Turn { task, scope, .. } = turn;
        let mode = self.mode(task);
        let mut info = self.info(turn);
        let (work, digested) = match &task.action {
            Action::Agent(args) => match scope.render_params(&args.params).map_err(|error| said(&error))? {
                Rendered::Known(params) => {
                    let call = ModuleCall { module: args.module.clone(), params };
                    self.module_work(turn, Prepared { call, blob: None }, mode)?
                }
                Rendered::Unknown { because } => return Ok(Rendered::Unknown { because }),
            },
            Action::Template(args) | Action::CopyFile(args) => {
                let prepared = match &task.action {
                    Action::Template(_) => self.template_call(args, scope)?,
                    _ => self.copy_call(args, scope)?,
                };
                match prepared {
                    Rendered::Known(prepared) => self.module_work(turn, prepared, mode)?,
                    Rendered::Unknown { because } => return Ok(Rendered::Unknown { because }),
                }
            }
            Action::Raw(line) if mode == Mode::Apply => {
                let line = text(&known(scope, line)?);
                let digested = json!(line);
                (Work::Raw(line), digested)
            }
            Action::Raw(_) => return Ok(Rendered::Unknown { because: "check mode does not run `raw`".to_owned() }),
            Action::Assert { .. } | Action::Fail { .. } | Action::Debug { .. } | Action::SetFact { .. } => {
                match self.local_action(task, scope)? {
                    Rendered::Known(outcome) => (Work::Local(outcome), Value::Null),
                    Rendered::Unknown { because } => return Ok(Rendered::Unknown { because }),
                }
            }
            Action::Meta(what) => return Err(format!("meta: {what} is no step")),
        };
        info.digest = self.digest(&info.module, &digested);
        Ok(Rendered::Known(StepPlan {
            run_as: if local::is_local(&task.action) {
                RunAs::Login
            } else {
                run_as(&task.inherited, &self.run.options, scope)?
            },
            delegated: task.delegate_to_localhost,
            timeout: task.inherited.timeout,
            handler: turn.handler.map(|index| (index, task.name.clone())),
            notify: self.handlers_notified(&task.notify).map(|(_, handler)| handler.name.clone()).collect(),
            no_log: task.inherited.no_log,
            info,
            work,
        }))
    }

    fn module_work(&self, turn: &Turn<'_>, prepared: Prepared, mode: Mode) -> Result<(Work, Value), String> {
        let Turn { task, scope, .. } = turn;
        let Prepared { call, blob } = prepared;
        self.taint(task, &call.params);
        let module = build(&call).map_err(|error| format!("{}: {error}", call.module))?;
        let undo = if self.play.transactional() { UndoTasks::before(task, scope)? } else { UndoTasks::default() };
        let digested = Value::Object(call.params.clone());
        let work = Work::Module {
            mode,
            diff: self.run.options.diff && task.inherited.diff.unwrap_or(true) && !task.inherited.no_log,
            environment: environment(task, scope)?,
            critical: task.critical || module.critical(),
            undo,
            blob,
            call,
        };
        Ok((work, digested))
    }

    /// Values of password-like parameters are kept out of everything from here on (S5).
    fn taint(&self, task: &Task, params: &Map<String, Value>) {
        let own = task.inherited.no_log;
        for (name, value) in params {
            if looks_secret(name) || (own && matches!(name.as_str(), "content" | "stdin" | "cmd" | "_raw_params")) {
                self.run.redactor.add_value(value);
            }
        }
    }

    /// Check or apply. What only reads runs for real under check, too; `check_mode: false` only where the task says that
    /// it changes nothing (rollout.md R23).
    fn mode(&self, task: &Task) -> Mode {
        let check = match task.inherited.check_mode {
            Some(true) => true,
            Some(false) => self.play.check && !never_changes(task),
            None => self.play.check,
        };
        if check && !only_reads(task) { Mode::Check } else { Mode::Apply }
    }

    /// What the step is, for the events; without its digest.
    pub(crate) fn info(&self, turn: &Turn<'_>) -> StepInfo {
        let Turn { task, scope, .. } = turn;
        let name = shown(scope, &named(&task.name, Some(task.place.clone())));
        StepInfo {
            task: name,
            module: module_name(&task.action).to_owned(),
            place: task.place.to_string(),
            item: turn.label.map(|label| if task.inherited.no_log { "(hidden)".to_owned() } else { label.to_owned() }),
            attempt: turn.attempt,
            handler: turn.handler.is_some(),
            mutating: may_change(task) && (self.play.check || self.mode(task) == Mode::Apply),
            digest: String::new(),
            undo: if self.play.check && self.play.play.rollout.is_some() {
                undo_text::lines(&task.undo, |undo| scope_before(task, scope, undo))
            } else {
                Vec::new()
            },
        }
    }
}

/// Whether a task's module never changes anything, whatever its parameters.
fn only_reads(task: &Task) -> bool {
    match &task.action {
        Action::Agent(args) => spec(&args.module).is_some_and(|spec| spec.check == CheckClass::ReadOnly),
        Action::Template(_) | Action::CopyFile(_) | Action::Raw(_) => false,
        _ => true,
    }
}

/// Whether a task may change something on the host.
pub fn may_change(task: &Task) -> bool {
    match &task.action {
        Action::Agent(args) => match spec(&args.module).map(|spec| spec.check) {
            Some(CheckClass::ReadOnly) => false,
            Some(CheckClass::Exact) => true,
            Some(CheckClass::Unknown) | None => !never_changes(task),
        },
        Action::Template(_) | Action::CopyFile(_) => true,
        Action::Raw(_) => !never_changes(task),
        _ => false,
    }
}

/// `changed_when: false`: the task says that it changes nothing.
fn never_changes(task: &Task) -> bool {
    let never = |it: &Template| it.value == Value::Bool(false) || it.value.as_str().is_some_and(|text| text == "false");
    !task.changed_when.is_empty() && task.changed_when.iter().all(never)
}

/// The name of an action's module.
pub fn module_name(action: &Action) -> &str {
    match action {
        Action::Agent(args) => &args.module,
        Action::Template(_) => "template",
        Action::CopyFile(_) => "copy",
        Action::Raw(_) => "raw",
        Action::Assert { .. } => "assert",
        Action::Fail { .. } => "fail",
        Action::Debug { .. } => "debug",
        Action::SetFact { .. } => "set_fact",
        Action::Meta(_) => "meta",
    }
}

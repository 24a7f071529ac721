//! `command`: run a program, without a shell. The results are those of ansible-core's `command.py`.

use super::execute::{Execution, Params};
use super::words::expand;
use super::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::protocol::{ModuleCall, TaskReport};
use serde_json::Value;

pub(super) const SPEC: ModuleSpec = ModuleSpec {
    name: "command",
    params: &[
        ParamSpec::optional("cmd", ParamKind::Str),
        ParamSpec::optional("argv", ParamKind::List),
        ParamSpec::optional("chdir", ParamKind::Path),
        ParamSpec::optional("creates", ParamKind::Str),
        ParamSpec::optional("removes", ParamKind::Str),
        ParamSpec::optional("stdin", ParamKind::Str),
        ParamSpec::optional("stdin_add_newline", ParamKind::Bool),
        ParamSpec::optional("strip_empty_ends", ParamKind::Bool),
        ParamSpec::optional("expand_argument_vars", ParamKind::Bool),
    ],
    free_form: Some("cmd"),
    undo: UndoClass::None,
    check: CheckClass::Unknown,
    require_one_of: &[&["cmd", "argv"]],
};

struct Command(Params);

pub(super) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    let params: Params = decode(call)?;
    if params.cmd.is_some() && params.argv.is_some() {
        return Err(ParamError::call("command", "`cmd` and `argv` exclude each other"));
    }
    if words(&params).is_none_or(|words| words.is_empty()) {
        return Err(ParamError::call("command", "the command is empty, or a quote in it is not closed"));
    }
    Ok(Box::new(Command(params)))
}

fn words(params: &Params) -> Option<Vec<String>> {
    match (&params.cmd, &params.argv) {
        (Some(cmd), _) => shlex::split(cmd),
        (None, Some(argv)) => {
            Some(argv.iter().map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect())
        }
        (None, None) => None,
    }
}

impl Command {
    fn execution(&self, cx: &Context) -> Execution<'_> {
        let said = words(&self.0).unwrap_or_default();
        let argv = match self.0.expand_argument_vars {
            Some(false) => said.clone(),
            _ => said.iter().map(|word| expand(word, &cx.environment)).collect(),
        };
        Execution { params: &self.0, argv, shown: said.into_iter().map(Value::String).collect() }
    }
}

impl Module for Command {
    fn check(&self, cx: &Context) -> Result<TaskReport, ModuleError> {
        self.execution(cx).check()
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        self.execution(cx).run(cx)
    }
}

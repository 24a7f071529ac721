//! `shell`: run a command line by `/bin/sh -c`, or by another shell.

use super::execute::{Execution, Params};
use super::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::protocol::{ModuleCall, TaskReport};
use serde_json::Value;

pub(super) const SPEC: ModuleSpec = ModuleSpec {
    name: "shell",
    params: &[
        ParamSpec::required("cmd", ParamKind::Str),
        ParamSpec::optional("executable", ParamKind::Path),
        ParamSpec::optional("chdir", ParamKind::Path),
        ParamSpec::optional("creates", ParamKind::Str),
        ParamSpec::optional("removes", ParamKind::Str),
        ParamSpec::optional("stdin", ParamKind::Str),
        ParamSpec::optional("stdin_add_newline", ParamKind::Bool),
        ParamSpec::optional("strip_empty_ends", ParamKind::Bool),
    ],
    free_form: Some("cmd"),
    undo: UndoClass::None,
    check: CheckClass::Unknown,
    require_one_of: &[],
};

struct Shell(Params);

pub(super) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    Ok(Box::new(Shell(decode(call)?)))
}

impl Shell {
    fn execution(&self) -> Execution<'_> {
        let line = self.0.cmd.clone().unwrap_or_default();
        let shell = self.0.executable.clone().unwrap_or_else(|| "/bin/sh".to_owned());
        Execution { params: &self.0, argv: vec![shell, "-c".to_owned(), line.clone()], shown: Value::String(line) }
    }
}

impl Module for Shell {
    fn check(&self, _cx: &Context) -> Result<TaskReport, ModuleError> {
        self.execution().check()
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        self.execution().run(cx)
    }
}

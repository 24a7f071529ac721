//! The module trait and the table of modules.

use super::{
    Context, ModuleSpec, ParamError, command, copy, docker_facts, file, group, lineinfile, shell, slurp, stat, systemd,
    uri, user, userns_bind, userns_migrate, wait_for,
};
use crate::protocol::{ModuleCall, TaskReport};
use crate::serve::RunError;
use crate::undo::UndoError;

/// Why a module could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The host or the parameters do not allow it: a sentence for the operator. The task fails.
    #[error("{0}")]
    Failed(String),
    /// The undo record could not be written, so nothing was changed.
    #[error(transparent)]
    Record(#[from] UndoError),
    /// A process did not run to its end.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file operation failed; the error names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A path is refused or could not be read or written.
    #[error(transparent)]
    File(#[from] crate::files::FileError),
    /// A parameter is wrong in a way that only the host can see.
    #[error(transparent)]
    Param(#[from] ParamError),
}

impl ModuleError {
    /// A failure with this sentence.
    pub fn failed(sentence: impl Into<String>) -> Self {
        Self::Failed(sentence.into())
    }
}

/// A module with its parameters, ready to look or to act.
pub trait Module: Send {
    /// Says what [`Module::apply`] would do, and changes nothing.
    ///
    /// # Errors
    /// See [`ModuleError`].
    fn check(&self, cx: &Context) -> Result<TaskReport, ModuleError>;

    /// Makes the host as asked. Every object is recorded with `cx.undo` before it is changed.
    ///
    /// # Errors
    /// See [`ModuleError`].
    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError>;

    /// Whether a cancellation must let it finish (rollout.md R2).
    fn critical(&self) -> bool {
        false
    }
}

type Build = fn(&ModuleCall) -> Result<Box<dyn Module>, ParamError>;

/// Every module that runs on a host: one line each, in alphabetical order.
#[rustfmt::skip]
const MODULES: &[(&ModuleSpec, Build)] = &[
    (&command::SPEC, command::build),
    (&copy::SPEC, copy::build),
    (&docker_facts::SPEC, docker_facts::build),
    (&file::SPEC, file::build),
    (&group::SPEC, group::build),
    (&lineinfile::SPEC, lineinfile::build),
    (&shell::SPEC, shell::build),
    (&slurp::SPEC, slurp::build),
    (&stat::SPEC, stat::build),
    (&systemd::SPEC, systemd::build),
    (&systemd::SERVICE_SPEC, systemd::build),
    (&uri::SPEC, uri::build),
    (&user::SPEC, user::build),
    (&userns_bind::SPEC, userns_bind::build),
    (&userns_migrate::SPEC, userns_migrate::build),
    (&wait_for::SPEC, wait_for::build),
];

/// The modules' descriptions, by name.
const SPECS: [&ModuleSpec; MODULES.len()] = {
    let mut specs = [&command::SPEC; MODULES.len()];
    let mut at = 0;
    while at < MODULES.len() {
        specs[at] = MODULES[at].0;
        at += 1;
    }
    specs
};

/// What a module accepts, by its short or its `ansible.builtin.` name.
#[must_use]
pub fn spec(name: &str) -> Option<&'static ModuleSpec> {
    let short = name.strip_prefix("ansible.builtin.").unwrap_or(name);
    SPECS.into_iter().find(|spec| spec.name == short)
}

/// What every module accepts.
#[must_use]
pub fn specs() -> &'static [&'static ModuleSpec] {
    &SPECS
}

/// Makes a module from a rendered call: the parameters are converted and checked here once more, whoever sent them.
///
/// # Errors
/// [`ParamError`] names the parameter and what was expected.
pub fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    let short = call.module.strip_prefix("ansible.builtin.").unwrap_or(&call.module);
    let Some((spec, build)) = MODULES.iter().find(|(spec, _)| spec.name == short) else {
        return Err(ParamError::unknown_module(&call.module));
    };
    let params = super::normalise(spec, &call.params)?;
    build(&ModuleCall { module: short.to_owned(), params })
}

//! The module's parameters and its run.

use super::collect::collect;
use crate::modules::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::protocol::{Change, ModuleCall, TaskReport};
use serde::Deserialize;
use std::time::Duration;

const fn param(name: &'static str, kind: ParamKind) -> ParamSpec {
    ParamSpec { name, aliases: &[], kind, required: false, choices: &[] }
}

/// What `docker_facts` accepts.
pub static SPEC: ModuleSpec = ModuleSpec {
    name: "docker_facts",
    params: &[
        param("userns_remap_user", ParamKind::Str),
        param("subid_start", ParamKind::Int),
        param("subid_count", ParamKind::Int),
        param("timeout", ParamKind::Int),
    ],
    free_form: None,
    undo: UndoClass::NotNeeded,
    check: CheckClass::ReadOnly,
    require_one_of: &[],
};

/// Parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    #[serde(default = "dockremap")]
    pub(super) userns_remap_user: String,
    pub(super) subid_start: Option<u64>,
    #[serde(default = "whole_range")]
    pub(super) subid_count: u64,
    #[serde(default = "seconds")]
    timeout: u64,
}

impl Params {
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

fn dockremap() -> String {
    "dockremap".to_owned()
}

fn whole_range() -> u64 {
    65_536
}

fn seconds() -> u64 {
    20
}

/// The module.
#[derive(Debug)]
struct DockerFacts {
    params: Params,
}

/// Makes the module.
///
/// # Errors
/// [`ParamError`] for a negative number, or a user name that no file of ids can hold.
pub fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    let params: Params = decode(call)?;
    let name = &params.userns_remap_user;
    if name.is_empty() || name.contains([':', '\n', ' ']) || name.starts_with('-') {
        return Err(ParamError::new(&call.module, "userns_remap_user", "must be a user's name"));
    }
    if name == "default" {
        return Err(ParamError::new(&call.module, "userns_remap_user", "is written by name: `dockremap`, not `default`"));
    }
    if params.subid_count == 0 || params.subid_count > u64::from(u32::MAX) {
        return Err(ParamError::new(&call.module, "subid_count", "must be from 1 to 4294967295"));
    }
    if params.timeout == 0 {
        return Err(ParamError::new(&call.module, "timeout", "must be at least 1"));
    }
    Ok(Box::new(DockerFacts { params }))
}

impl Module for DockerFacts {
    fn check(&self, cx: &Context) -> Result<TaskReport, ModuleError> {
        Ok(TaskReport::new(Change::Unchanged).with("docker", collect(cx, &self.params)?))
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        self.check(cx)
    }
}

//! The module's parameters and its run.

use super::collect::collect;
use crate::modules::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::protocol::{Change, ModuleCall, TaskReport};
use serde::Deserialize;
use std::time::Duration;

/// What `docker_facts` accepts.
pub(in crate::modules) const SPEC: ModuleSpec = ModuleSpec {
    name: "docker_facts",
    params: &[
        ParamSpec::optional("userns_remap_user", ParamKind::Str),
        ParamSpec::optional("subid_start", ParamKind::Int),
        ParamSpec::optional("subid_count", ParamKind::Int),
        ParamSpec::optional("timeout", ParamKind::Int),
        ParamSpec::optional("scan", ParamKind::Bool),
    ],
    free_form: None,
    undo: UndoClass::NotNeeded,
    check: CheckClass::ReadOnly,
    require_one_of: &[],
};

/// Parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    #[serde(default = "dockremap")]
    pub(super) userns_remap_user: String,
    pub(super) subid_start: Option<u64>,
    #[serde(default = "whole_range")]
    pub(super) subid_count: u64,
    #[serde(default = "seconds")]
    timeout: u64,
    #[serde(default)]
    pub(super) scan: bool,
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
pub(in crate::modules) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    let params: Params = decode(call)?;
    let name = &params.userns_remap_user;
    if name.is_empty() || name.contains([':', '\n', ' ']) || name.starts_with('-') {
        return Err(ParamError::new(&call.module, "userns_remap_user", "must be a user's name"));
    }
    if name == "default" {
        return Err(ParamError::new(
            &call.module,
            "userns_remap_user",
            "is written by name: `dockremap`, not `default`",
        ));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Mode;
    use serde_json::{Map, Value, json};
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    /// Every key that the page of this module names.
    const KEYS: &[&str] = &[
        "available",
        "caveats",
        "cgroup_version",
        "classes",
        "cli",
        "compose_projects",
        "config_free_inodes",
        "config_free_mb",
        "containers",
        "counts",
        "daemon_json",
        "data_root",
        "default_runtime",
        "dockerd",
        "driver",
        "driver_status",
        "free_inodes",
        "free_mb",
        "group",
        "id",
        "image_store",
        "installed",
        "kernel",
        "kernel_supported",
        "live_restore",
        "max_user_namespaces",
        "named_in",
        "pin_store",
        "problem",
        "remapped_as_wanted",
        "remapped_root",
        "root_dir",
        "rootless",
        "running",
        "runtimes",
        "scan",
        "security_options",
        "selinux",
        "selinux_tools",
        "snap",
        "subgid",
        "subid",
        "subuid",
        "swarm",
        "swarm_manager",
        "swarm_node",
        "swarm_services",
        "timed_out",
        "unit",
        "user",
        "userns",
        "userns_problem",
        "userns_remap",
        "userns_usable",
        "version",
        "version_supported",
        "volume_plugins",
        "volumes",
    ];

    fn facts(engine: &Path, params: Value) -> Value {
        let dir = tempfile::tempdir().unwrap();
        let mut cx = Context::new(Mode::Apply, dir.path());
        cx.environment.insert("DOCKER_HOST".to_owned(), format!("unix://{}", engine.display()));
        let Value::Object(params) = params else { return Value::Null };
        let call = ModuleCall { module: "docker_facts".to_owned(), params };
        let report = crate::modules::build(&call).unwrap().apply(&mut cx).unwrap();
        report.data["docker"].clone()
    }

    #[test]
    fn an_engine_that_is_not_there_is_a_fact_and_every_key_is_there() {
        let facts = facts(Path::new("/nonexistent/docker.sock"), json!({}));
        let mut keys: Vec<&str> = facts.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, KEYS);
        assert_eq!(
            (&facts["available"], &facts["userns"], &facts["version"]),
            (&json!(false), &json!(false), &Value::Null)
        );
        assert!(!facts["problem"].as_str().unwrap().is_empty());
        assert_eq!(facts["counts"], json!({"images": 0, "containers": 0, "running": 0, "volumes": 0}));
    }

    #[test]
    fn an_engine_that_hangs_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let _deaf = UnixListener::bind(&path).unwrap();
        let facts = facts(&path, json!({"timeout": 1}));
        assert_eq!(facts["available"], false);
        if facts["installed"] == true {
            assert_eq!(facts["timed_out"], true, "{}", facts["problem"]);
        }
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused() {
        for params in [
            json!({"userns_remap_user": "default"}),
            json!({"userns_remap_user": "a:b"}),
            json!({"userns_remap_user": "-x"}),
            json!({"subid_start": -1}),
            json!({"subid_count": 0}),
            json!({"timeout": 0}),
        ] {
            let params: Map<String, Value> = params.as_object().unwrap().clone();
            let call = ModuleCall { module: "docker_facts".to_owned(), params };
            assert!(crate::modules::build(&call).is_err(), "{:?}", call.params);
        }
    }
}

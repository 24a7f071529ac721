//! `group`: a local group, by the shadow tools, as ansible-core's `group.py`.

use super::programs::required;
use super::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::accounts;
use crate::protocol::{Diff, ModuleCall, TaskReport};
use serde::Deserialize;

pub(super) const SPEC: ModuleSpec = ModuleSpec {
    name: "group",
    params: &[
        ParamSpec::required("name", ParamKind::Str),
        ParamSpec { choices: &["absent", "present"], ..ParamSpec::optional("state", ParamKind::Str) },
        ParamSpec::optional("gid", ParamKind::Int),
        ParamSpec::optional("system", ParamKind::Bool),
        ParamSpec::optional("non_unique", ParamKind::Bool),
    ],
    free_form: None,
    undo: UndoClass::Exact,
    check: CheckClass::Exact,
    require_one_of: &[],
};

/// The package that has groupadd and its like.
const SHADOW: &str = "passwd or shadow-utils";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    state: Option<String>,
    gid: Option<u32>,
    #[serde(default)]
    system: bool,
    #[serde(default)]
    non_unique: bool,
}

/// What is to be run, and how the group then looks.
struct Plan {
    argv: Option<Vec<String>>,
    before: String,
    after: String,
}

pub(super) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    let group: Group = decode(call)?;
    if !is_account_name(&group.name) {
        return Err(ParamError::new("group", "name", "must be a group's name"));
    }
    if group.non_unique && group.gid.is_none() {
        return Err(ParamError::new("group", "non_unique", "needs `gid` as well"));
    }
    Ok(Box::new(group))
}

/// A name that no tool takes for an option and no file for several fields.
pub(super) fn is_account_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('-') && !name.contains([':', ',', '\n', '/', ' ', '\t', '\0'])
}

impl Module for Group {
    fn check(&self, cx: &Context) -> Result<TaskReport, ModuleError> {
        let plan = self.plan(cx)?;
        Ok(self.report(cx, plan)?.0)
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        let plan = self.plan(cx)?;
        let (mut report, argv) = self.report(cx, plan)?;
        if let Some(argv) = argv {
            cx.undo.group(&self.name)?;
            let finished = cx.process(&argv).run()?;
            if !finished.success() {
                let said = finished.stderr_text();
                return Ok(report.with("rc", finished.rc).failing(said.trim().to_owned()));
            }
        }
        if let Some(group) = accounts::group(cx, &self.name)? {
            report = report.with("gid", group.gid).with("system", self.system);
        }
        Ok(report)
    }

    fn critical(&self) -> bool {
        true
    }
}

impl Group {
    fn plan(&self, cx: &Context) -> Result<Plan, ModuleError> {
        let now = accounts::group(cx, &self.name)?;
        let before = now.as_ref().map_or_else(|| "absent".to_owned(), |group| format!("gid {}", group.gid));
        let unchanged = Plan { argv: None, after: before.clone(), before: before.clone() };
        let mut argv: Vec<String> = Vec::new();
        let after = match (self.state.as_deref() == Some("absent"), &now) {
            (true, None) => return Ok(unchanged),
            (true, Some(_)) => {
                argv.push(required(cx, "groupdel", SHADOW)?);
                "absent".to_owned()
            }
            (false, None) => {
                argv.push(required(cx, "groupadd", SHADOW)?);
                self.push_gid(&mut argv);
                if self.system {
                    argv.push("-r".to_owned());
                }
                self.gid.map_or_else(|| "present".to_owned(), |gid| format!("gid {gid}"))
            }
            (false, Some(group)) => match self.gid.filter(|gid| *gid != group.gid) {
                None => return Ok(unchanged),
                Some(gid) => {
                    argv.push(required(cx, "groupmod", SHADOW)?);
                    self.push_gid(&mut argv);
                    format!("gid {gid}")
                }
            },
        };
        argv.extend(["--".to_owned(), self.name.clone()]);
        Ok(Plan { argv: Some(argv), before, after })
    }

    fn push_gid(&self, argv: &mut Vec<String>) {
        if let Some(gid) = self.gid {
            argv.extend(["-g".to_owned(), gid.to_string()]);
            if self.non_unique {
                argv.push("-o".to_owned());
            }
        }
    }

    fn report(&self, cx: &Context, plan: Plan) -> Result<(TaskReport, Option<Vec<String>>), ModuleError> {
        let state = self.state.as_deref().unwrap_or("present");
        let mut report =
            TaskReport::changed_if(plan.argv.is_some()).with("name", self.name.as_str()).with("state", state);
        if plan.argv.is_some() && cx.diff {
            report = report.differing(Diff::of_states(format!("group {}", self.name), plan.before, plan.after));
        }
        Ok((report, plan.argv))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Change, Mode};
    use serde_json::{Value, json};

    fn run(mode: Mode, params: Value) -> TaskReport {
        let dir = tempfile::tempdir().unwrap();
        let call = ModuleCall { module: "group".to_owned(), params: params.as_object().unwrap().clone() };
        let module = crate::modules::build(&call).unwrap();
        let mut cx = Context::new(mode, dir.path());
        cx.diff = true;
        match mode {
            Mode::Check => module.check(&cx).unwrap(),
            Mode::Apply => module.apply(&mut cx).unwrap(),
        }
    }

    /// A name of our own; the group is deleted however the test ends.
    struct Own(String);

    impl Own {
        fn new() -> Self {
            let mut random = [0; 4];
            getrandom::fill(&mut random).unwrap();
            Self(format!("rgt{:08x}", u32::from_ne_bytes(random)))
        }
    }

    impl Drop for Own {
        fn drop(&mut self) {
            let _gone = std::process::Command::new("groupdel").arg(&self.0).output();
        }
    }

    #[test]
    fn a_group_is_made_changed_and_deleted_once_each() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let own = Own::new();
        let name = own.0.as_str();
        let present = json!({"name": name, "system": true});
        let check = run(Mode::Check, present.clone());
        assert_eq!(check.change, Change::Changed);
        assert_eq!(check.diff, [Diff::of_states(format!("group {name}"), "absent", "present")]);
        let made = run(Mode::Apply, present.clone());
        assert_eq!((made.change, &made.failed), (Change::Changed, &None));
        let gid = made.data["gid"].as_u64().unwrap();
        assert!(gid < 1000, "a system group has a low id");
        assert_eq!(run(Mode::Apply, present).change, Change::Unchanged);
        let other = json!({"name": name, "gid": 64_000 + gid});
        assert_eq!(run(Mode::Apply, other.clone()).data["gid"], 64_000 + gid);
        assert_eq!(run(Mode::Check, other).change, Change::Unchanged);
        let absent = json!({"name": name, "state": "absent"});
        assert_eq!(run(Mode::Apply, absent.clone()).change, Change::Changed);
        assert_eq!(run(Mode::Apply, absent).change, Change::Unchanged);
    }

    #[test]
    fn a_tools_refusal_fails_the_task_with_its_words() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let own = Own::new();
        let report = run(Mode::Apply, json!({"name": own.0, "gid": 0}));
        assert!(report.failed.unwrap().contains("GID '0' already exists"));
    }

    #[test]
    fn names_that_would_be_read_as_something_else_are_refused() {
        for name in ["", "-r", "a:b", "a,b", "a\nb", "../x", "a b"] {
            assert!(!is_account_name(name), "{name:?}");
        }
        assert!(is_account_name("dockremap") && is_account_name("svc.app$"));
    }
}

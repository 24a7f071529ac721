//! The module's run.

use super::argv::{Now, Params, Plan};
use crate::accounts;
use crate::modules::programs::required;
use crate::modules::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::protocol::{Diff, Mode, ModuleCall, TaskReport};
use std::path::{Path, PathBuf};

pub(in crate::modules) const SPEC: ModuleSpec = ModuleSpec {
    name: "user",
    params: &[
        ParamSpec { aliases: &["user"], ..ParamSpec::required("name", ParamKind::Str) },
        ParamSpec { choices: &["absent", "present"], ..ParamSpec::optional("state", ParamKind::Str) },
        ParamSpec::optional("uid", ParamKind::Int),
        ParamSpec::optional("non_unique", ParamKind::Bool),
        ParamSpec::optional("group", ParamKind::Str),
        ParamSpec::optional("groups", ParamKind::List),
        ParamSpec::optional("append", ParamKind::Bool),
        ParamSpec::optional("comment", ParamKind::Str),
        ParamSpec::optional("home", ParamKind::Path),
        ParamSpec::optional("shell", ParamKind::Path),
        ParamSpec { aliases: &["createhome"], ..ParamSpec::optional("create_home", ParamKind::Bool) },
        ParamSpec::optional("move_home", ParamKind::Bool),
        ParamSpec::optional("system", ParamKind::Bool),
        ParamSpec::optional("remove", ParamKind::Bool),
        ParamSpec::optional("force", ParamKind::Bool),
        ParamSpec::optional("password", ParamKind::Str),
        ParamSpec { choices: &["always", "on_create"], ..ParamSpec::optional("update_password", ParamKind::Str) },
    ],
    free_form: None,
    undo: UndoClass::Exact,
    check: CheckClass::Exact,
    require_one_of: &[],
};

/// The package that has useradd and its like.
const SHADOW: &str = "passwd or shadow-utils";

/// userdel's exit code for a user with processes.
const LOGGED_IN: i32 = 8;

#[derive(Debug)]
struct UserModule(Params);

pub(in crate::modules) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    let mut params: Params = decode(call)?;
    params.validate()?;
    Ok(Box::new(UserModule(params)))
}

impl Module for UserModule {
    fn check(&self, cx: &Context) -> Result<TaskReport, ModuleError> {
        let now = self.look(cx)?;
        let plan = self.0.plan(&now).map_err(ModuleError::failed)?;
        Ok(self.report(cx, &now, &plan))
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        let now = self.look(cx)?;
        let plan = self.0.plan(&now).map_err(ModuleError::failed)?;
        let report = self.report(cx, &now, &plan);
        let missing_home = self.missing_home(&now);
        if plan.changes() || missing_home.is_some() {
            self.record(cx, &now)?;
        }
        if let Some((program, options)) = &plan.command {
            let mut argv = vec![required(cx, program, SHADOW)?];
            argv.extend(options.iter().cloned());
            argv.extend(["--".to_owned(), self.0.name.clone()]);
            if let Some(failed) = self.run(cx, &argv, None)? {
                return Ok(failed);
            }
        }
        if plan.password {
            let argv = vec![required(cx, "chpasswd", SHADOW)?, "-e".to_owned()];
            let line = format!("{}:{}\n", self.0.name, self.0.password.as_deref().unwrap_or_default());
            if let Some(failed) = self.run(cx, &argv, Some(line))? {
                return Ok(failed);
            }
        }
        if let Some(home) = missing_home {
            let argv = vec![required(cx, "mkhomedir_helper", "libpam-modules or pam")?, self.0.name.clone()];
            if let Some(failed) = self.run(cx, &argv, None)? {
                return Ok(failed.with("home", home.to_string_lossy()));
            }
        }
        self.describe(cx, report)
    }

    fn critical(&self) -> bool {
        true
    }
}

impl UserModule {
    fn look(&self, cx: &Context) -> Result<Now, ModuleError> {
        let user = accounts::user(cx, &self.0.name)?;
        let groups = accounts::groups(cx)?;
        // Only root can read it; for others a password counts as one that differs.
        let shadow = if self.0.password.is_some() { fs_err::read_to_string("/etc/shadow").ok() } else { None };
        let hash = shadow.and_then(|text| {
            let line = text.lines().find(|line| line.split(':').next() == Some(&self.0.name))?.to_owned();
            line.split(':').nth(1).map(str::to_owned)
        });
        Ok(Now { user, groups, hash, foreseen: cx.mode == Mode::Check })
    }

    /// Records the account, and the home where it comes, goes or moves.
    fn record(&self, cx: &mut Context, now: &Now) -> Result<(), ModuleError> {
        let name = &self.0.name;
        cx.undo.user(name)?;
        let current = now.user.as_ref().map(|user| PathBuf::from(&user.home));
        match current {
            Some(home) if self.0.absent() && self.0.remove && home.exists() => {
                cx.undo.tree(&home)?;
                cx.undo.path(&Path::new("/var/mail").join(name))?;
            }
            Some(home) if self.0.move_home && home.exists() => {
                cx.undo.tree(&home)?;
                cx.undo.path(Path::new(self.0.home.as_deref().unwrap_or_default()))?;
            }
            Some(home) if !self.0.absent() && self.0.creates_home() && !home.exists() => cx.undo.path(&home)?,
            None if !self.0.absent() && self.0.creates_home() => {
                let home = self.0.home.as_ref().map_or_else(|| Path::new("/home").join(name), PathBuf::from);
                cx.undo.path(&home)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The home of an existing user that is to have one and has none.
    fn missing_home(&self, now: &Now) -> Option<PathBuf> {
        let user = now.user.as_ref().filter(|_| !self.0.absent() && self.0.creates_home() && !self.0.move_home)?;
        let home = PathBuf::from(self.0.home.as_deref().unwrap_or(&user.home));
        (!home.exists()).then_some(home)
    }

    /// Runs a tool; a refusal is the task's failure, in the tool's words.
    fn run(&self, cx: &Context, argv: &[String], stdin: Option<String>) -> Result<Option<TaskReport>, ModuleError> {
        let mut process = cx.process(argv);
        if let Some(stdin) = stdin {
            process = process.stdin(stdin);
        }
        let finished = process.run()?;
        if finished.success() {
            return Ok(None);
        }
        let mut said = finished.stderr_text().trim().to_owned();
        if finished.rc == LOGGED_IN && self.0.absent() {
            said.push_str("; end its processes first, or set force");
        }
        let report = TaskReport::changed_if(false).with("name", self.0.name.as_str()).with("rc", finished.rc);
        Ok(Some(report.failing(said)))
    }

    fn report(&self, cx: &Context, now: &Now, plan: &Plan) -> TaskReport {
        let missing_home = self.missing_home(now);
        let mut report = TaskReport::changed_if(plan.changes() || missing_home.is_some())
            .with("name", self.0.name.as_str())
            .with("state", if self.0.absent() { "absent" } else { "present" });
        if self.0.absent() {
            if plan.changes() {
                report = report.with("force", self.0.force).with("remove", self.0.remove);
            }
        } else if now.user.is_some() {
            report = report.with("append", self.0.append).with("move_home", self.0.move_home);
        } else {
            report = report.with("system", self.0.system).with("create_home", self.0.creates_home());
        }
        if self.0.password.is_some() && !self.0.absent() {
            report = report.with("password", "NOT_LOGGING_PASSWORD");
        }
        if cx.diff && (plan.changes() || missing_home.is_some()) {
            let lines = |after: bool| {
                let fields =
                    plan.fields.iter().map(|(name, old, new)| format!("{name}: {}\n", if after { new } else { old }));
                let password = plan.password.then(|| format!("password: {}\n", if after { "(new)" } else { "(old)" }));
                let home = missing_home
                    .as_ref()
                    .map(|home| format!("home {}: {}\n", home.display(), if after { "created" } else { "missing" }));
                fields.chain(password).chain(home).collect::<String>()
            };
            report = report.differing(Diff::of_states(format!("user {}", self.0.name), lines(false), lines(true)));
        }
        report
    }

    fn describe(&self, cx: &Context, mut report: TaskReport) -> Result<TaskReport, ModuleError> {
        if self.0.absent() {
            return Ok(report);
        }
        if let Some(user) = accounts::user(cx, &self.0.name)? {
            report = report
                .with("uid", user.uid)
                .with("group", user.gid)
                .with("comment", user.comment)
                .with("home", user.home)
                .with("shell", user.shell);
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Change;
    use serde_json::{Value, json};
    use std::process::Command;

    fn run(mode: Mode, params: Value) -> TaskReport {
        let dir = tempfile::tempdir().unwrap();
        let call = ModuleCall { module: "user".to_owned(), params: params.as_object().unwrap().clone() };
        let module = crate::modules::build(&call).unwrap();
        let mut cx = Context::new(mode, dir.path());
        cx.diff = true;
        match mode {
            Mode::Check => module.check(&cx).unwrap(),
            Mode::Apply => module.apply(&mut cx).unwrap(),
        }
    }

    /// A name of our own; user and group are deleted however the test ends.
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
            for program in ["userdel", "groupdel"] {
                let _gone = Command::new(program).arg(&self.0).output();
            }
        }
    }

    #[test]
    fn a_system_user_is_made_changed_and_deleted_once_each() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let own = Own::new();
        let name = own.0.as_str();
        let wanted = json!({"name": name, "system": true, "shell": "/usr/sbin/nologin", "create_home": false});
        let check = run(Mode::Check, wanted.clone());
        assert_eq!(check.change, Change::Changed);
        assert!(check.diff[0].after.contains("user: present\n"), "{:?}", check.diff);
        assert_eq!(run(Mode::Check, wanted.clone()).change, Change::Changed, "a check changes nothing");
        let made = run(Mode::Apply, wanted.clone());
        assert_eq!((made.change, &made.failed), (Change::Changed, &None));
        assert_eq!(made.data["shell"], "/usr/sbin/nologin");
        assert!(made.data["uid"].as_u64().unwrap() < 1000);
        assert_eq!(run(Mode::Apply, wanted).change, Change::Unchanged);
        let other = json!({"name": name, "comment": "of a test", "create_home": false});
        assert_eq!(run(Mode::Apply, other.clone()).data["comment"], "of a test");
        assert_eq!(run(Mode::Check, other).change, Change::Unchanged);
        let absent = json!({"name": name, "state": "absent"});
        assert_eq!(run(Mode::Apply, absent.clone()).change, Change::Changed);
        assert_eq!(run(Mode::Apply, absent).change, Change::Unchanged);
    }

    #[test]
    fn a_password_goes_in_by_standard_input_and_is_not_set_twice() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let own = Own::new();
        let wanted = json!({"name": own.0, "system": true, "create_home": false, "password": "$6$salt$notahash"});
        let made = run(Mode::Apply, wanted.clone());
        assert_eq!((made.change, &made.failed), (Change::Changed, &None));
        assert!(!format!("{made:?}").contains("notahash"));
        let shadow = fs_err::read_to_string("/etc/shadow").unwrap();
        assert!(shadow.contains(&format!("{}:$6$salt$notahash:", own.0)));
        assert_eq!(run(Mode::Apply, wanted).change, Change::Unchanged);
    }

    #[test]
    fn a_tools_refusal_fails_the_task_with_its_words() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let own = Own::new();
        let report = run(Mode::Apply, json!({"name": own.0, "uid": 0, "create_home": false}));
        assert!(report.failed.unwrap().contains("UID 0 is not unique"));
    }
}

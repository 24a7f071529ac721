//! `userns_bind`: a path of the host that containers bind, opened to the ids that they have under `userns-remap`. Undone, what
//! was there gets back its owner and mode, and nothing else does (S11).

use super::userns::{Asked, failed, mapping, record, whole_range};
use super::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::fault::Changes;
use crate::migrate::bind::{Bind, Book, Given, Policy, Standing};
use crate::migrate::{Mapping, Watch};
use crate::protocol::{Change, Diff, ModuleCall, TaskReport};
use serde::Deserialize;
use std::path::{Path, PathBuf};

pub(super) const SPEC: ModuleSpec = ModuleSpec {
    name: "userns_bind",
    params: &[
        ParamSpec::required("path", ParamKind::Path),
        ParamSpec { choices: &["acl", "chown", "leave"], ..ParamSpec::required("policy", ParamKind::Str) },
        ParamSpec::required("start", ParamKind::Int),
        ParamSpec::optional("gid_start", ParamKind::Int),
        ParamSpec::optional("count", ParamKind::Int),
        ParamSpec::optional("recurse", ParamKind::Bool),
        ParamSpec::optional("allow", ParamKind::List),
    ],
    free_form: None,
    undo: UndoClass::Exact,
    check: CheckClass::Exact,
    require_one_of: &[],
};

/// Never with everything in them, whoever allows it.
const NEVER: [&str; 16] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys",
    "/usr", "/var",
];

/// Nor anything below these.
const NEVER_BELOW: [&str; 8] = ["/bin", "/boot", "/dev", "/lib", "/proc", "/sbin", "/sys", "/usr"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    path: PathBuf,
    policy: Wanted,
    start: u32,
    gid_start: Option<u32>,
    #[serde(default = "whole_range")]
    count: u32,
    #[serde(default)]
    recurse: bool,
    #[serde(default)]
    allow: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    Acl,
    Chown,
    Leave,
}

struct UsernsBind {
    params: Params,
    mapping: Mapping,
}

pub(super) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    let mut params: Params = decode(call)?;
    let mapping = mapping(call, params.start, params.gid_start, params.count)?;
    params.path = params.path.components().collect();
    if params.recurse && !params.allow.iter().any(|allowed| allowed.components().eq(params.path.components())) {
        let what = "needs the path itself in `allow`: everything in it would get other owners";
        return Err(ParamError::new(&call.module, "recurse", what));
    }
    Ok(Box::new(UsernsBind { params, mapping }))
}

impl Module for UsernsBind {
    fn check(&self, cx: &Context) -> Result<TaskReport, ModuleError> {
        let Some((path, policy)) = self.wanted()? else { return Ok(TaskReport::new(Change::Unchanged)) };
        let record = record(cx, "bind", &path);
        if record.exists() && Book::open(&record).map_err(failed)?.standing() == Standing::Given {
            return Ok(self.report(Change::Unchanged, &Given::default()));
        }
        let watch = Asked { control: &cx.control, changes: Changes::default() };
        let given = self.bind(&path, policy, &watch)?.look().map_err(|error| watch.failed(SPEC.name, error))?;
        let change = if given.changed == 0 { Change::Unchanged } else { Change::Changed };
        let mut report = self.report(change, &given);
        if cx.diff && given.changed > 0 {
            let after = format!("{} of {} inodes open to the mapped ids", given.changed, given.inodes);
            report = report.differing(Diff::of_states(path.display().to_string(), "as it is".to_owned(), after));
        }
        Ok(report)
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        let Some((path, policy)) = self.wanted()? else { return Ok(TaskReport::new(Change::Unchanged)) };
        let record = record(cx, "bind", &path);
        if let Some(directory) = record.parent() {
            fs_err::create_dir_all(directory)?;
        }
        let watch = Asked { control: &cx.control, changes: Changes::of(&cx.state_dir) };
        let bind = self.bind(&path, policy, &watch)?;
        let mut book = Book::open(&record).map_err(failed)?;
        let failed = |error| watch.failed(SPEC.name, error);
        // What forbids it is said before anything is written down.
        let nothing = book.standing() == Standing::AsItWas && bind.look().map_err(failed)?.changed == 0;
        if book.standing() == Standing::Given || nothing {
            return Ok(self.report(Change::Unchanged, &Given::default()));
        }
        cx.undo.bound(&path, &record)?;
        let given = bind.give(&mut book).map_err(failed)?;
        Ok(self.report(Change::Changed, &given))
    }
}

impl UsernsBind {
    /// The path and what to do with it; none to leave it.
    fn wanted(&self) -> Result<Option<(PathBuf, Policy)>, ModuleError> {
        let policy = match self.params.policy {
            Wanted::Acl => Policy::Acl,
            Wanted::Chown => Policy::Chown,
            Wanted::Leave => return Ok(None),
        };
        let path = crate::files::resolve(&self.params.path)?;
        let whole = NEVER.iter().any(|never| path == Path::new(never));
        let below = NEVER_BELOW.iter().any(|never| path.starts_with(never));
        if whole || below || self.params.recurse && path != self.params.path {
            return Err(ModuleError::failed(format!(
                "{} is not given to containers: name a directory of theirs by its own path",
                path.display()
            )));
        }
        Ok(Some((path, policy)))
    }

    fn bind<'a>(&self, path: &Path, policy: Policy, watch: &'a dyn Watch) -> Result<Bind<'a>, ModuleError> {
        Bind::new(path, self.mapping, policy, self.params.recurse, watch).map_err(failed)
    }

    fn report(&self, change: Change, given: &Given) -> TaskReport {
        TaskReport::new(change)
            .with("path", self.params.path.display().to_string())
            .with("inodes", given.inodes)
            .with("changed_inodes", given.changed)
    }
}

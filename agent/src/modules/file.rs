//! `file`: what a path is, and its mode and owner. States and rules are those of ansible-core's `file.py`.

use super::file_link::Linking;
use super::ownership::{Asked, GROUP, MODE, OWNER, attribute_diff, new_mode, state_name, with_path_info};
use super::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::files::{Final, Kind, PathState, Staged, fingerprint, open_parent, remove_tree, resolve};
use crate::protocol::{Change, Diff, Mode, ModuleCall, TaskReport};
use serde::Deserialize;
use std::path::{Path, PathBuf};

pub(super) const SPEC: ModuleSpec = ModuleSpec {
    name: "file",
    params: &[
        ParamSpec { aliases: &["dest", "name"], ..ParamSpec::required("path", ParamKind::Path) },
        ParamSpec {
            choices: &["absent", "directory", "file", "hard", "link", "touch"],
            ..ParamSpec::optional("state", ParamKind::Str)
        },
        ParamSpec::optional("src", ParamKind::Str),
        ParamSpec::optional("recurse", ParamKind::Bool),
        ParamSpec::optional("force", ParamKind::Bool),
        ParamSpec::optional("follow", ParamKind::Bool),
        ParamSpec { choices: &["preserve", "now"], ..ParamSpec::optional("modification_time", ParamKind::Str) },
        ParamSpec { choices: &["preserve", "now"], ..ParamSpec::optional("access_time", ParamKind::Str) },
        MODE,
        OWNER,
        GROUP,
    ],
    free_form: None,
    undo: UndoClass::Exact,
    check: CheckClass::Exact,
    require_one_of: &[],
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    pub(super) path: PathBuf,
    state: Option<String>,
    pub(super) src: Option<String>,
    #[serde(default)]
    recurse: bool,
    #[serde(default)]
    pub(super) force: bool,
    follow: Option<bool>,
    modification_time: Option<String>,
    access_time: Option<String>,
    mode: Option<String>,
    owner: Option<String>,
    group: Option<String>,
}

impl Params {
    /// Whether a link's target is meant, and not the link.
    pub(super) fn follows(&self) -> bool {
        self.follow.unwrap_or(true)
    }
}

struct File(Params);

pub(super) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    let mut params: Params = decode(call)?;
    let state = params.state.as_deref();
    if params.recurse && !matches!(state, Some("directory") | None) {
        return Err(ParamError::new("file", "recurse", "requires state to be directory"));
    }
    if params.src.is_some() && !matches!(state, Some("link" | "hard")) {
        return Err(ParamError::new("file", "src", "requires state to be link or hard"));
    }
    // `path: /a/` and `path: /a` are the same.
    params.path = params.path.components().collect();
    if params.path.parent().is_none() {
        return Err(ParamError::new("file", "path", "must not be the root directory"));
    }
    Ok(Box::new(File(params)))
}

/// What is to be done, found by looking; nothing has been changed yet.
pub(super) struct Plan {
    /// The path that is changed: a link's target, where links are followed.
    pub(super) path: PathBuf,
    pub(super) now: PathState,
    pub(super) wanted: Wanted,
}

/// What a path is to become.
pub(super) enum Wanted {
    /// Owner and mode only, of the path and of these below it.
    Attributes(Vec<(PathBuf, PathState)>),
    /// These directories, outermost first.
    Directories(Vec<PathBuf>),
    /// An empty file.
    Empty,
    /// New times only.
    Times,
    /// Nothing there.
    Absent,
    /// A link or a hard link.
    Link(Linking),
    /// Nothing to do.
    Nothing,
}

impl File {
    fn state(&self, now: &PathState) -> &str {
        match &self.0.state {
            Some(state) => state,
            None if now.kind != Kind::Absent => state_name(now.kind),
            None if self.0.recurse => "directory",
            None => "file",
        }
    }

    fn plan(&self) -> Result<Plan, ModuleError> {
        let (mut path, mut now) = (self.0.path.clone(), fingerprint(&self.0.path)?);
        let state = self.state(&now).to_owned();
        let is_link = now.kind == Kind::Link;
        if is_link && self.0.follows() && matches!(state.as_str(), "file" | "directory" | "touch") {
            path = resolve(&path)?;
            now = fingerprint(&path)?;
        }
        let wanted = match (state.as_str(), now.kind) {
            ("absent", Kind::Absent) => Wanted::Nothing,
            ("absent", _) => Wanted::Absent,
            ("directory", Kind::Absent) => Wanted::Directories(missing(&path)),
            ("directory", Kind::Directory) if self.0.recurse => Wanted::Attributes(below(&path)?),
            ("directory", Kind::Directory) | ("file", Kind::File | Kind::Other) => Wanted::Attributes(Vec::new()),
            ("directory", kind) => {
                return Err(failed(&path, &format!("already exists as a {}", state_name(kind))));
            }
            ("touch", Kind::Absent) => Wanted::Empty,
            ("touch", _) => Wanted::Times,
            ("link" | "hard", _) => return super::file_link::plan(&self.0, &state, path, now),
            (_, kind) => {
                return Err(failed(
                    &path,
                    &format!(
                        "is {}, cannot continue: state `file` makes no file, `touch` and the module copy do",
                        state_name(kind)
                    ),
                ));
            }
        };
        Ok(Plan { path, now, wanted })
    }

    fn asked(&self, cx: &Context) -> Result<Asked, ModuleError> {
        let params = &self.0;
        Asked::resolve(&SPEC, params.owner.as_deref(), params.group.as_deref(), params.mode.as_deref(), cx)
    }

    fn preserves_times(&self) -> bool {
        let preserved = |time: &Option<String>| time.as_deref() == Some("preserve");
        preserved(&self.0.modification_time) && preserved(&self.0.access_time)
    }

    fn report(&self, plan: &Plan, changed: bool) -> TaskReport {
        let key = if matches!(plan.wanted, Wanted::Link(_) | Wanted::Empty | Wanted::Times) { "dest" } else { "path" };
        let report = TaskReport::new(if changed { Change::Changed } else { Change::Unchanged });
        let report = report.with(key, plan.path.display().to_string());
        match &self.0.src {
            Some(src) => report.with("src", src.clone()),
            None => report,
        }
    }

    fn would_change(&self, plan: &Plan, asked: &Asked) -> bool {
        match &plan.wanted {
            Wanted::Nothing => false,
            Wanted::Attributes(below) => asked.differs(&plan.now) || below.iter().any(|(_, now)| asked.differs(now)),
            Wanted::Times => !self.preserves_times() || asked.differs(&plan.now),
            Wanted::Link(linking) => linking.changes || asked.differs(&linking.target),
            Wanted::Directories(_) | Wanted::Empty | Wanted::Absent => true,
        }
    }

    fn diff(plan: &Plan, asked: &Asked) -> Vec<Diff> {
        let made = |kind, mode| PathState { kind, mode, ..PathState::absent() };
        let one = |path: &Path, now: &PathState, after: &PathState| attribute_diff(path, now, &asked.applied_to(after));
        match &plan.wanted {
            Wanted::Nothing => Vec::new(),
            Wanted::Absent => attribute_diff(&plan.path, &plan.now, &PathState::absent()).into_iter().collect(),
            Wanted::Attributes(below) => std::iter::once((&plan.path, &plan.now))
                .chain(below.iter().map(|(path, now)| (path, now)))
                .filter_map(|(path, now)| one(path, now, now))
                .collect(),
            Wanted::Directories(paths) => paths
                .iter()
                .filter_map(|path| one(path, &PathState::absent(), &made(Kind::Directory, new_mode(true))))
                .collect(),
            Wanted::Empty => one(&plan.path, &plan.now, &made(Kind::File, new_mode(false))).into_iter().collect(),
            Wanted::Times => one(&plan.path, &plan.now, &plan.now).into_iter().collect(),
            Wanted::Link(linking) => linking.diff(&plan.path, &plan.now),
        }
    }

    fn change(&self, plan: &Plan, asked: &Asked, cx: &mut Context) -> Result<(), ModuleError> {
        match &plan.wanted {
            Wanted::Nothing => {}
            Wanted::Absent => {
                cx.undo.tree(&plan.path)?;
                remove_tree(&open_parent(&plan.path)?)?;
            }
            Wanted::Attributes(below) => {
                asked.apply(&plan.path, &plan.now, cx)?;
                for (path, now) in below {
                    asked.apply(path, now, cx)?;
                }
            }
            Wanted::Directories(paths) => {
                for path in paths {
                    cx.undo.path(path)?;
                    open_parent(path)?.make_dir(new_mode(true))?;
                    asked.set(path, &fingerprint(path)?)?;
                }
            }
            Wanted::Empty => {
                cx.undo.replacing(&plan.path, &crate::files::digest(b""))?;
                let last = Final { mode: new_mode(false), uid: None, gid: None, xattrs: None };
                Staged::create(&plan.path)?.commit(&last)?;
                asked.set(&plan.path, &fingerprint(&plan.path)?)?;
            }
            Wanted::Times => {
                asked.apply(&plan.path, &plan.now, cx)?;
                if !self.preserves_times() {
                    super::file_link::touch(&plan.path)?;
                }
            }
            Wanted::Link(linking) => linking.apply(&plan.path, asked, cx)?,
        }
        Ok(())
    }
}

impl Module for File {
    fn check(&self, cx: &Context) -> Result<TaskReport, ModuleError> {
        let (plan, asked) = (self.plan()?, self.asked(cx)?);
        let mut report = self.report(&plan, self.would_change(&plan, &asked));
        if cx.diff {
            report.diff = Self::diff(&plan, &asked);
        }
        report.warnings = asked.missing;
        Ok(report)
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        let (plan, asked) = (self.plan()?, self.asked(cx)?);
        let changed = self.would_change(&plan, &asked);
        let diff = if cx.diff { Self::diff(&plan, &asked) } else { Vec::new() };
        if changed {
            self.change(&plan, &asked, cx)?;
        }
        let after = fingerprint(&plan.path)?;
        let mut report = with_path_info(self.report(&plan, changed), &after);
        if after.kind == Kind::Absent {
            report = report.with("state", "absent");
        }
        report.diff = diff;
        debug_assert_eq!(cx.mode, Mode::Apply);
        Ok(report)
    }

    fn critical(&self) -> bool {
        true
    }
}

pub(super) fn failed(path: &Path, what: &str) -> ModuleError {
    ModuleError::failed(format!("{} {what}", path.display()))
}

/// A directory and those above it that are not there, outermost first.
fn missing(path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> =
        path.ancestors().take_while(|path| path.symlink_metadata().is_err()).map(Path::to_owned).collect();
    missing.reverse();
    missing
}

/// Everything below a directory, links not followed.
fn below(root: &Path) -> Result<Vec<(PathBuf, PathState)>, ModuleError> {
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs_err::read_dir(&directory)? {
            let path = entry?.path();
            let state = fingerprint(&path)?;
            if state.kind == Kind::Directory {
                left.push(path.clone());
            }
            found.push((path, state));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

//! `lineinfile`: one line of a file. The rules are those of ansible-core's `lineinfile.py`.

use super::line_edit::{Edit, Edited, Pattern, Place, edit_absent, edit_present};
use super::ownership::{Asked, GROUP, MODE, OWNER, new_mode};
use super::place::{Placement, Source, placed_report};
use super::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::files::{Kind, PathState, fingerprint, open_parent, read_file, resolve};
use crate::protocol::{Change, ModuleCall, TaskReport};
use serde::Deserialize;
use std::path::{Path, PathBuf};

pub(super) const SPEC: ModuleSpec = ModuleSpec {
    name: "lineinfile",
    params: &[
        ParamSpec { aliases: &["dest", "destfile", "name"], ..ParamSpec::required("path", ParamKind::Path) },
        ParamSpec { choices: &["present", "absent"], ..ParamSpec::optional("state", ParamKind::Str) },
        ParamSpec { aliases: &["regex"], ..ParamSpec::optional("regexp", ParamKind::Str) },
        ParamSpec::optional("search_string", ParamKind::Str),
        ParamSpec { aliases: &["value"], ..ParamSpec::optional("line", ParamKind::Str) },
        ParamSpec::optional("insertafter", ParamKind::Str),
        ParamSpec::optional("insertbefore", ParamKind::Str),
        ParamSpec::optional("backrefs", ParamKind::Bool),
        ParamSpec::optional("create", ParamKind::Bool),
        ParamSpec::optional("backup", ParamKind::Bool),
        ParamSpec::optional("firstmatch", ParamKind::Bool),
        ParamSpec::optional("validate", ParamKind::Str),
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
struct Params {
    path: PathBuf,
    state: Option<String>,
    regexp: Option<String>,
    search_string: Option<String>,
    line: Option<String>,
    insertafter: Option<String>,
    insertbefore: Option<String>,
    #[serde(default)]
    backrefs: bool,
    #[serde(default)]
    create: bool,
    #[serde(default)]
    backup: bool,
    #[serde(default)]
    firstmatch: bool,
    validate: Option<String>,
    mode: Option<String>,
    owner: Option<String>,
    group: Option<String>,
}

struct LineInFile {
    params: Params,
    edit: Edit,
}

pub(super) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    let params: Params = decode(call)?;
    let both = |a: bool, b: bool, names: &str| {
        if a && b { Err(ParamError::call("lineinfile", format!("{names} exclude each other"))) } else { Ok(()) }
    };
    both(params.insertafter.is_some(), params.insertbefore.is_some(), "`insertafter` and `insertbefore`")?;
    both(params.regexp.is_some(), params.search_string.is_some(), "`regexp` and `search_string`")?;
    both(params.backrefs, params.search_string.is_some(), "`backrefs` and `search_string`")?;
    let present = params.state.as_deref() != Some("absent");
    if present && params.line.is_none() {
        return Err(ParamError::new("lineinfile", "line", "is required with state=present"));
    }
    if present && params.backrefs && params.regexp.is_none() {
        return Err(ParamError::new("lineinfile", "regexp", "is required with backrefs=true"));
    }
    if !present && params.regexp.is_none() && params.search_string.is_none() && params.line.is_none() {
        let reason = "one of line, search_string, or regexp is required with state=absent";
        return Err(ParamError::call("lineinfile", reason));
    }
    if params.validate.as_ref().is_some_and(|command| !command.contains("%s")) {
        return Err(ParamError::new("lineinfile", "validate", "must contain %s, which stands for the new file"));
    }
    let edit = edit(&params)?;
    Ok(Box::new(LineInFile { params, edit }))
}

fn edit(params: &Params) -> Result<Edit, ParamError> {
    let pattern = |name: &str, text: &str| {
        let failed = |reason| ParamError::new("lineinfile", name, format!("is no regular expression: {reason}"));
        Pattern::new(text).map_err(failed)
    };
    let place = match (params.insertafter.as_deref(), params.insertbefore.as_deref()) {
        (None | Some("EOF"), None) => Place::End,
        (Some("BOF"), _) | (_, Some("BOF")) => Place::Beginning,
        (Some(text), _) => Place::After(pattern("insertafter", text)?),
        (None, Some(text)) => Place::Before(pattern("insertbefore", text)?),
    };
    Ok(Edit {
        line: params.line.clone().unwrap_or_default().into_bytes(),
        regexp: params.regexp.as_deref().map(|text| pattern("regexp", text)).transpose()?,
        search: params.search_string.clone().map(String::into_bytes),
        place,
        backrefs: params.backrefs,
        first: params.firstmatch,
    })
}

/// The file as it is and as it is to be.
struct Found {
    path: PathBuf,
    now: PathState,
    edited: Edited,
    directories: Vec<PathBuf>,
}

impl LineInFile {
    fn is_present(&self) -> bool {
        self.params.state.as_deref() != Some("absent")
    }

    /// None: `state: absent` where there is no file.
    fn find(&self) -> Result<Option<Found>, ModuleError> {
        // The file behind a link is edited, as in Ansible.
        let path = resolve(&self.params.path)?;
        let now = fingerprint(&path)?;
        match now.kind {
            Kind::File => {}
            Kind::Directory => return Err(failed(&path, "is a directory !")),
            Kind::Absent if !self.is_present() => return Ok(None),
            Kind::Absent if self.params.create => {}
            Kind::Absent => return Err(failed(&path, "does not exist !")),
            Kind::Link | Kind::Other => return Err(failed(&path, "is no file")),
        }
        let text = if now.kind == Kind::File { read_file(&path)? } else { Vec::new() };
        let edited = if self.is_present() { edit_present(&text, &self.edit) } else { edit_absent(&text, &self.edit) };
        let directories = path.parent().map(missing).unwrap_or_default();
        Ok(Some(Found { path, now, edited, directories }))
    }

    fn asked(&self, cx: &Context) -> Result<Asked, ModuleError> {
        let params = &self.params;
        Asked::resolve(&SPEC, params.owner.as_deref(), params.group.as_deref(), params.mode.as_deref(), cx)
    }

    fn placement<'a>(&'a self, found: &'a Found, asked: &'a Asked) -> Placement<'a> {
        Placement {
            path: &found.path,
            now: &found.now,
            source: Source::Bytes(found.edited.text.clone()),
            asked,
            new_mode: None,
            shared: true,
            backup: self.params.backup,
            validate: self.params.validate.as_deref(),
            validator: None,
        }
    }

    fn dress(&self, report: TaskReport, found: &Found, attributes: bool) -> TaskReport {
        let mut message = found.edited.message.clone();
        if attributes {
            message.push_str(if message.is_empty() { "" } else { " and " });
            message.push_str("ownership, perms or SE linux context changed");
        }
        let report = report.with("msg", message);
        let mut report = match found.edited.removed {
            Some(removed) => report.with("found", removed),
            None => report,
        };
        for (name, text) in [("regular expression", &self.params.regexp), ("search string", &self.params.search_string)]
        {
            if text.as_deref() == Some("") {
                report
                    .warnings
                    .push(format!("The {name} is an empty string, which will match every line in the file."));
            }
        }
        report
    }
}

impl Module for LineInFile {
    fn check(&self, cx: &Context) -> Result<TaskReport, ModuleError> {
        let Some(found) = self.find()? else { return Ok(not_present()) };
        let asked = self.asked(cx)?;
        if found.now.kind == Kind::Absent && !found.edited.changed {
            // `backrefs` without a match makes no file.
            return Ok(self.dress(TaskReport::new(Change::Unchanged), &found, false));
        }
        let report = self.placement(&found, &asked).check(cx)?;
        Ok(self.dress(report, &found, asked.differs(&found.now)))
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        let Some(found) = self.find()? else { return Ok(not_present()) };
        let asked = self.asked(cx)?;
        if found.now.kind == Kind::Absent && !found.edited.changed {
            return Ok(self.dress(TaskReport::new(Change::Unchanged), &found, false));
        }
        for directory in &found.directories {
            cx.undo.path(directory)?;
            open_parent(directory)?.make_dir(new_mode(true))?;
        }
        let placement = self.placement(&found, &asked);
        let diff = if cx.diff { placement.diff()? } else { Vec::new() };
        let placed = placement.apply(cx)?;
        let mut report = placed_report(&found.path, &placed, "backup")?;
        if placed.backup.is_none() {
            report = report.with("backup", "");
        }
        report.diff = diff;
        Ok(self.dress(report, &found, asked.differs(&found.now)))
    }

    fn critical(&self) -> bool {
        true
    }
}

fn not_present() -> TaskReport {
    TaskReport::new(Change::Unchanged).with("msg", "file not present")
}

fn failed(path: &Path, what: &str) -> ModuleError {
    ModuleError::failed(format!("Destination {} {what}", path.display()))
}

fn missing(path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> = path.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect();
    missing.reverse();
    missing
}

//! `copy`: content from the controller, a staged file or a file of the host, at a path. `template` arrives here as
//! rendered content. Beside Ansible's parameters: `merge: lines` and `validator`.

use super::merge_lines::merge_lines;
use super::ownership::{Asked, GROUP, MODE, OWNER, new_mode};
use super::place::{Placement, Source, placed_report};
use super::validators::VALIDATORS;
use super::{
    CheckClass, Context, ModeChange, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass,
    decode,
};
use crate::files::{Kind, PathState, fingerprint, open_parent, read_file, resolve};
use crate::protocol::{Change, ModuleCall, TaskReport};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use sha1::{Digest, Sha1};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(super) const SPEC: ModuleSpec = ModuleSpec {
    name: "copy",
    params: &[
        ParamSpec::required("dest", ParamKind::Path),
        ParamSpec::optional("content", ParamKind::Any),
        ParamSpec::optional("content_b64", ParamKind::Str),
        ParamSpec::optional("src", ParamKind::Path),
        ParamSpec::optional("remote_src", ParamKind::Bool),
        ParamSpec::optional("backup", ParamKind::Bool),
        ParamSpec::optional("force", ParamKind::Bool),
        ParamSpec::optional("follow", ParamKind::Bool),
        ParamSpec::optional("validate", ParamKind::Str),
        ParamSpec { choices: VALIDATORS, ..ParamSpec::optional("validator", ParamKind::Str) },
        ParamSpec { choices: &["lines"], ..ParamSpec::optional("merge", ParamKind::Str) },
        ParamSpec::optional("checksum", ParamKind::Str),
        ParamSpec::optional("directory_mode", ParamKind::Mode),
        ParamSpec::optional("_original_basename", ParamKind::Str),
        MODE,
        OWNER,
        GROUP,
    ],
    free_form: None,
    undo: UndoClass::Exact,
    check: CheckClass::Exact,
    require_one_of: &[&["content", "content_b64", "src"]],
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    dest: String,
    content: Option<Value>,
    content_b64: Option<String>,
    src: Option<PathBuf>,
    remote_src: Option<bool>,
    #[serde(default)]
    backup: bool,
    force: Option<bool>,
    #[serde(default)]
    follow: bool,
    validate: Option<String>,
    validator: Option<String>,
    merge: Option<String>,
    checksum: Option<String>,
    directory_mode: Option<String>,
    #[serde(rename = "_original_basename")]
    original_basename: Option<String>,
    mode: Option<String>,
    owner: Option<String>,
    group: Option<String>,
}

struct Copy(Params);

pub(super) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    let params: Params = decode(call)?;
    let sources = [params.content.is_some(), params.content_b64.is_some(), params.src.is_some()];
    if sources.iter().filter(|given| **given).count() > 1 {
        return Err(ParamError::call("copy", "`content`, `content_b64` and `src` exclude each other"));
    }
    if params.src.is_some() && params.remote_src != Some(true) {
        let reason =
            "names a file of the host only with `remote_src: true`; the controller sends its own files as content";
        return Err(ParamError::new("copy", "src", reason));
    }
    if params.validate.as_ref().is_some_and(|command| !command.contains("%s")) {
        return Err(ParamError::new("copy", "validate", "must contain %s, which stands for the new file"));
    }
    Ok(Box::new(Copy(params)))
}

/// Where the content goes, and what is there.
struct Destination {
    path: PathBuf,
    now: PathState,
    /// Directories to make first, outermost first.
    directories: Vec<PathBuf>,
}

impl Copy {
    fn source(&self, cx: &Context) -> Result<Source, ModuleError> {
        let params = &self.0;
        if let Some(text) = &params.content_b64 {
            let bytes = STANDARD.decode(text).map_err(|_| ParamError::new("copy", "content_b64", "is no base64"))?;
            return Ok(Source::Bytes(bytes));
        }
        if let Some(path) = &params.src {
            let path = path.as_path();
            if !path.exists() {
                return Err(ModuleError::failed(format!("Source {} not found", path.display())));
            }
            if !path.is_file() {
                let sentence =
                    format!("Cannot copy {}: it is no file, and directories are not built yet", path.display());
                return Err(ModuleError::failed(sentence));
            }
            return Source::file(path);
        }
        Ok(match &params.content {
            Some(Value::String(text)) => Source::Bytes(text.clone().into_bytes()),
            Some(Value::Object(map)) if map.len() == 2 && map.contains_key("blob") && map.contains_key("size") => {
                Source::file(&cx.blob(map.get("blob").and_then(Value::as_str).unwrap_or_default())?)?
            }
            // A structure becomes JSON, as in Ansible.
            Some(value) => Source::Bytes(value.to_string().into_bytes()),
            None => Source::Bytes(Vec::new()),
        })
    }

    fn destination(&self) -> Result<Destination, ModuleError> {
        let params = &self.0;
        let mut path = PathBuf::from(params.dest.trim_end_matches('/'));
        let name = params.original_basename.clone().or_else(|| {
            params.src.as_ref().and_then(|src| src.file_name()).map(|name| name.to_string_lossy().into_owned())
        });
        if params.dest.ends_with('/') || path.is_dir() {
            let Some(name) = name else {
                let path = path.display();
                return Err(ModuleError::failed(format!(
                    "dest {path} is a directory, and the content has no file name"
                )));
            };
            path.push(name);
        }
        if params.follow && path.is_symlink() {
            path = resolve(&path)?;
        }
        let directories = match (path.parent(), params.dest.ends_with('/')) {
            (Some(parent), true) => missing_directories(parent),
            (Some(parent), false) if !parent.is_dir() => {
                return Err(ModuleError::failed(format!("Destination directory {} does not exist", parent.display())));
            }
            _ => Vec::new(),
        };
        let now = fingerprint(&path)?;
        if matches!(now.kind, Kind::Directory | Kind::Other) {
            return Err(ModuleError::failed(format!("dest {} is there already and no file", path.display())));
        }
        Ok(Destination { path, now, directories })
    }

    /// The content that goes there, merged into what is there where that is asked for.
    fn content(&self, source: Source, to: &Destination) -> Result<Source, ModuleError> {
        if self.0.merge.is_none() {
            return Ok(source);
        }
        let now = if to.now.kind == Kind::File { read_file(&to.path)? } else { Vec::new() };
        Ok(Source::Bytes(merge_lines(&now, &source.bytes()?)))
    }

    fn asked(&self, cx: &Context) -> Result<Asked, ModuleError> {
        let params = &self.0;
        let mut asked =
            Asked::resolve(&SPEC, params.owner.as_deref(), params.group.as_deref(), params.mode.as_deref(), cx)?;
        if let (Some(ModeChange::Preserve), Some(src)) = (&asked.attributes.mode, &params.src) {
            asked.attributes.mode = Some(ModeChange::Set(mode_of(src)?));
        }
        Ok(asked)
    }

    fn placement<'a>(
        &'a self,
        to: &'a Destination,
        source: Source,
        asked: &'a Asked,
    ) -> Result<Placement<'a>, ModuleError> {
        let params = &self.0;
        Ok(Placement {
            path: &to.path,
            now: &to.now,
            source: self.content(source, to)?,
            asked,
            new_mode: params.src.as_deref().map(mode_of).transpose()?,
            shared: params.merge.is_some(),
            backup: params.backup,
            validate: params.validate.as_deref(),
            validator: params.validator.as_deref(),
        })
    }

    fn verify_checksum(&self, source: &Source) -> Result<String, ModuleError> {
        let found = match source {
            Source::Bytes(bytes) => crate::files::hex(&Sha1::digest(bytes)),
            Source::File { path, .. } => sha1_of(path)?,
        };
        match &self.0.checksum {
            Some(wanted) if *wanted != found => Err(ModuleError::failed(format!(
                "Copied file does not match the expected checksum {wanted}: it has {found}"
            ))),
            _ => Ok(found),
        }
    }

    fn keeps(&self, to: &Destination) -> bool {
        self.0.force == Some(false) && to.now.kind != Kind::Absent
    }

    fn make_directories(&self, to: &Destination, cx: &mut Context) -> Result<(), ModuleError> {
        let asked = Asked::resolve(
            &SPEC,
            self.0.owner.as_deref(),
            self.0.group.as_deref(),
            self.0.directory_mode.as_deref(),
            cx,
        )?;
        for directory in &to.directories {
            cx.undo.path(directory)?;
            open_parent(directory)?.make_dir(new_mode(true))?;
            asked.set(directory, &fingerprint(directory)?)?;
        }
        Ok(())
    }
}

impl Module for Copy {
    fn check(&self, cx: &Context) -> Result<TaskReport, ModuleError> {
        let source = self.source(cx)?;
        let checksum = self.verify_checksum(&source)?;
        let to = self.destination()?;
        let dest = to.path.display().to_string();
        if self.keeps(&to) {
            return Ok(TaskReport::new(Change::Unchanged).with("dest", dest).with("msg", "file already exists"));
        }
        let asked = self.asked(cx)?;
        let report = self.placement(&to, source, &asked)?.check(cx)?;
        Ok(report.with("dest", dest).with("checksum", checksum))
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        let source = self.source(cx)?;
        let checksum = self.verify_checksum(&source)?;
        let to = self.destination()?;
        let dest = to.path.display().to_string();
        if self.keeps(&to) {
            return Ok(TaskReport::new(Change::Unchanged).with("dest", dest).with("msg", "file already exists"));
        }
        let asked = self.asked(cx)?;
        self.make_directories(&to, cx)?;
        let placement = self.placement(&to, source, &asked)?;
        let diff = if cx.diff { placement.diff()? } else { Vec::new() };
        let placed = placement.apply(cx)?;
        let mut report = placed_report(&to.path, &placed, "backup_file")?.with("dest", dest).with("checksum", checksum);
        if let Some(src) = &self.0.src {
            report = report.with("src", src.display().to_string());
        }
        report.diff = diff;
        Ok(report)
    }

    /// A write and its rename are never cut (R2); they are short.
    fn critical(&self) -> bool {
        true
    }
}

/// The directories above a path that are not there, outermost first.
fn missing_directories(path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> = path.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect();
    missing.reverse();
    missing
}

fn mode_of(path: &Path) -> Result<u32, ModuleError> {
    Ok(fs_err::metadata(path)?.permissions().mode() & 0o7777)
}

fn sha1_of(path: &Path) -> Result<String, ModuleError> {
    let mut file = fs_err::File::open(path)?;
    let mut hasher = Sha1::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(crate::files::hex(&hasher.finalize()));
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
    }
}

//! `file` with state link, hard and touch.

use super::file::{Params, Plan, Wanted, failed};
use super::ownership::{Asked, attribute_diff};
use super::{Context, ModuleError, ParamError};
use crate::files::{Kind, PathState, fingerprint, open_parent, resolve};
use crate::protocol::Diff;
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, linkat, renameat, unlinkat, utimensat};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A link to make, or its target's attributes to change.
pub(super) struct Linking {
    hard: bool,
    /// Where it points.
    src: PathBuf,
    /// The link itself is made anew.
    pub(super) changes: bool,
    /// The file that mode and owner are for, and its state: the target where links are followed and it is there.
    subject: Option<PathBuf>,
    pub(super) target: PathState,
}

/// What `state: link` or `state: hard` comes to.
pub(super) fn plan(params: &Params, state: &str, path: PathBuf, now: PathState) -> Result<Plan, ModuleError> {
    let linking = if state == "hard" { hard(params, &path, &now)? } else { soft(params, &path, &now)? };
    Ok(Plan { path, now, wanted: Wanted::Link(linking) })
}

fn soft(params: &Params, path: &Path, now: &PathState) -> Result<Linking, ModuleError> {
    let src = match (&params.src, now.kind) {
        (Some(src), _) => src.clone(),
        (None, Kind::Link) => now.target.clone().unwrap_or_default(),
        (None, _) => return Err(ParamError::new("file", "src", "is required for creating new symlinks").into()),
    };
    let absolute = path.parent().unwrap_or(Path::new("/")).join(&src);
    if !params.force && params.src.is_some() && !absolute.exists() {
        let what = format!(
            "src file does not exist, use 'force: true' if you really want to create the link: {}",
            absolute.display()
        );
        return Err(ModuleError::failed(what));
    }
    match now.kind {
        Kind::Directory if !params.force => {
            return Err(failed(path, "is a directory: refusing to convert it to a link"));
        }
        Kind::Directory if fs_err::read_dir(path)?.next().is_some() => {
            return Err(failed(path, "is a directory that is not empty: refusing to convert it to a link"));
        }
        Kind::File | Kind::Other if !params.force => {
            return Err(failed(path, "is a file: refusing to convert it to a link without force"));
        }
        _ => {}
    }
    let changes = now.kind != Kind::Link || now.target.as_deref() != Some(&src);
    let followed = params.follows().then(|| resolve(&absolute)).transpose()?.filter(|target| target.exists());
    let target = followed.as_deref().map_or(Ok(PathState::absent()), fingerprint)?;
    Ok(Linking { hard: false, src: PathBuf::from(src), changes, subject: followed, target })
}

fn hard(params: &Params, path: &Path, now: &PathState) -> Result<Linking, ModuleError> {
    let src = params.src.as_ref().ok_or_else(|| ParamError::new("file", "src", "is required for hard links"))?;
    let src = PathBuf::from(src);
    if !src.is_absolute() {
        return Err(ParamError::new("file", "src", "must be an absolute path for a hard link").into());
    }
    if !src.exists() {
        return Err(failed(&src, "does not exist, so no hard link can be made to it"));
    }
    let same = now.kind == Kind::File && {
        let (ours, theirs) = (fs_err::symlink_metadata(path)?, fs_err::metadata(&src)?);
        (ours.ino(), ours.dev()) == (theirs.ino(), theirs.dev())
    };
    if !same && !matches!(now.kind, Kind::Absent | Kind::Link) && !params.force {
        return Err(failed(path, "exists and is not that hard link; use force to replace it"));
    }
    let target = fingerprint(&src)?;
    Ok(Linking { hard: true, subject: Some(src.clone()), src, changes: !same, target })
}

impl Linking {
    pub(super) fn diff(&self, path: &Path, now: &PathState) -> Vec<Diff> {
        if !self.changes {
            return Vec::new();
        }
        let kind = if self.hard { Kind::File } else { Kind::Link };
        let target = Some(self.src.display().to_string());
        let after = PathState { kind, target, mode: 0, uid: now.uid, gid: now.gid, ..PathState::absent() };
        let mut diffs: Vec<Diff> = attribute_diff(path, now, &after).into_iter().collect();
        if diffs.is_empty() {
            let before = now.target.clone().unwrap_or_default();
            diffs.push(Diff::of_states(path.display().to_string(), before, self.src.display().to_string()));
        }
        diffs
    }

    pub(super) fn apply(&self, path: &Path, asked: &Asked, cx: &mut Context) -> Result<(), ModuleError> {
        if self.changes {
            cx.undo.path(path)?;
            let parent = open_parent(path)?;
            if fingerprint(path)?.kind == Kind::Directory && !parent.remove_dir()? {
                return Err(failed(path, "is a directory that is not empty"));
            }
            if self.hard {
                self.link(path)?;
            } else {
                parent.make_link(&self.src.display().to_string())?;
            }
        }
        match &self.subject {
            Some(subject) if self.target.kind != Kind::Absent => asked.apply(subject, &self.target, cx).map(|_| ()),
            _ => Ok(()),
        }
    }

    fn link(&self, path: &Path) -> Result<(), ModuleError> {
        let (from, to) = (open_parent(&resolve(&self.src)?)?, open_parent(path)?);
        let temporary = crate::files::temporary_name(&to)?;
        linkat(&from.dir, &from.name, &to.dir, &temporary, AtFlags::empty())
            .map_err(|error| failed(path, &format!("cannot be linked: {error}")))?;
        renameat(&to.dir, &temporary, &to.dir, &to.name)
            .map_err(|error| failed(path, &format!("cannot be replaced: {error}")))?;
        // Renaming one name of a file over another name of it does nothing (rename(2)).
        let _gone = unlinkat(&to.dir, &temporary, AtFlags::empty());
        Ok(to.sync()?)
    }
}

/// Sets both times to now.
pub(super) fn touch(path: &Path) -> Result<(), ModuleError> {
    let parent = open_parent(path)?;
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    utimensat(&parent.dir, &parent.name, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| failed(path, &format!("cannot be touched: {error}")))
}

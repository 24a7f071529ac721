//! Making a path what a recorded state says.

use super::open::{FileError, Parent, open_parent};
use super::replace::{Final, Staged};
use super::state::{Kind, Looked, PathState, copy_digesting, fingerprint};
use std::path::Path;

/// What restoring came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// It was so already.
    Already,
    /// It is so now.
    Changed,
    /// A directory that should not be there holds what others put into it: left alone.
    NotEmpty,
}

/// Makes `path` what `state` says; `content` holds a regular file's bytes. Idempotent.
///
/// # Errors
/// [`FileError`] where it cannot be.
pub fn restore(path: &Path, state: &PathState, content: Option<&Path>) -> Result<Restored, FileError> {
    let now = fingerprint(path)?;
    if now == *state {
        return Ok(Restored::Already);
    }
    let parent = match open_parent(path) {
        Ok(parent) => parent,
        Err(error) if error.leads_nowhere() && state.kind == Kind::Absent => return Ok(Restored::Already),
        Err(error) => return Err(error),
    };
    if !clear(&parent, now.kind, state.kind)? {
        return Ok(Restored::NotEmpty);
    }
    match state.kind {
        Kind::Absent => return Ok(Restored::Changed),
        Kind::File if !now.same_content(state) => {
            file(&parent, state, content)?;
            return Ok(Restored::Changed);
        }
        Kind::Directory if now.kind != Kind::Directory => parent.make_dir(0o700)?,
        Kind::Link if now.target != state.target || now.kind != Kind::Link => {
            parent.make_link(state.target.as_deref().unwrap_or_default())?;
        }
        Kind::Other if now.kind != Kind::Other => {
            return Err(FileError::refused(path, "was a special file, which cannot be made again"));
        }
        Kind::File | Kind::Directory | Kind::Link | Kind::Other => {}
    }
    attributes(&parent, state)?;
    Ok(Restored::Changed)
}

/// Removes what is in the way. False if that is a directory with something in it.
fn clear(parent: &Parent, now: Kind, wanted: Kind) -> Result<bool, FileError> {
    match (now, wanted) {
        (Kind::Absent, _) => Ok(true),
        (Kind::Directory, Kind::Directory) => Ok(true),
        (Kind::Directory, _) => parent.remove_dir(),
        // Renamed over in one step.
        (Kind::File | Kind::Link, Kind::File | Kind::Link) => Ok(true),
        (now, wanted) if now == wanted => Ok(true),
        _ => parent.unlink().map(|()| true),
    }
}

fn file(parent: &Parent, state: &PathState, content: Option<&Path>) -> Result<(), FileError> {
    let path = &parent.path;
    let blob = content.ok_or_else(|| FileError::refused(path, "its recorded bytes are missing"))?;
    let mut staged = Staged::create(path)?;
    let mut source = fs_err::File::open(blob).map_err(|error| FileError::system("read the record of", path, error))?;
    let (_, sha256) =
        copy_digesting(&mut source, Some(staged.file())).map_err(|error| FileError::system("write", path, error))?;
    if Some(&sha256) != state.sha256.as_ref() {
        return Err(FileError::refused(
            path,
            format!("its recorded bytes are damaged: {} has another digest", blob.display()),
        ));
    }
    staged.commit(&Final {
        mode: state.mode,
        uid: Some(state.uid),
        gid: Some(state.gid),
        xattrs: Some(state.xattrs.clone()),
    })
}

fn attributes(parent: &Parent, state: &PathState) -> Result<(), FileError> {
    let Some(now) = Looked::at(parent)?.map(|looked| looked.state(None)).transpose()? else {
        return Err(FileError::refused(&parent.path, "has gone while it was being restored"));
    };
    if (now.uid, now.gid) != (state.uid, state.gid) {
        parent.set_owner(Some(state.uid), Some(state.gid))?;
    }
    if state.kind == Kind::Link {
        return parent.sync();
    }
    // Changing the owner clears set-id bits and capabilities, so mode and attributes come after it.
    parent.set_mode(state.mode)?;
    if state.kind != Kind::Other {
        parent.set_attributes(&state.xattrs)?;
    }
    parent.sync()
}

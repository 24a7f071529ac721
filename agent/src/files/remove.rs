//! Deleting a directory with everything in it, by descriptors: nothing outside of it can be reached.

use super::open::{FileError, Parent};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat, unlinkat};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Deletes what is at this name, a directory with all that is below it. Links are deleted, never followed.
///
/// # Errors
/// [`FileError`]; what was deleted until then is gone.
pub fn remove_tree(parent: &Parent) -> Result<(), FileError> {
    entry(&parent.dir, parent.name.as_os_str(), &parent.path)?;
    parent.sync()
}

fn entry(dir: &OwnedFd, name: &std::ffi::OsStr, path: &Path) -> Result<(), FileError> {
    let failed = |error: rustix::io::Errno| FileError::system("remove", path, error);
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return unlinkat(dir, name, AtFlags::empty()).map_err(failed);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = openat(dir, name, flags, Mode::empty()).map_err(failed)?;
    for name in names(&inner).map_err(failed)? {
        entry(&inner, &name, &path.join(&name))?;
    }
    unlinkat(dir, name, AtFlags::REMOVEDIR).map_err(failed)
}

/// The entries of an open directory.
pub(crate) fn names(dir: &OwnedFd) -> rustix::io::Result<Vec<std::ffi::OsString>> {
    use std::os::unix::ffi::OsStrExt;
    let mut found = Vec::new();
    for entry in Dir::read_from(dir.as_fd())? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            found.push(std::ffi::OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(found)
}

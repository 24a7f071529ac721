//! Paths below one directory, opened so that nothing leads out of it (S10): no link, no mount, no "..".

use super::MigrateError;
use crate::files::open_dir;
use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use std::borrow::Cow;
use std::ffi::{CStr, CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// How long a path may be that is given to the system at once; a container may have nested directories deeper.
const LONGEST: usize = 4000;

/// How often an opening is tried again that met a rename somewhere (openat2(2), EAGAIN).
const TRIES: u32 = 16;

/// The directory below which everything lies, and its file system.
#[derive(Debug)]
pub struct Base {
    fd: OwnedFd,
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Something in an open directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    /// The directory.
    pub(super) dir: BorrowedFd<'a>,
    /// Its path below the base.
    pub(super) below: &'a Path,
    /// The name in it.
    pub(super) name: &'a CStr,
    /// The directory is also where this thread is, so that the name alone is a path to it.
    pub(super) here: bool,
}

impl Found<'_> {
    /// The path below the base.
    pub(super) fn path(&self) -> PathBuf {
        self.below.join(name_of(self.name))
    }

    /// A path for system calls that take only paths and do not follow a link at its end.
    pub(super) fn by_name(&self) -> Cow<'_, CStr> {
        if self.here {
            return Cow::Borrowed(self.name);
        }
        let mut path = format!("/proc/self/fd/{}/", self.dir.as_raw_fd()).into_bytes();
        path.extend(self.name.to_bytes_with_nul());
        Cow::Owned(CString::from_vec_with_nul(path).unwrap_or_default())
    }
}

pub(super) fn name_of(name: &CStr) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()))
}

impl Base {
    /// Opens a directory, whose own path is walked as every path that root writes to (S2).
    ///
    /// # Errors
    /// [`MigrateError`].
    pub fn open(path: &Path) -> Result<Self, MigrateError> {
        let fd = open_dir(path)?;
        let stat = fstat(&fd).map_err(|error| MigrateError::system("look at", path, error))?;
        Ok(Self { fd, path: path.to_owned(), device: stat.st_dev, inode: stat.st_ino })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole path of what lies below, for messages.
    #[must_use]
    pub fn full(&self, below: &Path) -> PathBuf {
        if below.as_os_str().is_empty() { self.path.clone() } else { self.path.join(below) }
    }

    /// The file system on which everything is.
    #[must_use]
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Its own inode number.
    #[must_use]
    pub fn inode_number(&self) -> u64 {
        self.inode
    }

    /// Opens a directory below it, to be read.
    pub(super) fn dir(&self, below: &Path) -> Result<OwnedFd, MigrateError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.opened(below, flags).map_err(|error| self.refused(below, error))
    }

    /// Opens what lies below it as it is: a link itself, a device without opening it.
    pub(super) fn inode(&self, below: &Path) -> Result<OwnedFd, MigrateError> {
        self.opened(below, OFlags::PATH).map_err(|error| self.refused(below, error))
    }

    fn opened(&self, below: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        use std::os::unix::ffi::OsStrExt;
        let mut held: Option<OwnedFd> = None;
        let mut part = PathBuf::new();
        for component in below.components() {
            if part.as_os_str().len() + component.as_os_str().as_bytes().len() >= LONGEST {
                let from = held.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
                held = Some(beneath(from, &part, OFlags::PATH | OFlags::DIRECTORY)?);
                part.clear();
            }
            part.push(component);
        }
        if part.as_os_str().is_empty() {
            part.push(".");
        }
        beneath(held.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd), &part, flags)
    }

    pub(super) fn refused(&self, below: &Path, error: Errno) -> MigrateError {
        match error {
            Errno::XDEV => MigrateError::Refused(format!(
                "{}: another file system is mounted here, which must not be while data is migrated",
                self.full(below).display()
            )),
            error => MigrateError::system("open", self.full(below), error),
        }
    }
}

/// Opens a name in a directory as it is, for looking and for changing its owner, mode and attributes.
pub(super) fn entry(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    beneath(dir, name, OFlags::PATH)
}

/// The names in a directory, sorted; none where there is no such directory. For directories that are not large.
pub(super) fn names(base: &Base, below: &Path) -> Result<Vec<OsString>, MigrateError> {
    let dir = match base.dir(below) {
        Ok(dir) => dir,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let failed = |error: Errno| MigrateError::system("list", base.full(below), error);
    let mut found = Vec::new();
    for entry in Dir::new(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            found.push(name_of(entry.file_name()).as_os_str().to_owned());
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn beneath<P: rustix::path::Arg + Copy>(dir: BorrowedFd<'_>, path: P, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let mut tries = 0;
    loop {
        match openat2(dir, path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_leads_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs_err::canonicalize(directory.path()).unwrap();
        fs_err::create_dir_all(root.join("base/a")).unwrap();
        fs_err::create_dir(root.join("outside")).unwrap();
        symlink("../outside", root.join("base/link")).unwrap();
        symlink("a", root.join("base/inner")).unwrap();
        let base = Base::open(&root.join("base")).unwrap();
        assert!(base.dir(Path::new("a")).is_ok());
        assert!(base.dir(Path::new("")).is_ok());
        for path in ["link", "inner", "../outside", "a/../../outside"] {
            assert!(base.dir(Path::new(path)).is_err(), "{path}");
        }
        // A link itself can be looked at.
        let link = base.inode(Path::new("link")).unwrap();
        assert_eq!(fstat(&link).unwrap().st_mode & 0o170_000, 0o120_000);
        assert!(base.inode(Path::new("link/x")).is_err());
    }

    #[test]
    fn directories_deeper_than_any_path_are_reached() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs_err::canonicalize(directory.path()).unwrap();
        let name = "d".repeat(200);
        let mut at = open_dir(&root).unwrap();
        let mut below = PathBuf::new();
        for _ in 0..60 {
            rustix::fs::mkdirat(&at, name.as_str(), Mode::from_raw_mode(0o755)).unwrap();
            at = entry_dir(&at, &name);
            below.push(&name);
        }
        assert!(below.as_os_str().len() > 12_000);
        assert!(Base::open(&root).unwrap().dir(&below).is_ok());
        // The library that deletes the directory goes by paths as well, but by descriptors.
        assert!(directory.close().is_ok());
    }

    fn entry_dir(at: &OwnedFd, name: &str) -> OwnedFd {
        let name = std::ffi::CString::new(name).unwrap();
        entry(at.as_fd(), &name).unwrap()
    }
}

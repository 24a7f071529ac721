//! One inode, held by a descriptor that opens nothing (O_PATH): looked at and changed through it, never by name again.

use super::MigrateError;
use super::acl::STORED;
use super::beneath::{Base, Found, entry};
use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Stat, Uid, XattrFlags, chmod, chownat, fstat, getxattr, lgetxattr, listxattr,
    llistxattr, removexattr, setxattr,
};
use rustix::io::Errno;
use std::borrow::Cow;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The largest value or list of names that Linux has (XATTR_SIZE_MAX, XATTR_LIST_MAX).
const LARGEST: usize = 65536;

/// An inode, and its path for messages.
pub(super) struct Inode<'a> {
    fd: OwnedFd,
    base: &'a Base,
    path: PathBuf,
}

/// What kind of inode a mode says.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// A deletion mark of overlayfs: a character device 0:0. Its owner means nothing, and all may be one inode.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

impl<'a> Inode<'a> {
    /// Holds what was found in a directory.
    pub(super) fn hold(base: &'a Base, found: &Found<'_>) -> Result<Self, MigrateError> {
        let fd = entry(found.dir, found.name).map_err(|error| base.refused(&found.path(), error))?;
        Ok(Self { fd, base, path: found.path() })
    }

    /// Holds what is at a path below the base.
    pub(super) fn at(base: &'a Base, path: &Path) -> Result<Self, MigrateError> {
        Ok(Self { fd: base.inode(path)?, base, path: path.to_owned() })
    }

    /// What is open already, and was found at this path.
    pub(super) fn of(fd: OwnedFd, base: &'a Base, path: PathBuf) -> Self {
        Self { fd, base, path }
    }

    /// The descriptor.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn failed(&self, action: &'static str, error: Errno) -> MigrateError {
        MigrateError::system(action, self.base.full(&self.path), error)
    }

    /// Where it was found, below the base.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its path for system calls that take only paths: those follow this one link, and no other.
    fn link(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    pub(super) fn stat(&self) -> Result<Stat, MigrateError> {
        fstat(&self.fd).map_err(|error| self.failed("look at", error))
    }

    /// An extended attribute's value.
    pub(super) fn attribute(&self, name: &str) -> Result<Option<Vec<u8>>, MigrateError> {
        let link = self.link();
        match read(|buffer| getxattr(link.as_str(), name, spare_capacity(buffer))) {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(self.failed("read an extended attribute of", error)),
        }
    }

    pub(super) fn set_attribute(&self, name: impl rustix::path::Arg, value: &[u8]) -> Result<(), MigrateError> {
        setxattr(self.link(), name, value, XattrFlags::empty())
            .map_err(|error| self.failed("write an extended attribute of", error))
    }

    pub(super) fn remove_attribute(&self, name: &str) -> Result<(), MigrateError> {
        removexattr(self.link(), name).map_err(|error| self.failed("remove an extended attribute of", error))
    }

    /// Opens it to be read: for regular files only, all else may wait or do something.
    pub(super) fn reader(&self) -> std::io::Result<fs_err::File> {
        fs_err::File::open(self.link())
    }

    /// Gives it to an owner. Of anything but a directory this takes setuid, setgid and capabilities away.
    pub(super) fn give(&self, uid: u32, gid: u32) -> Result<(), MigrateError> {
        chownat(&self.fd, c"", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
            .map_err(|error| self.failed("change the owner of", error))
    }

    /// Sets its permissions, setuid and setgid among them.
    pub(super) fn permit(&self, mode: u32) -> Result<(), MigrateError> {
        chmod(self.link(), Mode::from_raw_mode(mode)).map_err(|error| self.failed("change the mode of", error))
    }
}

/// The extended attributes of something in a directory, by name, without holding it: for looking only.
pub(super) struct Attributes<'a> {
    names: Vec<u8>,
    path: Cow<'a, CStr>,
}

impl<'a> Attributes<'a> {
    /// Lists them.
    pub(super) fn of(base: &Base, found: &'a Found<'_>) -> Result<Self, MigrateError> {
        let path = found.by_name();
        let failed =
            |error: Errno| MigrateError::system("list the extended attributes of", base.full(&found.path()), error);
        match read(|buffer| llistxattr(path.as_ref(), spare_capacity(buffer))) {
            Ok(names) => Ok(Self { names, path }),
            Err(Errno::OPNOTSUPP) => Ok(Self { names: Vec::new(), path }),
            Err(error) => Err(failed(error)),
        }
    }

    /// Their names, each thing by one name.
    pub(super) fn names(&self) -> impl Iterator<Item = &CStr> {
        let all = self.names.split_inclusive(|byte| *byte == 0).filter_map(|name| CStr::from_bytes_with_nul(name).ok());
        all.filter(|name| !STORED.iter().any(|stored| stored.as_bytes() == name.to_bytes()))
    }

    /// One of the values.
    pub(super) fn value(&self, base: &Base, found: &Found<'_>, name: &CStr) -> Result<Vec<u8>, MigrateError> {
        read(|buffer| lgetxattr(self.path.as_ref(), name, spare_capacity(buffer)))
            .map_err(|error| MigrateError::system("read an extended attribute of", base.full(&found.path()), error))
    }
}

/// Reads what fits a small buffer almost always, with a larger one where it does not.
fn read(mut ask: impl FnMut(&mut Vec<u8>) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = Vec::with_capacity(256);
    match ask(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer.reserve_exact(LARGEST);
            ask(&mut buffer)?;
        }
        other => {
            other?;
        }
    }
    Ok(buffer)
}

/// Whether the kernel and this user can do what a shift needs, found by trying on a directory: reading attributes through
/// a descriptor's link needs /proc.
pub(super) fn usable(base: &Base) -> Result<(), MigrateError> {
    let held = Inode::at(base, Path::new(""))?;
    let link = held.link();
    read(|buffer| listxattr(link.as_str(), spare_capacity(buffer))).map(drop).or_else(|error| match error {
        Errno::OPNOTSUPP => Ok(()),
        error => Err(held.failed("list, through /proc/self/fd, the extended attributes of", error)),
    })
}

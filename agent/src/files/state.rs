//! A path as it is: the one fingerprint that recording, undoing, verifying and the tests share (rollout.md R28).

use super::open::{FileError, Parent, open_parent};
use rustix::fs::{FileType, Mode, OFlags, fstat, openat, readlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing is there.
    Absent,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, socket or fifo: compared by type and owner only, never opened.
    Other,
}

/// Everything about a path that must be as before: existence, type, bytes, mode, owner, extended attributes (ACLs and
/// labels are such). Times, inode numbers and link counts are not compared (R28).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathState {
    /// What is there.
    pub kind: Kind,
    /// The twelve permission bits. 0 for a link.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size of a regular file, in bytes.
    pub size: u64,
    /// Digest of a regular file's bytes, lower-case hexadecimal.
    pub sha256: Option<String>,
    /// Where a link points, byte for byte in hexadecimal where it is not UTF-8.
    pub target: Option<String>,
    /// Extended attributes, values in hexadecimal.
    pub xattrs: BTreeMap<String, String>,
}

impl PathState {
    /// The state of a path where nothing is.
    #[must_use]
    pub fn absent() -> Self {
        Self {
            kind: Kind::Absent,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            sha256: None,
            target: None,
            xattrs: BTreeMap::new(),
        }
    }

    /// Whether type and bytes (or a link's target) are the same, whatever owner and mode are.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.kind == other.kind && self.sha256 == other.sha256 && self.target == other.target
    }

    /// One line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let what = match self.kind {
            Kind::Absent => return "absent".to_owned(),
            Kind::File => format!("file of {} bytes, sha256 {}", self.size, self.sha256.as_deref().unwrap_or("?")),
            Kind::Directory => "directory".to_owned(),
            Kind::Link => format!("link to {}", self.target.as_deref().unwrap_or("?")),
            Kind::Other => "special file".to_owned(),
        };
        let attributes: Vec<String> = self.xattrs.iter().map(|(name, value)| format!(", {name}={value}")).collect();
        format!("{what}, mode {:04o}, owner {}:{}{}", self.mode, self.uid, self.gid, attributes.concat())
    }
}

/// Looks at a path without following a link in its last place.
///
/// # Errors
/// [`FileError`] where the path cannot be looked at; that nothing is there is no error.
pub fn fingerprint(path: &Path) -> Result<PathState, FileError> {
    match open_parent(path) {
        Ok(parent) => Looked::at(&parent)?.map_or_else(|| Ok(PathState::absent()), |looked| looked.state(None)),
        Err(error) if error.leads_nowhere() => Ok(PathState::absent()),
        Err(error) => Err(error),
    }
}

/// The bytes of a regular file, opened as [`fingerprint`] opens it: what another user puts in its place meanwhile is not
/// read (S2).
///
/// # Errors
/// [`FileError`] where it is no regular file or cannot be read.
pub fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    let parent = open_parent(path)?;
    let looked = Looked::at(&parent)?.filter(|looked| looked.kind() == Kind::File);
    let looked = looked.ok_or_else(|| FileError::refused(path, "is no regular file"))?;
    let mut bytes = Vec::new();
    looked.open()?.read_to_end(&mut bytes).map_err(|error| FileError::system("read", path, error))?;
    Ok(bytes)
}

/// The digest of what is read to its end, lower-case hexadecimal.
///
/// # Errors
/// What the reader says.
pub fn digest_of(mut source: impl std::io::Read) -> std::io::Result<String> {
    copy_digesting(&mut source, None).map(|(_, digest)| digest)
}

/// The digest of these bytes, lower-case hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// Copies a stream into a sink while digesting it.
pub(crate) fn copy_digesting(
    from: &mut impl Read,
    mut to: Option<&mut dyn std::io::Write>,
) -> std::io::Result<(u64, String)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((size, hex(&hasher.finalize()))),
            Ok(n) => {
                let bytes = buffer.get(..n).unwrap_or_default();
                hasher.update(bytes);
                if let Some(to) = to.as_deref_mut() {
                    to.write_all(bytes)?;
                }
                size += n as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// An existing path, held by an `O_PATH` descriptor.
pub(crate) struct Looked<'a> {
    parent: &'a Parent,
    fd: OwnedFd,
    stat: rustix::fs::Stat,
}

impl<'a> Looked<'a> {
    /// Holds what is at this name, or none if nothing is.
    pub(crate) fn at(parent: &'a Parent) -> Result<Option<Self>, FileError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&parent.dir, &parent.name, flags, Mode::empty()) {
            Ok(fd) => {
                let stat = fstat(&fd).map_err(|error| FileError::system("look at", &parent.path, error))?;
                Ok(Some(Self { parent, fd, stat }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(FileError::system("open", &parent.path, error)),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match FileType::from_raw_mode(self.stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        }
    }

    /// Opens the regular file itself, that very inode, for reading.
    pub(crate) fn open(&self) -> Result<File, FileError> {
        let failed = |error| FileError::system("read", &self.parent.path, error);
        let proc = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let fd = rustix::fs::open(proc, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        Ok(File::from(fd))
    }

    /// The state; a regular file's bytes are written to `copy` on the way.
    pub(crate) fn state(&self, copy: Option<&mut dyn std::io::Write>) -> Result<PathState, FileError> {
        let failed = |error: std::io::Error| FileError::system("read", &self.parent.path, error);
        let kind = self.kind();
        let mut state = PathState {
            kind,
            mode: if kind == Kind::Link { 0 } else { self.stat.st_mode & 0o7777 },
            uid: self.stat.st_uid,
            gid: self.stat.st_gid,
            xattrs: if kind == Kind::Other { BTreeMap::new() } else { xattrs(&self.fd).map_err(failed)? },
            ..PathState::absent()
        };
        match kind {
            Kind::File => {
                let (size, sha256) = copy_digesting(&mut self.open()?, copy).map_err(failed)?;
                state.size = size;
                state.sha256 = Some(sha256);
            }
            Kind::Link => {
                let target = readlinkat(&self.parent.dir, &self.parent.name, Vec::new())
                    .map_err(|error| FileError::system("read the link", &self.parent.path, error))?;
                state.target = Some(link_text(&target));
            }
            Kind::Absent | Kind::Directory | Kind::Other => {}
        }
        Ok(state)
    }
}

/// A link's target as text. `hex:` marks bytes that are no UTF-8.
fn link_text(target: &CStr) -> String {
    match target.to_str() {
        Ok(text) if !text.starts_with("hex:") => text.to_owned(),
        _ => format!("hex:{}", hex(target.to_bytes())),
    }
}

pub(crate) fn link_bytes(text: &str) -> Option<Vec<u8>> {
    text.strip_prefix("hex:").map_or_else(|| Some(text.as_bytes().to_vec()), unhex)
}

/// The extended attributes of an open (also `O_PATH`) descriptor; none where the file system has none.
pub(crate) fn xattrs(fd: &impl AsFd) -> std::io::Result<BTreeMap<String, String>> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let names = match sized(|buffer| rustix::fs::listxattr(&path, buffer)) {
        Ok(names) => names,
        Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let Ok(text) = std::str::from_utf8(name) else { continue };
        match sized(|buffer| rustix::fs::getxattr(&path, text, buffer)) {
            Ok(value) => {
                found.insert(text.to_owned(), hex(&value));
            }
            // Gone since it was listed, or not for us to see.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Calls with a growing buffer until the answer fits.
fn sized(mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut size = 1024;
    loop {
        let mut buffer = vec![0; size];
        match call(&mut buffer) {
            Ok(n) => {
                buffer.truncate(n);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if size <= 1 << 20 => size *= 4,
            Err(error) => return Err(error),
        }
    }
}

//! Trees copied as they are: owners, modes, times, extended attributes, links, holes and special files; by several threads.

use super::beneath::{Base, Found};
use super::inode::{Attributes, Inode, kind};
use super::walk::{Visitor, threads, walk};
use super::{MigrateError, Watch};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, copy_file_range, fstat, ftruncate, futimens,
    ioctl_ficlone, linkat, mkdirat, mknodat, openat, readlinkat, seek, statat, symlinkat, syncfs, utimensat,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// How much is read and written at once where the kernel does not copy.
const CHUNK: usize = 1 << 20;

/// How much the kernel is asked to copy at once: after so much it is told how far it has come, and can be stopped.
const STRETCH: u64 = 64 << 20;

/// How the bytes of files come to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// They are copied; holes stay holes.
    Copied,
    /// Both files share them until one is written to; the file system must be able to.
    Shared,
}

/// The first name of each inode with several, and the other names, which are made when all inodes are there.
#[derive(Default)]
struct Links {
    first: HashMap<u64, PathBuf>,
    more: Vec<(PathBuf, PathBuf)>,
}

struct Copier<'a> {
    from: &'a Base,
    to: &'a Base,
    bytes: Bytes,
    links: &'a Mutex<Links>,
    watch: &'a dyn Watch,
    /// The directory on the other side that was needed last.
    open: Option<(PathBuf, OwnedFd)>,
    unreported: u64,
    unreported_bytes: u64,
}

/// Copies `starts` below `from` to the same names below `to`, where nothing of them may be. What is copied must be at rest.
///
/// # Errors
/// [`MigrateError`]; a part is there then.
pub fn copy(from: &Base, to: &Base, starts: &[PathBuf], bytes: Bytes, watch: &dyn Watch) -> Result<(), MigrateError> {
    let links = Mutex::new(Links::default());
    let copier = || Copier { from, to, bytes, links: &links, watch, open: None, unreported: 0, unreported_bytes: 0 };
    walk(from, starts, (0..threads()).map(|_| copier()).collect())?;
    for (first, other) in links.into_inner().unwrap_or_else(PoisonError::into_inner).more {
        watch.before_change()?;
        let (old, new) = (parent(to, &first)?, parent(to, &other)?);
        linkat(&old, name(&first), &new, name(&other), AtFlags::empty())
            .map_err(|error| MigrateError::system("link", to.full(&other), error))?;
    }
    // Making names in a directory changes its time: directories are dressed when all of that is over.
    let dresser = || Dresser { from, to, watch };
    walk(from, starts, (0..threads()).map(|_| dresser()).collect())?;
    let dir = to.dir(Path::new(""))?;
    syncfs(&dir).map_err(|error| MigrateError::system("sync the file system of", to.path(), error))
}

fn parent(base: &Base, path: &Path) -> Result<OwnedFd, MigrateError> {
    base.dir(path.parent().unwrap_or(Path::new("")))
}

fn name(path: &Path) -> &std::ffi::OsStr {
    path.file_name().unwrap_or_default()
}

fn look(base: &Base, found: &Found<'_>) -> Result<Stat, MigrateError> {
    let failed = |error| MigrateError::system("look at", base.full(&found.path()), error);
    let stat = statat(found.dir, found.name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if stat.st_dev == base.device() { Ok(stat) } else { Err(base.refused(&found.path(), Errno::XDEV)) }
}

impl Visitor for Copier<'_> {
    fn visit(&mut self, found: &Found<'_>) -> Result<bool, MigrateError> {
        let stat = look(self.from, found)?;
        self.watch.before_change()?;
        if self.unreported >= 1024 || self.unreported_bytes >= STRETCH {
            self.watch.seen(std::mem::take(&mut self.unreported), std::mem::take(&mut self.unreported_bytes));
        }
        self.unreported += 1;
        let is = kind(&stat);
        if is == FileType::Directory {
            let dir = self.other_side(found)?;
            mkdirat(dir, found.name, Mode::RWXU).map_err(|error| self.failed("make", found, error))?;
            return Ok(true);
        }
        if stat.st_nlink > 1 {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(first) = links.first.get(&stat.st_ino).cloned() {
                links.more.push((first, found.path()));
                self.unreported_bytes += disk(&stat);
                return Ok(false);
            }
            links.first.insert(stat.st_ino, found.path());
        }
        match is {
            FileType::RegularFile => {
                let told = self.file(found)?;
                self.unreported_bytes += disk(&stat).saturating_sub(told);
            }
            FileType::Symlink => self.link(found)?,
            _ => self.node(found, &stat)?,
        }
        Ok(false)
    }
}

impl Copier<'_> {
    fn failed(&self, action: &'static str, found: &Found<'_>, error: Errno) -> MigrateError {
        MigrateError::system(action, self.to.full(&found.path()), error)
    }

    /// The directory on the other side in which what was found is to be.
    fn other_side(&mut self, found: &Found<'_>) -> Result<&OwnedFd, MigrateError> {
        if self.open.as_ref().is_none_or(|(path, _)| path != found.below) {
            self.open = Some((found.below.to_owned(), self.to.dir(found.below)?));
        }
        let lost = || self.to.refused(found.below, Errno::NOENT);
        self.open.as_ref().map(|(_, dir)| dir).ok_or_else(lost)
    }

    /// Copies a regular file. How many of its bytes have been told of already.
    fn file(&mut self, found: &Found<'_>) -> Result<u64, MigrateError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let (from, bytes) = (self.from, self.bytes);
        let source =
            openat(found.dir, found.name, flags, Mode::empty()).map_err(|error| from.refused(&found.path(), error))?;
        let stat = fstat(&source).map_err(|error| MigrateError::system("look at", from.full(&found.path()), error))?;
        if kind(&stat) != FileType::RegularFile {
            return Err(MigrateError::Refused(format!(
                "{} changes while it is copied",
                from.full(&found.path()).display()
            )));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = self.other_side(found)?;
        let target = openat(dir, found.name, flags, Mode::RUSR | Mode::WUSR);
        let target = target.map_err(|error| self.failed("make", found, error))?;
        let length = u64::try_from(stat.st_size).unwrap_or_default();
        let told = match bytes {
            Bytes::Copied => {
                let bytes = Data { source: &source, target: &target, watch: self.watch };
                bytes.copy(length).map_err(|error| match error {
                    Cut::System(error) => self.failed("write", found, error),
                    Cut::Stopped(error) => error,
                })
            }
            Bytes::Shared => {
                let shared = ioctl_ficlone(&target, &source);
                shared.map(|()| 0).map_err(|error| self.failed("share the bytes of", found, error))
            }
        }?;
        let inode = Inode::of(target, self.to, found.path());
        self.dress(&inode, found, &stat)?;
        futimens(inode.descriptor(), &times(&stat)).map_err(|error| self.failed("set the time of", found, error))?;
        Ok(told)
    }

    fn link(&mut self, found: &Found<'_>) -> Result<(), MigrateError> {
        let target = readlinkat(found.dir, found.name, Vec::new())
            .map_err(|error| MigrateError::system("read the link", self.from.full(&found.path()), error))?;
        let made = symlinkat(target.as_c_str(), self.other_side(found)?, found.name);
        made.map_err(|error| self.failed("make", found, error))?;
        self.made(found)
    }

    fn node(&mut self, found: &Found<'_>, stat: &Stat) -> Result<(), MigrateError> {
        let made = mknodat(self.other_side(found)?, found.name, kind(stat), Mode::RUSR | Mode::WUSR, stat.st_rdev);
        made.map_err(|error| self.failed("make", found, error))?;
        self.made(found)
    }

    /// Dresses what has been made without a descriptor.
    fn made(&mut self, found: &Found<'_>) -> Result<(), MigrateError> {
        let stat = look(self.from, found)?;
        let to = self.to;
        let dir = self.other_side(found)?.as_fd();
        let there = Found { dir, below: found.below, name: found.name, here: false };
        let inode = Inode::hold(to, &there)?;
        let timed = utimensat(dir, found.name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW);
        timed.map_err(|error| self.failed("set the time of", found, error))?;
        self.dress(&inode, found, &stat)
    }

    fn dress(&self, inode: &Inode<'_>, found: &Found<'_>, stat: &Stat) -> Result<(), MigrateError> {
        dress(self.from, inode, found, stat)
    }
}

/// Gives a copy the owner, the attributes and the mode of what was found.
fn dress(from: &Base, inode: &Inode<'_>, found: &Found<'_>, stat: &Stat) -> Result<(), MigrateError> {
    inode.give(stat.st_uid, stat.st_gid)?;
    let attributes = Attributes::of(from, found)?;
    for name in attributes.names() {
        inode.set_attribute(name, &attributes.value(from, found, name)?)?;
    }
    if kind(stat) == FileType::Symlink { Ok(()) } else { inode.permit(stat.st_mode & 0o7777) }
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, part: u64| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(part).unwrap_or_default() };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// How much room a file takes.
fn disk(stat: &Stat) -> u64 {
    stat.st_blocks.cast_unsigned().saturating_mul(512)
}

/// Why a file's bytes were not copied.
enum Cut {
    System(Errno),
    Stopped(MigrateError),
}

impl From<Errno> for Cut {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

/// The bytes of one file.
struct Data<'a> {
    source: &'a OwnedFd,
    target: &'a OwnedFd,
    watch: &'a dyn Watch,
}

impl Data<'_> {
    /// Copies what is no hole. How many bytes have been told of.
    fn copy(&self, length: u64) -> Result<u64, Cut> {
        let (mut at, mut told) = (0, 0);
        while at < length {
            let begin = match seek(self.source, SeekFrom::Data(at)) {
                Ok(begin) => begin,
                // Nothing but a hole up to the end.
                Err(Errno::NXIO) => break,
                // A file system that knows no holes.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
                Err(error) => return Err(error.into()),
            };
            let end = seek(self.source, SeekFrom::Hole(begin)).unwrap_or(length).min(length);
            let mut from = begin;
            while end - from > STRETCH {
                self.stretch(from, from + STRETCH)?;
                from += STRETCH;
                told += STRETCH;
                self.watch.seen(0, STRETCH);
                self.watch.go_on().map_err(Cut::Stopped)?;
            }
            self.stretch(from, end)?;
            at = end.max(begin + 1);
        }
        ftruncate(self.target, length)?;
        Ok(told)
    }

    fn stretch(&self, begin: u64, end: u64) -> Result<(), Errno> {
        let (mut from, mut to) = (begin, begin);
        while from < end {
            let left = usize::try_from(end - from).unwrap_or(usize::MAX);
            match copy_file_range(self.source, Some(&mut from), self.target, Some(&mut to), left) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                    return self.by_hand(from, end);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Between file systems that older kernels do not copy between.
    fn by_hand(&self, begin: u64, end: u64) -> Result<(), Errno> {
        let mut buffer = vec![0; CHUNK];
        let mut at = begin;
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK);
            let read = rustix::io::pread(self.source, buffer.get_mut(..most).unwrap_or_default(), at)?;
            if read == 0 {
                return Ok(());
            }
            let mut written = 0;
            while written < read {
                let part = buffer.get(written..read).unwrap_or_default();
                written += rustix::io::pwrite(self.target, part, at + written as u64)?;
            }
            at += read as u64;
        }
        Ok(())
    }
}

struct Dresser<'a> {
    from: &'a Base,
    to: &'a Base,
    watch: &'a dyn Watch,
}

impl Visitor for Dresser<'_> {
    fn visit(&mut self, found: &Found<'_>) -> Result<bool, MigrateError> {
        let stat = look(self.from, found)?;
        if kind(&stat) != FileType::Directory {
            return Ok(false);
        }
        self.watch.before_change()?;
        let path = found.path();
        let inode = Inode::at(self.to, &path)?;
        dress(self.from, &inode, found, &stat)?;
        utimensat(
            rustix::fs::CWD,
            format!("/proc/self/fd/{}", inode.descriptor().as_raw_fd()),
            &times(&stat),
            AtFlags::empty(),
        )
        .map_err(|error| MigrateError::system("set the time of", self.to.full(&path), error))?;
        Ok(true)
    }
}

//! Opening paths component by component (S2): a symbolic link is followed only where nobody but root could have put it.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// How many links one path may go through, as in Linux (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// A path that is refused, or that the system refuses.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A link that somebody other than root could have made.
    #[error(
        "{path} goes through the symbolic link {link}, which is not root's own in a directory that only root can write: refused, because another user could point it elsewhere"
    )]
    UnsafeLink {
        /// The path asked for.
        path: PathBuf,
        /// The link in it.
        link: PathBuf,
    },
    /// The system said no.
    #[error("cannot {action} {path}: {source}")]
    System {
        /// What was tried: `open`, `rename`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Anything else, as a sentence.
    #[error("{path}: {reason}")]
    Refused {
        /// The path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl FileError {
    pub(crate) fn system(action: &'static str, path: &Path, source: impl Into<std::io::Error>) -> Self {
        Self::System { action, path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn refused(path: &Path, reason: impl Into<String>) -> Self {
        Self::Refused { path: path.to_owned(), reason: reason.into() }
    }

    /// Whether the path, or a directory of it, does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::System { source, .. }
            if matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory))
    }

    /// Whether nothing can be at the path: it or a directory of it does not exist, or links lead back to themselves.
    #[must_use]
    pub fn leads_nowhere(&self) -> bool {
        let loops = matches!(self, Self::System { source, .. }
            if source.raw_os_error() == Some(Errno::LOOP.raw_os_error()));
        loops || self.is_not_found()
    }
}

/// The opened directory that holds a path, and the path's last component.
#[derive(Debug)]
pub struct Parent {
    /// The directory, by `O_PATH`.
    pub dir: OwnedFd,
    /// The name in it.
    pub name: OsString,
    /// The path asked for, for messages.
    pub path: PathBuf,
}

/// Opens the directory that holds `path`; the last component is not followed.
///
/// # Errors
/// [`FileError`]; a link that is not root's own is refused when the agent runs as root.
pub fn open_parent(path: &Path) -> Result<Parent, FileError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(FileError::refused(path, "is no path of a file or directory that can be changed"));
    };
    Ok(Parent { dir: open_dir(parent)?, name: name.to_owned(), path: path.to_owned() })
}

/// Opens a directory by `O_PATH`.
///
/// # Errors
/// See [`open_parent`].
pub fn open_dir(path: &Path) -> Result<OwnedFd, FileError> {
    let mut walk = Walk::new(path)?;
    while let Some(name) = walk.left.pop_front() {
        walk.step(&name, true)?;
    }
    Ok(walk.dir)
}

/// The path with every link in it resolved, the last component's too. What does not exist yet stays as it is.
///
/// # Errors
/// See [`open_parent`].
pub fn resolve(path: &Path) -> Result<PathBuf, FileError> {
    let mut walk = Walk::new(path)?;
    while let Some(name) = walk.left.pop_front() {
        match walk.step(&name, false) {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {
                let mut rest = walk.at.join(&name);
                rest.extend(walk.left.iter());
                return Ok(rest);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(walk.at)
}

struct Walk<'a> {
    asked: &'a Path,
    dir: OwnedFd,
    at: PathBuf,
    left: VecDeque<OsString>,
    links: u32,
    as_root: bool,
}

fn open_root(asked: &Path) -> Result<OwnedFd, FileError> {
    rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| FileError::system("open", asked, error))
}

impl<'a> Walk<'a> {
    fn new(path: &'a Path) -> Result<Self, FileError> {
        if !path.is_absolute() {
            return Err(FileError::refused(path, "must be an absolute path"));
        }
        Ok(Self {
            asked: path,
            dir: open_root(path)?,
            at: PathBuf::from("/"),
            left: names(path),
            links: 0,
            as_root: rustix::process::geteuid().is_root(),
        })
    }

    /// Takes one component. With `must_be_dir`, anything but a directory (or a link to one) is an error.
    fn step(&mut self, name: &OsStr, must_be_dir: bool) -> Result<(), FileError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |at: &Path, error: Errno| FileError::system("open", &at.join(name), error);
        let next = openat(&self.dir, name, flags, Mode::empty()).map_err(|error| failed(&self.at, error))?;
        let stat = fstat(&next).map_err(|error| failed(&self.at, error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => return self.follow(name, stat.st_uid),
            FileType::Directory => {
                self.dir = next;
                if name == ".." {
                    self.at.pop();
                } else {
                    self.at.push(name);
                }
            }
            _ if must_be_dir || !self.left.is_empty() => return Err(failed(&self.at, Errno::NOTDIR)),
            _ => self.at.push(name),
        }
        Ok(())
    }

    fn follow(&mut self, name: &OsStr, owner: u32) -> Result<(), FileError> {
        let link = self.at.join(name);
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(FileError::system("open", self.asked, Errno::LOOP));
        }
        if self.as_root && !(owner == 0 && self.is_roots_own()?) {
            return Err(FileError::UnsafeLink { path: self.asked.to_owned(), link });
        }
        let target = readlinkat(&self.dir, name, Vec::new())
            .map_err(|error| FileError::system("read the link", &link, error))?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            self.dir = open_root(self.asked)?;
            self.at = PathBuf::from("/");
        }
        for name in names(&target).into_iter().rev() {
            self.left.push_front(name);
        }
        Ok(())
    }

    /// Whether only root can write the directory reached so far.
    fn is_roots_own(&self) -> Result<bool, FileError> {
        let stat = fstat(&self.dir).map_err(|error| FileError::system("look at", &self.at, error))?;
        Ok(stat.st_uid == 0 && stat.st_mode & 0o022 == 0)
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

impl Parent {
    /// The path of the opened directory for system calls that take only paths.
    #[must_use]
    pub fn proc_path(&self) -> PathBuf {
        use std::os::fd::AsRawFd;
        PathBuf::from(format!("/proc/self/fd/{}", self.dir.as_fd().as_raw_fd()))
    }

    /// Whether something of this name exists, links not followed.
    ///
    /// # Errors
    /// [`FileError::System`].
    pub fn exists(&self) -> Result<bool, FileError> {
        match statat(&self.dir, self.name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(FileError::system("look at", &self.path, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn links_are_resolved_in_every_component() {
        let directory = tempfile::tempdir().unwrap();
        let base = fs_err::canonicalize(directory.path()).unwrap();
        fs_err::create_dir(base.join("real")).unwrap();
        fs_err::write(base.join("real/file"), "").unwrap();
        symlink("real", base.join("link")).unwrap();
        symlink("file", base.join("real/alias")).unwrap();
        assert_eq!(resolve(&base.join("link/alias")).unwrap(), base.join("real/file"));
        assert_eq!(resolve(&base.join("link/../link/new/deep")).unwrap(), base.join("real/new/deep"));
        symlink("loop", base.join("loop")).unwrap();
        assert!(resolve(&base.join("loop/x")).unwrap_err().to_string().contains("loop"));
    }

    #[test]
    fn root_follows_no_link_that_another_user_could_have_made() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root's walk refuses links");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path();
        symlink("/etc", base.join("ours")).unwrap();
        assert!(open_dir(&base.join("ours")).is_ok());
        std::os::unix::fs::lchown(base.join("ours"), Some(4242), None).unwrap();
        let error = open_dir(&base.join("ours")).unwrap_err();
        assert!(matches!(&error, FileError::UnsafeLink { link, .. } if *link == base.join("ours")), "{error}");
        fs_err::create_dir(base.join("open")).unwrap();
        fs_err::set_permissions(base.join("open"), std::fs::Permissions::from_mode(0o1777)).unwrap();
        symlink("/etc", base.join("open/link")).unwrap();
        assert!(matches!(open_parent(&base.join("open/link/passwd")).unwrap_err(), FileError::UnsafeLink { .. }));
    }
}

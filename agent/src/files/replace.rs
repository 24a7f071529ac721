//! Replacing a file in one step: written beside its place, synced, renamed over it (S2). A failure at any point leaves
//! the old file byte for byte, and no temporary file.

use super::open::{FileError, Parent, open_parent};
use super::state::{hex, link_bytes, unhex, xattrs};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, chownat, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What a replaced file ends as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Final {
    /// The twelve permission bits.
    pub mode: u32,
    /// Owner; none leaves what a new file has.
    pub uid: Option<u32>,
    /// Group; none leaves what a new file has.
    pub gid: Option<u32>,
    /// All extended attributes, values in hexadecimal; none leaves those that a new file has there.
    pub xattrs: Option<BTreeMap<String, String>>,
}

/// A file being written beside the place it is meant for. Dropped before [`Staged::commit`], it is gone.
#[derive(Debug)]
pub struct Staged {
    parent: Parent,
    temporary: Option<OsString>,
    file: File,
}

impl Staged {
    /// Makes the temporary file: a random name in the target's own directory, readable by nobody else.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let parent = open_parent(path)?;
        let temporary = temporary_name(&parent)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&parent.dir, &temporary, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| FileError::system("make a temporary file beside", path, error))?;
        Ok(Self { parent, temporary: Some(temporary), file: File::from(fd) })
    }

    /// The file, to write to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// The temporary file's path, for programs that validate it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.parent.path.with_file_name(self.temporary.clone().unwrap_or_default())
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// [`FileError`], a full disk among them.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        std::io::Write::write_all(&mut self.file, bytes)
            .map_err(|error| FileError::system("write", &self.parent.path, error))
    }

    /// Gives it its owner and mode before its time, for programs that validate those as well.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn dress(&mut self, last: &Final) -> Result<(), FileError> {
        let failed = |error: std::io::Error| FileError::system("change the owner of", &self.parent.path, error);
        std::os::unix::fs::fchown(&self.file, last.uid, last.gid).map_err(failed)?;
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(last.mode)).map_err(|error| failed(error.into()))
    }

    /// Gives it its owner, mode and attributes, syncs it, renames it into place and syncs the directory.
    ///
    /// # Errors
    /// [`FileError`]; the old file is still there.
    pub fn commit(mut self, last: &Final) -> Result<(), FileError> {
        let path = self.parent.path.clone();
        let failed = |action| move |error: std::io::Error| FileError::system(action, &path, error);
        let stat = rustix::fs::fstat(&self.file).map_err(|error| failed.clone()("look at")(error.into()))?;
        let (uid, gid) = (last.uid.filter(|uid| *uid != stat.st_uid), last.gid.filter(|gid| *gid != stat.st_gid));
        if uid.is_some() || gid.is_some() {
            std::os::unix::fs::fchown(&self.file, uid, gid).map_err(failed.clone()("change the owner of"))?;
        }
        if let Some(wanted) = &last.xattrs {
            set_xattrs(&self.file, wanted).map_err(failed.clone()("set the attributes of"))?;
        }
        // After the attributes: a mode that is asked for changes the mask of an ACL that is kept.
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(last.mode))
            .map_err(|error| failed.clone()("change the mode of")(error.into()))?;
        self.file.sync_all().map_err(failed.clone()("write"))?;
        if let Some(temporary) = &self.temporary {
            renameat(&self.parent.dir, temporary, &self.parent.dir, &self.parent.name)
                .map_err(|error| failed.clone()("replace")(error.into()))?;
            self.temporary = None;
        }
        self.parent.sync()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _already_gone = unlinkat(&self.parent.dir, temporary, AtFlags::empty());
        }
    }
}

/// The beginning of every temporary file's name.
const TEMPORARY: &str = ".rollgate-";

/// Removes temporary files that an agent left when it was killed. Under the host's lock, so that none is in use.
pub(crate) fn sweep(directory: &Path) {
    let Ok(dir) = super::open::open_dir(directory) else { return };
    let listed = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let Ok(entries) = fs_err::read_dir(listed) else { return };
    for name in entries.filter_map(Result::ok).map(|entry| entry.file_name()) {
        let ours = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY));
        if ours.is_some_and(|random| random.len() == 24 && random.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            let _already_gone = unlinkat(&dir, &name, AtFlags::empty());
        }
    }
}

/// A name that no other file has.
pub(crate) fn temporary_name(parent: &Parent) -> Result<OsString, FileError> {
    let mut random = [0; 12];
    getrandom::fill(&mut random)
        .map_err(|error| FileError::refused(&parent.path, format!("no random name for a temporary file: {error}")))?;
    Ok(OsString::from(format!("{TEMPORARY}{}", hex(&random))))
}

/// Makes a file's attributes exactly these.
pub(crate) fn set_xattrs(fd: &impl AsFd, wanted: &BTreeMap<String, String>) -> std::io::Result<()> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let found = xattrs(fd)?;
    for name in found.keys().filter(|name| !wanted.contains_key(*name)) {
        match rustix::fs::removexattr(&path, name.as_str()) {
            // A label that the file system gives to every file cannot be taken away.
            Ok(()) | Err(Errno::NODATA) => {}
            Err(_) if name.starts_with("security.selinux") => {}
            Err(error) => return Err(error.into()),
        }
    }
    for (name, value) in wanted.iter().filter(|(name, value)| found.get(*name) != Some(value)) {
        let bytes = unhex(value).ok_or_else(|| std::io::Error::other("an attribute's recorded value is damaged"))?;
        rustix::fs::setxattr(&path, name.as_str(), &bytes, rustix::fs::XattrFlags::empty())?;
    }
    Ok(())
}

impl Parent {
    /// Writes the directory's entries to disk.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.dir, ".", flags, Mode::empty())
            .and_then(|dir| rustix::fs::fsync(&dir))
            .or_else(|error| match error {
                // A directory that we may write but not read cannot be synced; some file systems cannot either.
                Errno::ACCESS | Errno::INVAL => Ok(()),
                error => Err(error),
            })
            .map_err(|error| FileError::system("sync the directory of", &self.path, error))
    }

    /// Removes a file or link.
    pub(crate) fn unlink(&self) -> Result<(), FileError> {
        unlinkat(&self.dir, &self.name, AtFlags::empty())
            .map_err(|error| FileError::system("remove", &self.path, error))?;
        self.sync()
    }

    /// Removes an empty directory; false if it is not empty.
    pub(crate) fn remove_dir(&self) -> Result<bool, FileError> {
        match unlinkat(&self.dir, &self.name, AtFlags::REMOVEDIR) {
            Ok(()) => self.sync().map(|()| true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(FileError::system("remove", &self.path, error)),
        }
    }

    /// Makes a directory of this mode, whatever the umask.
    pub(crate) fn make_dir(&self, mode: u32) -> Result<(), FileError> {
        rustix::fs::mkdirat(&self.dir, &self.name, Mode::from_raw_mode(mode))
            .map_err(|error| FileError::system("make the directory", &self.path, error))?;
        self.set_mode(mode)?;
        self.sync()
    }

    /// Makes a link to this target (in the record's form), in one step if something is there.
    pub(crate) fn make_link(&self, target: &str) -> Result<(), FileError> {
        let bytes = link_bytes(target)
            .ok_or_else(|| FileError::refused(&self.path, "the recorded target of the link is damaged"))?;
        let temporary = temporary_name(self)?;
        rustix::fs::symlinkat(OsString::from_vec(bytes), &self.dir, &temporary)
            .map_err(|error| FileError::system("make the link", &self.path, error))?;
        renameat(&self.dir, &temporary, &self.dir, &self.name).map_err(|error| {
            let _already_gone = unlinkat(&self.dir, &temporary, AtFlags::empty());
            FileError::system("replace", &self.path, error)
        })?;
        self.sync()
    }

    /// Changes owner and group of exactly this entry, links not followed.
    pub(crate) fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(), FileError> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        chownat(&self.dir, &self.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| FileError::system("change the owner of", &self.path, error))
    }

    /// Changes the mode of exactly this entry, which is no link.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<(), FileError> {
        let failed = |error| FileError::system("change the mode of", &self.path, error);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.dir, &self.name, flags, Mode::empty()).map_err(failed)?;
        let proc = format!("/proc/self/fd/{}", fd.as_raw_fd());
        rustix::fs::chmod(proc, Mode::from_raw_mode(mode)).map_err(failed)
    }

    /// Makes this entry's attributes exactly these.
    pub(crate) fn set_attributes(&self, wanted: &BTreeMap<String, String>) -> Result<(), FileError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.dir, &self.name, flags, Mode::empty())
            .map_err(|error| FileError::system("open", &self.path, error))?;
        set_xattrs(&fd, wanted).map_err(|error| FileError::system("set the attributes of", &self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::fingerprint;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn plain(mode: u32) -> Final {
        Final { mode, uid: None, gid: None, xattrs: None }
    }

    #[test]
    fn a_committed_file_has_its_bytes_and_mode_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs_err::write(&path, "old").unwrap();
        let mut staged = Staged::create(&path).unwrap();
        assert_eq!(fs_err::metadata(staged.path()).unwrap().permissions().mode() & 0o777, 0o600);
        staged.write(b"new").unwrap();
        staged.commit(&plain(0o640)).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"new");
        assert_eq!(fingerprint(&path).unwrap().mode, 0o640);
        assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_dropped_file_leaves_the_old_one_and_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs_err::write(&path, "old").unwrap();
        let mut staged = Staged::create(&path).unwrap();
        staged.write(b"new").unwrap();
        drop(staged);
        assert_eq!(fs_err::read(&path).unwrap(), b"old");
        assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 1);
    }
}

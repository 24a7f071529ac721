//! An inode's flags and its version, as `lsattr -v` shows them: asked of the kernel, without a program for each file.

use rustix::fs::{CWD, FileType, IFlags, Mode, OFlags, fstat, ioctl_getflags, open, openat};
use rustix::ioctl::{Updater, ioctl, opcode};
use std::ffi::c_long;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// The letters of chattr(1), in the order in which lsattr writes them (e2fsprogs, lib/e2p/pf.c), and Ansible's words for
/// those that it knows (`FILE_ATTRIBUTES` in module_utils/common/file.py).
const LETTERS: &[(u32, char, Option<&str>)] = &[
    (0x1, 's', Some("zero")),
    (0x2, 'u', Some("undelete")),
    (0x8, 'S', Some("synchronous")),
    (0x1_0000, 'D', Some("dirsync")),
    (0x10, 'i', Some("immutable")),
    (0x20, 'a', Some("append")),
    (0x40, 'd', Some("nodump")),
    (0x80, 'A', Some("noatime")),
    (0x4, 'c', Some("compressed")),
    (0x800, 'E', Some("encrypted")),
    (0x4000, 'j', Some("journalled")),
    (0x1000, 'I', Some("indexed")),
    (0x8000, 't', Some("notail")),
    (0x2_0000, 'T', Some("blockroot")),
    (0x8_0000, 'e', Some("extents")),
    (0x80_0000, 'C', Some("nocow")),
    (0x200_0000, 'x', None),
    (0x4000_0000, 'F', None),
    (0x1000_0000, 'N', Some("inline")),
    (0x2000_0000, 'P', None),
    (0x10_0000, 'V', None),
    (0x400, 'm', None),
];

/// `FS_IOC_GETVERSION` (linux/fs.h).
const GET_VERSION: rustix::ioctl::Opcode = opcode::read::<c_long>(b'v', 1);

/// What an inode says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InodeFlags {
    /// Its generation.
    pub(super) version: u32,
    bits: u32,
}

impl InodeFlags {
    /// Of a file or directory; none for others, for links, and where the file system has neither.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let fd = opened(path)?;
        let bits = ioctl_getflags(&fd).ok()?;
        Some(Self { version: version(&fd)?, bits: IFlags::bits(&bits) })
    }

    /// The letters of lsattr, without its dashes.
    pub(super) fn letters(&self) -> String {
        self.set().map(|(_, letter, _)| *letter).collect()
    }

    /// Ansible's words.
    pub(super) fn words(&self) -> Vec<&'static str> {
        self.set().filter_map(|(_, _, word)| *word).collect()
    }

    fn set(&self) -> impl Iterator<Item = &'static (u32, char, Option<&'static str>)> {
        let bits = self.bits;
        LETTERS.iter().filter(move |(bit, _, _)| bits & bit != 0)
    }
}

/// Opens what is there only once it is known to be no device, whose opening alone may do something.
fn opened(path: &Path) -> Option<OwnedFd> {
    let found = openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let kind = FileType::from_raw_mode(fstat(&found).ok()?.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return None;
    }
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    open(again, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok()
}

fn version(fd: &OwnedFd) -> Option<u32> {
    // The kernel writes an int, whatever the request's number says.
    let mut words = [0_u32; 2];
    #[expect(unsafe_code, reason = "this request writes four bytes to where it is told; there are eight")]
    unsafe {
        ioctl(fd, Updater::<GET_VERSION, [u32; 2]>::new(&mut words)).ok()?;
    }
    let [first, _] = words;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn told_by_lsattr(path: &Path) -> Option<(String, String)> {
        let told = Command::new("lsattr").arg("-vd").arg(path).output().ok()?;
        let told = String::from_utf8(told.stdout).ok()?;
        let mut words = told.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.replace('-', "")))
    }

    #[test]
    fn it_is_what_lsattr_says() {
        // Not where temporary files are: that may be a file system without flags.
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = directory.path().join("file");
        for flags in ["", "dA", "sucjDSt", "C"] {
            fs_err::write(&path, "").unwrap();
            if !flags.is_empty() {
                // Which of them can be set, the file system says.
                let _some = Command::new("chattr").arg(format!("+{flags}")).arg(&path).output();
            }
            let found = InodeFlags::of(&path).map(|found| (found.version.to_string(), found.letters()));
            assert_eq!(found, told_by_lsattr(&path), "{flags}");
            fs_err::remove_file(&path).unwrap();
        }
        let found = InodeFlags::of(directory.path()).map(|found| found.letters());
        assert_eq!(found, told_by_lsattr(directory.path()).map(|(_, letters)| letters));
    }

    #[test]
    fn letters_and_words_are_in_lsattrs_order() {
        let found = InodeFlags { version: 12, bits: 0x8_0010 | 0x2000_0000 | 1 };
        assert_eq!((found.letters().as_str(), found.words()), ("sieP", vec!["zero", "immutable", "extents"]));
    }

    #[test]
    fn devices_links_and_what_is_not_there_have_none() {
        for path in ["/dev/null", "/proc/self/exe", "/nonexistent"] {
            assert_eq!(InodeFlags::of(Path::new(path)), None, "{path}");
        }
    }
}

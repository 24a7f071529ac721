//! Trees such as containers and databases leave behind, and what is in them, read without the code under test.

use rollgate_agent::migrate::{MigrateError, Watch};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Uid, XattrFlags, chownat, lgetxattr, llistxattr, lsetxattr, mknodat,
};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;

/// cap_net_bind_service+ep, version 2.
pub(crate) const CAPABLE: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A directory on a file system of its own, or, where no loop device is to be had, on that of the temporary directory.
pub(crate) struct Disk {
    directory: TempDir,
    mounted: bool,
}

impl Disk {
    pub(crate) fn new(megabytes: u32) -> Self {
        Self::made_by(Command::new("mkfs.ext4").args(["-q", "-N", "20000"]), megabytes)
    }

    /// One whose files can share bytes. None where that cannot be had.
    pub(crate) fn sharing() -> Option<Self> {
        let disk = Self::made_by(Command::new("mkfs.xfs").arg("-q"), 320);
        if !disk.mounted {
            eprintln!("skipped: no mkfs.xfs, or no loop device");
        }
        disk.mounted.then_some(disk)
    }

    fn made_by(mkfs: &mut Command, megabytes: u32) -> Self {
        // In memory, where that can be: a file system that is synced often would wait for everybody else's writes.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (image, place) = (directory.path().join("image"), directory.path().join("disk"));
        fs_err::create_dir(&place).unwrap();
        fs_err::File::create(&image).unwrap().set_len(u64::from(megabytes) << 20).unwrap();
        let ran = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let mounted = ran(mkfs.arg(&image)) && ran(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&place));
        Self { directory, mounted }
    }

    pub(crate) fn is_mounted(&self) -> bool {
        self.mounted
    }

    pub(crate) fn path(&self) -> PathBuf {
        fs_err::canonicalize(self.directory.path()).unwrap().join("disk")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _unmounted = Command::new("umount").arg("-l").arg(self.directory.path().join("disk")).output();
        }
    }
}

/// user::rw-, user:UID:r--, group::r--, group:GID:r--, mask::rw-, other::---
pub(crate) fn access_list(uid: u32, gid: u32) -> Vec<u8> {
    let undefined = u32::MAX;
    let entries: [(u16, u16, u32); 6] =
        [(1, 6, undefined), (2, 4, uid), (4, 4, undefined), (8, 4, gid), (16, 6, undefined), (32, 0, undefined)];
    let mut out = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(permissions.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    out
}

pub(crate) fn give(path: &Path, uid: u32, gid: u32) {
    chownat(CWD, path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub(crate) fn permit(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn attribute(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn node(path: &Path, kind: FileType, device: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o644), device).unwrap();
}

pub(crate) fn file(path: &Path, text: &str, uid: u32, gid: u32, mode: u32) -> PathBuf {
    fs_err::write(path, text).unwrap();
    give(path, uid, gid);
    permit(path, mode);
    path.to_owned()
}

/// One of everything that a shift must get right, below `at`.
pub(crate) fn zoo(at: &Path) {
    fs_err::create_dir_all(at.join("bin")).unwrap();
    file(&at.join("bin/sudo"), "s", 0, 0, 0o4755);
    file(&at.join("bin/wall"), "w", 0, 5, 0o2755);
    file(&at.join("bin/locking"), "l", 7, 7, 0o2644);
    file(&at.join("bin/both"), "b", 1000, 1000, 0o6711);
    attribute(&file(&at.join("bin/ping"), "p", 0, 0, 0o755), "security.capability", &CAPABLE);
    attribute(&file(&at.join("bin/odd"), "o", 3, 4, 0o4750), "security.capability", &CAPABLE);
    fs_err::hard_link(at.join("bin/odd"), at.join("bin/odd-too")).unwrap();
    fs_err::hard_link(at.join("bin/sudo"), at.join("sudoedit")).unwrap();

    let data = at.join("pgdata");
    fs_err::create_dir(&data).unwrap();
    give(&data, 999, 999);
    permit(&data, 0o700);
    file(&data.join("PG_VERSION"), "15\n", 999, 999, 0o600);
    let sparse = file(&data.join("sparse"), "x", 999, 999, 0o600);
    fs_err::OpenOptions::new().write(true).open(sparse).unwrap().set_len(64 << 20).unwrap();

    let shared = at.join("shared");
    fs_err::create_dir(&shared).unwrap();
    give(&shared, 33, 33);
    permit(&shared, 0o2775);
    attribute(&shared, "system.posix_acl_default", &access_list(1001, 1002));
    attribute(&file(&shared.join("listed"), "a", 65535, 65534, 0o664), "system.posix_acl_access", &access_list(5, 6));
    attribute(&shared.join("listed"), "user.comment", b"kept");

    symlink("../../../../etc/passwd", at.join("link")).unwrap();
    give(&at.join("link"), 42, 43);
    symlink("nowhere", at.join("dangling")).unwrap();
    node(&at.join("fifo"), FileType::Fifo, 0);
    permit(&at.join("fifo"), 0o4622);
    node(&at.join("null"), FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    node(&at.join("disk"), FileType::BlockDevice, rustix::fs::makedev(7, 200));
    node(&at.join("socket"), FileType::Socket, 0);
    give(&at.join("socket"), 101, 101);

    let opaque = at.join("opaque");
    fs_err::create_dir(&opaque).unwrap();
    attribute(&opaque, "trusted.overlay.opaque", b"y");
    node(&opaque.join("deleted"), FileType::CharacterDevice, 0);
    fs_err::hard_link(opaque.join("deleted"), opaque.join("deleted-too")).unwrap();
    fs_err::create_dir(at.join("sticky")).unwrap();
    permit(&at.join("sticky"), 0o1777);
    fs_err::write(at.join(std::ffi::OsStr::from_bytes(b"no-\xff-text")), "").unwrap();
    permit(&at.join(std::ffi::OsStr::from_bytes(b"no-\xff-text")), 0o4700);
}

/// Many files of many owners: `count` in directories of 40, each tenth setuid, each fortieth with an access list.
pub(crate) fn herd(at: &Path, count: u32) {
    for number in 0..count {
        let directory = at.join(format!("d{}/e{}", number / 400, number / 40));
        if number % 40 == 0 {
            fs_err::create_dir_all(&directory).unwrap();
            give(&directory, number % 7, number % 5);
        }
        let mode = if number % 10 == 0 { 0o4755 } else { 0o640 };
        let path = file(&directory.join(format!("f{number}")), "x", number * 13 % 65536, number * 7 % 65536, mode);
        match number % 40 {
            1 => attribute(&path, "system.posix_acl_access", &access_list(number, number + 1)),
            2 => attribute(&path, "security.capability", &CAPABLE),
            3 => fs_err::hard_link(&path, directory.join("linked")).unwrap(),
            _ => {}
        }
    }
}

/// All that is to be known of an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) inode: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u64,
    pub(crate) size: u64,
    pub(crate) blocks: u64,
    pub(crate) device: u64,
    pub(crate) modified: (i64, i64),
    pub(crate) attributes: BTreeMap<String, Vec<u8>>,
}

pub(crate) type Listing = BTreeMap<PathBuf, Seen>;

/// Everything below some directories, and themselves.
pub(crate) fn listing(base: &Path, starts: &[PathBuf]) -> Listing {
    let mut found = Listing::new();
    for start in starts {
        list(base, start, &mut found);
    }
    found
}

fn list(base: &Path, below: &Path, found: &mut Listing) {
    let path = base.join(below);
    let metadata = fs_err::symlink_metadata(&path).unwrap();
    let seen = Seen {
        inode: metadata.ino(),
        mode: metadata.mode(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        links: metadata.nlink(),
        size: metadata.size(),
        blocks: metadata.blocks(),
        device: metadata.rdev(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        attributes: attributes(&path),
    };
    found.insert(below.to_owned(), seen);
    if metadata.is_dir() {
        for entry in fs_err::read_dir(&path).unwrap() {
            list(base, &below.join(entry.unwrap().file_name()), found);
        }
    }
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut buffer = [0; 4096];
    let length = llistxattr(path, &mut buffer[..]).unwrap();
    let names = buffer[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = [0; 4096];
            let length = lgetxattr(path, name, &mut value[..]).unwrap();
            (String::from_utf8(name.to_vec()).unwrap(), value[..length].to_vec())
        })
        .collect()
}

/// What a listing must be after a shift by these starts: every id plus one, access lists too, and nothing else.
pub(crate) fn shifted(before: &Listing, uid: u32, gid: u32) -> Listing {
    let mut after = before.clone();
    for seen in after.values_mut() {
        if seen.mode & 0o170_000 == 0o020_000 && seen.device == 0 {
            continue;
        }
        seen.uid += uid;
        seen.gid += gid;
        for (name, value) in &mut seen.attributes {
            if name.starts_with("system.posix_acl_") {
                for entry in value[4..].chunks_exact_mut(8) {
                    let plus = match entry[0] {
                        2 => uid,
                        8 => gid,
                        _ => continue,
                    };
                    let id = u32::from_le_bytes(entry[4..].try_into().unwrap()) + plus;
                    entry[4..].copy_from_slice(&id.to_le_bytes());
                }
            }
        }
    }
    after
}

/// The first differences of two listings, to be read.
pub(crate) fn differences(expected: &Listing, found: &Listing) -> Vec<String> {
    let mut told = Vec::new();
    for (path, seen) in expected {
        match found.get(path) {
            Some(other) if other == seen => {}
            other => told.push(format!("{}: expected {seen:?}, found {other:?}", path.display())),
        }
    }
    told.extend(
        found.keys().filter(|path| !expected.contains_key(*path)).map(|path| format!("new: {}", path.display())),
    );
    told.truncate(5);
    told
}

/// Lets so many changes happen, and no more.
pub(crate) struct Until(AtomicI64);

impl Until {
    pub(crate) fn changes(count: i64) -> Self {
        Self(AtomicI64::new(count))
    }

    /// How many may still happen.
    pub(crate) fn left(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Watch for Until {
    fn before_change(&self) -> Result<(), MigrateError> {
        if self.0.fetch_sub(1, Ordering::SeqCst) > 0 {
            Ok(())
        } else {
            Err(MigrateError::Stopped("the power is gone".to_owned()))
        }
    }
}

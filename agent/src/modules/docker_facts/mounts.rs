//! What the host's paths are that containers bind, and on which file system; one that may hang is not touched.

use crate::migrate::docker::unescaped;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// File systems whose server may be gone, or that keep owners by rules of their own.
const REMOTE: [&str; 11] =
    ["9p", "afs", "autofs", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "virtiofs"];

/// What is mounted where.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Mount points and file systems, in the order in which they were mounted.
    points: Vec<(PathBuf, String)>,
}

/// A path of the host that a container binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// On a file system of this host.
    There {
        /// `directory`, `file`, `socket`, `device` or `fifo`.
        kind: &'static str,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
    /// On another host's file system, or one that behaves like it; not looked at.
    Network {
        /// As the kernel calls it.
        filesystem: String,
    },
    /// Nothing is there.
    Missing,
}

impl Mounts {
    /// Reads /proc/self/mountinfo.
    pub(super) fn read() -> Self {
        Self::parse(&fs_err::read("/proc/self/mountinfo").unwrap_or_default())
    }

    fn parse(text: &[u8]) -> Self {
        let points = text.split(|byte| *byte == b'\n').filter_map(|line| {
            let mut words = line.split(|byte| *byte == b' ');
            let point = unescaped(words.nth(4)?);
            // Any number of optional words ends with a dash.
            let filesystem = words.skip_while(|word| *word != b"-").nth(1)?;
            Some((point, String::from_utf8_lossy(filesystem).into_owned()))
        });
        Self { points: points.collect() }
    }

    /// The file system that a path is on: of the longest mount point, the last mounted.
    pub(super) fn filesystem(&self, path: &Path) -> Option<&str> {
        let above = self.points.iter().filter(|(point, _)| path.starts_with(point));
        above.max_by_key(|(point, _)| point.components().count()).map(|(_, filesystem)| filesystem.as_str())
    }

    /// What is at a path.
    pub(super) fn source(&self, path: &Path) -> Source {
        let filesystem = self.filesystem(path).unwrap_or_default();
        if REMOTE.contains(&filesystem) || filesystem.starts_with("fuse") {
            return Source::Network { filesystem: filesystem.to_owned() };
        }
        let Ok(meta) = fs_err::metadata(path) else { return Source::Missing };
        let kind = meta.file_type();
        let kind = match () {
            () if kind.is_dir() => "directory",
            () if kind.is_socket() => "socket",
            () if kind.is_fifo() => "fifo",
            () if kind.is_file() => "file",
            () => "device",
        };
        Source::There { kind, uid: meta.uid(), gid: meta.gid(), mode: meta.mode() & 0o7777 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_nearest_mount_counts_and_another_hosts_is_not_touched() {
        let mounts = Mounts::parse(
            b"21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
              40 21 0:50 / /srv/a\\040b rw - nfs4 server:/x rw,vers=4\n\
              41 21 0:51 / /mnt rw master:2 shared:3 - fuse.sshfs user@host:/ rw\nrubbish\n",
        );
        assert_eq!(mounts.filesystem(Path::new("/srv/app")), Some("ext4"));
        assert_eq!(mounts.filesystem(Path::new("/srv/a b/c")), Some("nfs4"));
        for path in ["/srv/a b", "/mnt/x"] {
            assert!(matches!(mounts.source(Path::new(path)), Source::Network { .. }), "{path}");
        }
        assert_eq!(mounts.source(Path::new("/no/such")), Source::Missing);
        assert_eq!(Mounts::default().filesystem(Path::new("/")), None);
    }

    #[test]
    fn a_socket_is_told_from_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("app.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let kind = |path: &Path| match Mounts::default().source(path) {
            Source::There { kind, .. } => kind,
            other => panic!("{other:?}"),
        };
        assert_eq!((kind(&socket), kind(directory.path())), ("socket", "directory"));
    }
}

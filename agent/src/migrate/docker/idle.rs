//! Whether anybody still uses a data root: nothing may be mounted in it and no process may have a file of it open.

use crate::migrate::MigrateError;
use crate::serve::Control;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an engine that has been stopped may take until its last helper has gone.
const LEAVING: Duration = Duration::from_secs(10);

/// How often is looked meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// How many are named.
const NAMED: usize = 5;

/// Waits a little until nobody uses a directory. A remapped root that its engine left mounted on itself is unmounted.
///
/// # Errors
/// [`MigrateError::Refused`] says who does.
pub fn wait_until_idle(root: &Path, control: &Control) -> Result<(), MigrateError> {
    let until = Instant::now() + LEAVING;
    loop {
        unmount_roots(root)?;
        let users = users(root)?;
        if users.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until || control.ended().is_some() {
            return Err(MigrateError::Refused(format!(
                "{} is in use: {}; stop the engine, its socket and its containers first",
                root.display(),
                users.join(", ")
            )));
        }
        std::thread::sleep(LOOK);
    }
}

/// An engine binds its remapped root on itself where that is not shared (moby, `setupDaemonRootPropagation`), and leaves that
/// behind when it dies while it starts. One that is in use stays.
fn unmount_roots(root: &Path) -> Result<(), MigrateError> {
    let is_range = |name: &str| name.split('.').count() == 2 && name.split('.').all(|id| id.parse::<u32>().is_ok());
    let device = |path: &Path| rustix::fs::lstat(path).map(|stat| stat.st_dev).ok();
    for point in mounts_below(root)? {
        let name = point.strip_prefix(root).ok().and_then(Path::to_str);
        if name.is_some_and(is_range) && device(&point) == device(root) {
            let _in_use = rustix::mount::unmount(&point, rustix::mount::UnmountFlags::NOFOLLOW);
        }
    }
    Ok(())
}

fn users(root: &Path) -> Result<Vec<String>, MigrateError> {
    let mounted = mounts_below(root)?.into_iter().map(|path| format!("a mount at {}", path.display()));
    Ok(mounted.chain(openers(root)).take(NAMED).collect())
}

/// What is mounted below a directory, as this process sees it.
///
/// # Errors
/// [`MigrateError`] where /proc cannot be read.
pub fn mounts_below(root: &Path) -> Result<Vec<PathBuf>, MigrateError> {
    let text = fs_err::read("/proc/self/mountinfo").map_err(|error| MigrateError::Refused(error.to_string()))?;
    Ok(points(&text).filter(|point| point.starts_with(root) && point != root).collect())
}

/// The mount points of a mountinfo (proc(5)): the fifth word of each line, with octal escapes.
fn points(text: &[u8]) -> impl Iterator<Item = PathBuf> {
    text.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(unescaped)
}

pub(crate) fn unescaped(word: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// Other processes with a file open, or a working or root directory, below a directory. One that ends meanwhile is none.
fn openers(root: &Path) -> impl Iterator<Item = String> {
    let own = std::process::id().to_string();
    let processes = fs_err::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    processes.filter_map(move |entry| {
        let id = entry.file_name().into_string().ok().filter(|id| *id != own)?;
        if !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let opened = fs_err::read_dir(entry.path().join("fd")).into_iter().flatten().filter_map(Result::ok);
        let links = ["cwd", "root"].map(|name| entry.path().join(name)).into_iter();
        let uses = links
            .chain(opened.map(|file| file.path()))
            .any(|link| fs_err::read_link(link).is_ok_and(|target| target.starts_with(root)));
        let name = fs_err::read_to_string(entry.path().join("comm")).unwrap_or_default();
        uses.then(|| format!("process {id} ({})", name.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let text = b"36 35 98:0 / /var/lib/docker/a\\040b rw shared:1 - ext4 /dev/sda1 rw\n\
                     37 35 0:1 / /proc rw - proc proc rw\n";
        let found: Vec<PathBuf> = points(text).collect();
        assert_eq!(found, [PathBuf::from("/var/lib/docker/a b"), PathBuf::from("/proc")]);
        assert_eq!(unescaped(b"a\\"), PathBuf::from("a\\"));
    }

    #[test]
    fn a_remapped_root_that_is_mounted_on_itself_is_unmounted_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs_err::canonicalize(directory.path()).unwrap();
        let bind = |name: &str| {
            let path = root.join(name);
            fs_err::create_dir(&path).unwrap();
            let bound = std::process::Command::new("mount").arg("--bind").args([&path, &path]).output();
            bound.is_ok_and(|bound| bound.status.success())
        };
        if !bind("1000.1000") || !bind("volume") {
            eprintln!("skipped: nothing may be mounted");
            return;
        }
        unmount_roots(&root).unwrap();
        assert_eq!(mounts_below(&root).unwrap(), [root.join("volume")]);
        rustix::mount::unmount(root.join("volume"), rustix::mount::UnmountFlags::NOFOLLOW).unwrap();
        assert_eq!(users(&root).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn who_uses_a_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs_err::canonicalize(directory.path()).unwrap();
        fs_err::create_dir(root.join("inner")).unwrap();
        assert_eq!(users(&root).unwrap(), Vec::<String>::new());
        let mut child = std::process::Command::new("cat")
            .current_dir(root.join("inner"))
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let found = users(&root).unwrap();
        assert!(found.len() == 1 && found[0].starts_with(&format!("process {}", child.id())), "{found:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(wait_until_idle(&root, &Control::default()).is_ok());
    }
}

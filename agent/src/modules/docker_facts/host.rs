//! The host's side: kernel, user namespaces, SELinux, room, the data root's directory.

use super::engine::map_of_name;
use super::paths::nearest_existing;
use crate::accounts;
use crate::modules::Context;
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

/// What `user.max_user_namespaces` counts as on kernels before 4.9, which have no limit.
const NO_LIMIT: i64 = 2_147_483_647;

/// How long `unshare` may take.
const UNSHARE_TIMEOUT: Duration = Duration::from_secs(10);

/// The running kernel's release.
pub(super) fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// `user.max_user_namespaces`.
pub(super) fn max_user_namespaces() -> i64 {
    let text = fs_err::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    text.trim().parse().unwrap_or(NO_LIMIT)
}

/// Whether a process of this user can make a user namespace, tried for real.
pub(super) fn try_user_namespace(cx: &Context) -> Result<(), String> {
    match cx.process(["unshare", "-U", "true"]).timeout(UNSHARE_TIMEOUT).run() {
        Ok(finished) if finished.success() => Ok(()),
        Ok(finished) => Err(finished.stderr_text().trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// SELinux's mode, from the kernel; `disabled` where its settings are there and its file system is not.
pub(super) fn selinux() -> &'static str {
    match fs_err::read_to_string("/sys/fs/selinux/enforce").as_deref().map(str::trim) {
        Ok("1") => "enforcing",
        Ok(_) => "permissive",
        Err(_) if Path::new("/etc/selinux/config").exists() => "disabled",
        Err(_) => "absent",
    }
}

/// Free MiB and inodes of the file system that a path is on, or would be.
pub(super) fn room(path: &Path) -> (Option<u64>, Option<u64>) {
    match rustix::fs::statvfs(nearest_existing(path).as_path()) {
        Ok(stat) => {
            let inodes = (stat.f_files > 0).then_some(stat.f_favail);
            (Some((stat.f_bavail * stat.f_frsize) >> 20), inodes)
        }
        Err(_) => (None, None),
    }
}

/// The data root's directory, and the roots that remaps have left in it.
pub(super) fn data_root(cx: &Context, path: &Path) -> Value {
    let Ok(meta) = fs_err::metadata(path) else {
        return json!({
            "path": path, "exists": false, "mode": null, "owner": null, "group": null, "uid": null, "gid": null,
            "closed_parents": [], "remapped": [],
        });
    };
    let owner = accounts::user_by_id(cx, meta.uid()).ok().flatten().map(|user| user.name);
    let group = accounts::group_by_id(cx, meta.gid()).ok().flatten().map(|group| group.name);
    json!({
        "path": path,
        "exists": true,
        "mode": format!("{:04o}", meta.permissions().mode() & 0o7777),
        "owner": owner,
        "group": group,
        "uid": meta.uid(),
        "gid": meta.gid(),
        "closed_parents": closed_parents(path),
        "remapped": remapped(path),
    })
}

/// The directories above the data root that others may not pass through: dockerd refuses to start below them (moby,
/// `setupDaemonRoot`), as the mapped root could not reach its own root directory.
fn closed_parents(root: &Path) -> Vec<String> {
    root.ancestors()
        .skip(1)
        .filter(|parent| fs_err::metadata(parent).is_ok_and(|meta| meta.mode() & 0o001 == 0))
        .map(|parent| parent.display().to_string())
        .collect()
}

fn remapped(root: &Path) -> Vec<Value> {
    let Ok(entries) = fs_err::read_dir(root) else { return Vec::new() };
    let mut found: Vec<(u64, u64, Value)> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (uid, gid) = map_of_name(&name)?;
            let empty = fs_err::read_dir(entry.path()).is_ok_and(|mut inside| inside.next().is_none());
            let facts = json!({"name": name, "path": entry.path(), "uid": uid, "gid": gid, "empty": empty});
            Some((uid, gid, facts))
        })
        .collect();
    found.sort_by_key(|(uid, gid, _)| (*uid, *gid));
    found.into_iter().map(|(.., facts)| facts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_of_remaps_are_found_in_order_of_their_ids() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["overlay2", "231072.231072", "100000.100000", "1.2.3", ".5", "7."] {
            fs_err::create_dir(dir.path().join(name)).unwrap();
        }
        fs_err::write(dir.path().join("100000.100000/x"), "").unwrap();
        fs_err::write(dir.path().join("3.3"), "no directory").unwrap();
        let found = remapped(dir.path());
        let seen: Vec<_> =
            found.iter().map(|root| (root["uid"].as_u64().unwrap(), root["empty"].as_bool().unwrap())).collect();
        assert_eq!(seen, [(100_000, false), (231_072, true)]);
    }

    #[test]
    fn a_parent_that_is_closed_to_others_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let closed = dir.path().join("closed");
        fs_err::create_dir_all(closed.join("docker")).unwrap();
        let mode = |mode| fs_err::set_permissions(&closed, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o750);
        assert!(closed_parents(&closed.join("docker")).contains(&closed.display().to_string()));
        mode(0o711);
        assert!(!closed_parents(&closed.join("docker")).contains(&closed.display().to_string()));
    }

    #[test]
    fn room_is_known_for_a_path_that_is_not_there_yet() {
        let (free, _) = room(Path::new("/no/such/path/at/all"));
        assert!(free.is_some());
    }
}

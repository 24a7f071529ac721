//! Where Docker's files are. A test gives another root.

use std::path::{Path, PathBuf};

/// The engine's settings, unless its unit says otherwise.
pub(super) const DAEMON_JSON: &str = "/etc/docker/daemon.json";
/// Ranges of subordinate uids.
pub(in crate::modules) const SUBUID: &str = "/etc/subuid";
/// Ranges of subordinate gids.
pub(in crate::modules) const SUBGID: &str = "/etc/subgid";
/// The unit.
pub(in crate::modules) const UNIT: &str = "docker.service";
/// Where the snap keeps the engine's data.
pub(super) const SNAP: &str = "/var/snap/docker";
/// The data root, unless the engine says otherwise.
pub(super) const DATA_ROOT: &str = "/var/lib/docker";

/// The nearest directory at or above a path that exists.
pub(super) fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or_else(|| Path::new("/")).to_owned()
}

/// A file's text; none where there is no file. Bytes that are no UTF-8 are an error: they could not be merged.
///
/// # Errors
/// Everything but "no such file".
pub(in crate::modules) fn text_if_exists(path: &Path) -> std::io::Result<Option<String>> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

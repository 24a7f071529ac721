//! Keeps units from starting while the data that they start on is half way: an engine makes new directories where its own
//! are still on the other side of the range.
//!
//! By an assertion, which says so to whoever starts one, unlike a condition (systemd.unit(5), "Conditions and Asserts").
//! systemd forgets it with the boot; then the guard's first unit holds them again.

use super::UndoError;
use super::data_root::{DataRootState, data_root_state};
use super::history::History;
use super::record::{Object, TxnState, path_of};
use super::txn::Transaction;
use super::unit::systemctl;
use crate::files::{Final, Staged};
use crate::migrate::docker::Migration;
use crate::serve::{Control, STATE_DIR};
use std::path::{Path, PathBuf};

/// systemd's units of this boot; there while it is PID 1 (sd_booted(3)).
const RUNTIME: &str = "/run/systemd/system";

/// The drop-in.
const NAME: &str = "rollgate-hold.conf";

/// Its text: there always is a root directory.
const TEXT: &str = "# Written by rollgate: a part of this engine's data is in the remapped root, a part is not. What ends that removes this file.\n\
                    # `rollgate-agent guard list` names the run, and `rollgate rollback RUN` ends it.\n\
                    [Unit]\n\
                    AssertPathExists=!/\n";

/// From now on these units do not start.
///
/// # Errors
/// [`UndoError`], also for what is no unit's name.
pub(crate) fn hold(state_dir: &Path, units: &[String], control: &Control) -> Result<(), UndoError> {
    if !is_ours(state_dir) {
        return Ok(());
    }
    let mut changed = false;
    for unit in units {
        let path = place(unit)?;
        if path.exists() {
            continue;
        }
        fs_err::create_dir_all(path.parent().unwrap_or(&path))?;
        let mut staged = Staged::create(&path)?;
        staged.write(TEXT.as_bytes())?;
        staged.commit(&Final { mode: 0o644, uid: Some(0), gid: Some(0), xattrs: None })?;
        changed = true;
    }
    if changed { systemctl(&["daemon-reload"], control) } else { Ok(()) }
}

/// They may start again.
///
/// # Errors
/// [`UndoError`].
pub(crate) fn release(state_dir: &Path, units: &[String], control: &Control) -> Result<(), UndoError> {
    if !is_ours(state_dir) {
        return Ok(());
    }
    let mut changed = false;
    for unit in units {
        let path = place(unit)?;
        match fs_err::remove_file(&path) {
            Ok(()) => changed = true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        }
        // Kept where others have something in it.
        let _emptied = path.parent().map(std::fs::remove_dir);
    }
    if changed { systemctl(&["daemon-reload"], control) } else { Ok(()) }
}

/// Holds the units of engines whose data this transaction has left half way, and says which.
///
/// # Errors
/// [`UndoError`].
pub(crate) fn hold_half_way(
    state_dir: &Path,
    transaction: &Transaction,
    control: &Control,
) -> Result<Vec<String>, UndoError> {
    let mut held = Vec::new();
    if matches!(transaction.standing()?.state, TxnState::Kept | TxnState::Reverted) {
        return Ok(held);
    }
    let history = History::of(transaction.log()?.1);
    for (before, _) in history.oldest() {
        let Object::DataRoot { record, .. } = &before.object else { continue };
        let record = path_of(record);
        if data_root_state(&record)? == DataRootState::Between {
            let migration = Migration::open(&record).map_err(super::data_root::failed)?;
            hold(state_dir, &migration.units(), control)?;
            held.extend(migration.units());
        }
    }
    Ok(held)
}

/// Of agents with a state directory of their own systemd is not asked.
fn is_ours(state_dir: &Path) -> bool {
    state_dir == Path::new(STATE_DIR) && Path::new(RUNTIME).is_dir()
}

/// Where a unit's drop-in lies. As systemctl does, what has no suffix is a service.
fn place(unit: &str) -> Result<PathBuf, UndoError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":_.@\\-".contains(&byte);
    if unit.is_empty() || unit.starts_with('.') || !unit.bytes().all(is_plain) {
        return Err(UndoError::Other(format!("{unit:?} is no unit's name")));
    }
    let suffix = if unit.contains('.') { "" } else { ".service" };
    Ok(Path::new(RUNTIME).join(format!("{unit}{suffix}.d")).join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_in_lies_beside_its_unit_and_nowhere_else() {
        let at = |unit: &str| place(unit).map(|path| path.display().to_string()).map_err(|error| error.to_string());
        assert_eq!(at("docker.socket").unwrap(), "/run/systemd/system/docker.socket.d/rollgate-hold.conf");
        assert_eq!(at("docker").unwrap(), "/run/systemd/system/docker.service.d/rollgate-hold.conf");
        assert_eq!(
            at("docker@a\\x2db.service").unwrap(),
            "/run/systemd/system/docker@a\\x2db.service.d/rollgate-hold.conf"
        );
        for odd in ["", "..", "../a.service", "a/b.service", "a b", ".hidden"] {
            assert!(at(odd).unwrap_err().contains("is no unit's name"), "{odd}");
        }
    }
}

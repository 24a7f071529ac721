//! Keeps units from starting while the data that they start on is half way: an engine makes new directories where its own
//! are still on the other side of the range.
//!
//! By an assertion, which says so to whoever starts one, unlike a condition (systemd.unit(5), "Conditions and Asserts").
//! systemd forgets it with the boot; then the guard's first unit holds them again.

use super::UndoError;
use super::data_root::{DataRootState, data_root_state, failed};
use super::history::History;
use super::record::{Object, TxnState, path_of};
use super::txn::Transaction;
use super::unit::{RUNTIME_UNITS, systemctl};
use crate::files::{Final, Staged};
use crate::migrate::docker::Migration;
use crate::serve::{Control, STATE_DIR};
use std::path::{Path, PathBuf};

/// The drop-in's text: there always is a root directory.
const TEXT: &str = "# Written by rollgate: a part of this engine's data is in the remapped root, a part is not. What ends that removes this file.\n\
                    # `rollgate-agent guard list` names the run, and `rollgate rollback RUN` ends it.\n\
                    [Unit]\n\
                    AssertPathExists=!/\n";

/// From now on these units do not start, because of the data root whose migration has this record.
///
/// # Errors
/// [`UndoError`], also for what is no unit's name.
pub(crate) fn hold(state_dir: &Path, record: &Path, units: &[String], control: &Control) -> Result<(), UndoError> {
    if !is_ours(state_dir) {
        return Ok(());
    }
    let mut changed = false;
    for unit in units {
        let path = directory(unit)?.join(name(record));
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

/// They may start again, whichever they are: a migration that was refused before it began has no list of them.
///
/// # Errors
/// [`UndoError`].
pub(crate) fn release(state_dir: &Path, record: &Path, control: &Control) -> Result<(), UndoError> {
    if !is_ours(state_dir) {
        return Ok(());
    }
    let mut changed = false;
    for entry in fs_err::read_dir(RUNTIME_UNITS)? {
        let directory = entry?.path();
        let path = directory.join(name(record));
        if directory.extension().is_some_and(|suffix| suffix == "d") && path.exists() {
            fs_err::remove_file(&path)?;
            // Kept where others have something in it.
            let _emptied = std::fs::remove_dir(&directory);
            changed = true;
        }
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
            let units = Migration::open(&record).map_err(failed)?.units();
            hold(state_dir, &record, &units, control)?;
            held.extend(units);
        }
    }
    Ok(held)
}

/// Of agents with a state directory of their own systemd is not asked.
fn is_ours(state_dir: &Path) -> bool {
    state_dir == Path::new(STATE_DIR) && Path::new(RUNTIME_UNITS).is_dir()
}

/// The drop-in's name: each data root has its own.
fn name(record: &Path) -> String {
    let root: String = record.file_name().unwrap_or_default().to_string_lossy().chars().take(16).collect();
    format!("rollgate-hold-{root}.conf")
}

/// The directory of a unit's drop-ins. As systemctl does, what has no suffix is a service.
fn directory(unit: &str) -> Result<PathBuf, UndoError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":_.@\\-".contains(&byte);
    if unit.is_empty() || unit.starts_with('.') || !unit.bytes().all(is_plain) {
        return Err(UndoError::Other(format!("{unit:?} is no unit's name")));
    }
    let suffix = if unit.contains('.') { "" } else { ".service" };
    Ok(Path::new(RUNTIME_UNITS).join(format!("{unit}{suffix}.d")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_in_lies_beside_its_unit_and_nowhere_else() {
        let at = |unit: &str| directory(unit).map(|path| path.display().to_string()).map_err(|error| error.to_string());
        assert_eq!(at("docker.socket").unwrap(), "/run/systemd/system/docker.socket.d");
        assert_eq!(at("docker").unwrap(), "/run/systemd/system/docker.service.d");
        assert_eq!(at("docker@a\\x2db.service").unwrap(), "/run/systemd/system/docker@a\\x2db.service.d");
        for odd in ["", "..", "../a.service", "a/b.service", "a b", ".hidden"] {
            assert!(at(odd).unwrap_err().contains("is no unit's name"), "{odd}");
        }
        let record = Path::new("/var/lib/rollgate/migrate/0123456789abcdef0123");
        assert_eq!(name(record), "rollgate-hold-0123456789abcdef.conf");
    }
}

//! What modules that shift owners share: the ranges, where their records are, who looks on.

use super::{Context, ModuleError, ParamError};
use crate::fault::Changes;
use crate::migrate::{IdRange, Mapping, MigrateError, Watch};
use crate::protocol::ModuleCall;
use crate::serve::{Control, Ended, RunError};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// As many ids as a range has unless another number is asked for.
pub(super) fn whole_range() -> u32 {
    65_536
}

/// The ranges of `start`, `gid_start` (the same where it is not given) and `count`.
pub(super) fn mapping(
    call: &ModuleCall,
    start: u32,
    gid_start: Option<u32>,
    count: u32,
) -> Result<Mapping, ParamError> {
    let range = |name: &'static str, start| {
        IdRange::new(start, count).map_err(|what| ParamError::new(&call.module, name, &what))
    };
    Ok(Mapping { uid: range("start", start)?, gid: range("gid_start", gid_start.unwrap_or(start))? })
}

/// Where the record of a path is kept, below a directory of the module's own.
pub(super) fn record(cx: &Context, directory: &str, path: &Path) -> PathBuf {
    cx.state_dir.join(directory).join(crate::files::digest(path.as_os_str().as_bytes()))
}

pub(super) fn failed(error: MigrateError) -> ModuleError {
    match error {
        MigrateError::Journal(error) => ModuleError::Record(error),
        MigrateError::File(error) => ModuleError::File(error),
        error => ModuleError::failed(error.to_string()),
    }
}

/// Stops the work when its request is to end, and counts its changes.
pub(super) struct Asked<'a> {
    pub(super) control: &'a Control,
    pub(super) changes: Changes,
}

impl Asked<'_> {
    /// An error of the work, or why its request has ended.
    pub(super) fn failed(&self, module: &str, error: MigrateError) -> ModuleError {
        let program = module.to_owned();
        match self.control.ended() {
            Some(Ended::Cancelled) => RunError::Cancelled { program }.into(),
            Some(Ended::TimedOut) => RunError::TimedOut { program }.into(),
            None => failed(error),
        }
    }
}

impl Watch for Asked<'_> {
    fn go_on(&self) -> Result<(), MigrateError> {
        match self.control.ended() {
            Some(ended) => Err(MigrateError::Stopped(format!("{ended:?}"))),
            None => Ok(()),
        }
    }

    fn before_change(&self) -> Result<(), MigrateError> {
        self.changes.next();
        self.go_on()
    }
}

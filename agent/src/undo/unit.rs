//! systemd units: whether they are enabled and active.

use super::UndoError;
use crate::serve::{Control, Process};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// systemd's units of this boot; there while it is PID 1 (sd_booted(3)).
pub(crate) const RUNTIME_UNITS: &str = "/run/systemd/system";

/// How long one question to systemd may take.
const QUESTION: Duration = Duration::from_secs(30);

/// How long a start or stop may take before the attempt counts as failed.
const JOB: Duration = Duration::from_secs(300);

/// A unit's state, in systemd's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// `LoadState`: loaded, not-found, masked, ...
    pub load: String,
    /// `UnitFileState`: enabled, disabled, masked, static, ...; empty where there is no unit file.
    pub enabled: String,
    /// `ActiveState`: active, inactive, failed, ...
    pub active: String,
}

impl UnitState {
    /// Whether it runs, or is on its way to.
    #[must_use]
    pub fn runs(&self) -> bool {
        matches!(self.active.as_str(), "active" | "activating" | "reloading" | "refreshing")
    }

    /// Whether there is such a unit.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.load != "not-found"
    }

    /// Whether enablement and activity are the same (R28).
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.runs() == other.runs() && self.enabled == other.enabled
    }

    /// One line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let enabled = if self.enabled.is_empty() { "no unit file" } else { &self.enabled };
        format!("{}, {enabled}", self.active)
    }
}

/// Asks systemd.
///
/// # Errors
/// [`UndoError::Other`] where systemd cannot be asked.
pub fn unit_state(name: &str, control: &Control) -> Result<UnitState, UndoError> {
    let argv = ["systemctl", "show", "--property=LoadState,UnitFileState,ActiveState", "--", name];
    let finished = Process::new(argv, control)
        .timeout(QUESTION)
        .run()
        .map_err(|error| UndoError::Other(format!("the state of unit {name} cannot be asked: {error}")))?;
    if !finished.success() {
        let said = finished.stderr_text();
        return Err(UndoError::Other(format!("the state of unit {name} cannot be asked: {}", said.trim())));
    }
    let text = finished.stdout_text();
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default().to_owned()
    };
    Ok(UnitState { load: value("LoadState"), enabled: value("UnitFileState"), active: value("ActiveState") })
}

/// Runs `systemctl` with these words.
pub(super) fn systemctl(words: &[&str], control: &Control) -> Result<(), UndoError> {
    let argv = [&["systemctl"], words].concat();
    let said = |reason: &str| UndoError::Other(format!("`{}` failed: {reason}", argv.join(" ")));
    let finished = Process::new(&argv, control).timeout(JOB).run().map_err(|error| said(&error.to_string()))?;
    if finished.success() { Ok(()) } else { Err(said(finished.stderr_text().trim())) }
}

/// Makes enablement what it was. True if something was done.
pub(super) fn restore_enablement(name: &str, before: &UnitState, control: &Control) -> Result<bool, UndoError> {
    let now = unit_state(name, control)?;
    if now.enabled == before.enabled {
        return Ok(false);
    }
    if now.enabled.starts_with("masked") && !before.enabled.starts_with("masked") {
        systemctl(&["unmask", "--", name], control)?;
    }
    match before.enabled.as_str() {
        "enabled" => systemctl(&["enable", "--", name], control)?,
        "enabled-runtime" => systemctl(&["enable", "--runtime", "--", name], control)?,
        "masked" => systemctl(&["mask", "--", name], control)?,
        "masked-runtime" => systemctl(&["mask", "--runtime", "--", name], control)?,
        // A unit that did not exist, or was not enabled.
        "disabled" | "" if now.enabled.starts_with("enabled") => systemctl(&["disable", "--", name], control)?,
        _ => {}
    }
    Ok(true)
}

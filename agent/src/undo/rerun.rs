//! Running a bundled task: `undo:`, `rollback:` and handlers, without the controller and without a record of their own.

use super::UndoError;
use super::unit::systemctl;
use crate::modules::{Context, build};
use crate::protocol::{BundledTask, Change, HIDDEN, Mode, NON_ZERO};
use crate::serve::Control;
use std::path::Path;
use std::time::Duration;

/// The longest that a task without a timeout of its own may take: a host half put back must not hang.
const LONGEST: Duration = Duration::from_secs(600);

/// Characters of what a program wrote that are told.
const TOLD: usize = 2000;

/// Runs the task; true if it changed something. A failure is an error.
pub(super) fn run_bundled(task: &BundledTask, state_dir: &Path, control: &Control) -> Result<bool, UndoError> {
    let failed = |reason: String| UndoError::Other(reason);
    let module = build(&task.call).map_err(|error| failed(error.to_string()))?;
    let mut cx = Context::new(Mode::Apply, state_dir);
    cx.environment.clone_from(&task.environment);
    cx.control = control.quiet().within(task.timeout_ms.map_or(LONGEST, Duration::from_millis));
    if let Some(unit) = starts(task) {
        // The run and its undoing restart a service more often in a minute than its limit of starts may allow. That limit
        // is for services that crash. Where it cannot be reset, the start itself says why.
        let _not_loaded = systemctl(&["reset-failed", "--", unit], control);
    }
    let report = module
        .apply(&mut cx)
        .map_err(|error| failed(if task.no_log { HIDDEN.to_owned() } else { error.to_string() }))?;
    let Some(reason) = report.failed else { return Ok(report.change == Change::Changed) };
    if task.no_log {
        return Err(failed(HIDDEN.to_owned()));
    }
    let code = report.data.get("rc").map_or_else(|| NON_ZERO.to_owned(), |rc| format!("{NON_ZERO} {rc}"));
    let stream = |name: &str| report.data.get(name).and_then(|text| text.as_str()).filter(|text| !text.is_empty());
    let said: Option<String> =
        stream("stderr").or_else(|| stream("stdout")).map(|said| said.chars().take(TOLD).collect());
    let said = said.map_or_else(String::new, |said| format!(": {said}"));
    Err(failed(format!("{}{said}", reason.replacen(NON_ZERO, &code, 1))))
}

/// The unit that a task starts.
fn starts(task: &BundledTask) -> Option<&str> {
    let value = |name: &str| task.call.params.get(name).and_then(|value| value.as_str());
    let is_systemd = matches!(task.call.module.as_str(), "systemd" | "systemd_service");
    if is_systemd && matches!(value("state"), Some("started" | "restarted")) { value("name") } else { None }
}

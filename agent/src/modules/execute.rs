//! What `command` and `shell` share: `creates` and `removes`, running, and the registered result (ansible-core's
//! `command.py`).

use super::words::{glob, timestamp};
use super::{Context, ModuleError};
use crate::protocol::{Change, NON_ZERO, TaskReport};
use crate::serve::{CAPTURE_CAP, Finished, Process};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    pub(super) cmd: Option<String>,
    pub(super) argv: Option<Vec<Value>>,
    pub(super) executable: Option<String>,
    chdir: Option<PathBuf>,
    creates: Option<String>,
    removes: Option<String>,
    stdin: Option<String>,
    stdin_add_newline: Option<bool>,
    strip_empty_ends: Option<bool>,
    pub(super) expand_argument_vars: Option<bool>,
}

/// A command about to run.
pub(super) struct Execution<'a> {
    pub(super) params: &'a Params,
    /// What is executed.
    pub(super) argv: Vec<String>,
    /// `cmd` of the result.
    pub(super) shown: Value,
}

impl Execution<'_> {
    /// Without `creates` or `removes` nobody can know what a command would do.
    pub(super) fn check(&self) -> Result<TaskReport, ModuleError> {
        if let Some(report) = self.not_needed("Would") {
            return Ok(report);
        }
        let guarded = self.params.creates.is_some() || self.params.removes.is_some();
        let report = TaskReport::new(if guarded { Change::Changed } else { Change::Unknown });
        Ok(self.complete(report, 0, "", "").with("msg", "Command would have run if not in check mode"))
    }

    pub(super) fn run(&self, cx: &Context) -> Result<TaskReport, ModuleError> {
        if let Some(report) = self.not_needed("Did") {
            return Ok(report);
        }
        if let Some(directory) = &self.params.chdir
            && !directory.is_dir()
        {
            let sentence =
                format!("Unable to change directory before execution: {} is no directory", directory.display());
            return Ok(self.complete(TaskReport::new(Change::Unchanged), 0, "", "").failing(sentence));
        }
        let start = SystemTime::now();
        let finished = self.process(cx).run()?;
        Ok(self.finished(&finished, start))
    }

    fn process(&self, cx: &Context) -> Process {
        let mut process = cx.process(&self.argv).streamed(&cx.control);
        if let Some(directory) = &self.params.chdir {
            process = process.directory(directory);
        }
        if let Some(stdin) = &self.params.stdin {
            let newline = if self.params.stdin_add_newline.unwrap_or(true) { "\n" } else { "" };
            process = process.stdin(format!("{stdin}{newline}"));
        }
        process
    }

    fn finished(&self, finished: &Finished, start: SystemTime) -> TaskReport {
        let strip = self.params.strip_empty_ends.unwrap_or(true);
        let text = |text: String| if strip { text.trim_end_matches(['\r', '\n']).to_owned() } else { text };
        let (stdout, stderr) = (text(finished.stdout_text()), text(finished.stderr_text()));
        let mut report = self
            .complete(TaskReport::new(Change::Changed), finished.rc, &stdout, &stderr)
            .with("start", timestamp(start))
            .with("end", timestamp(start + finished.elapsed))
            .with("delta", delta(finished.elapsed));
        if finished.lost > 0 {
            report.warnings.push(format!(
                "the command wrote {} bytes more than the {CAPTURE_CAP} of a stream that are kept",
                finished.lost
            ));
        }
        if finished.success() { report } else { report.with("msg", NON_ZERO).failing(NON_ZERO) }
    }

    fn complete(&self, report: TaskReport, rc: i32, stdout: &str, stderr: &str) -> TaskReport {
        report.with("cmd", self.shown.clone()).with("rc", rc).with("stdout", stdout).with("stderr", stderr)
    }

    /// Why the command need not run: `creates` is there, or `removes` is not.
    fn not_needed(&self, would: &str) -> Option<TaskReport> {
        let base = self.params.chdir.as_deref().unwrap_or(Path::new("/"));
        let (path, state) = match (&self.params.creates, &self.params.removes) {
            (Some(creates), _) if glob(base, creates) => (creates, "exists"),
            (_, Some(removes)) if !glob(base, removes) => (removes, "does not exist"),
            _ => return None,
        };
        let stdout = format!("skipped, since {path} {state}");
        let message = format!("{would} not run command since '{path}' {state}");
        Some(self.complete(TaskReport::new(Change::Unchanged), 0, &stdout, "").with("msg", message))
    }
}

/// Python's `str(timedelta)` below a day.
fn delta(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{}:{:02}:{:02}.{:06}", seconds / 3600, seconds / 60 % 60, seconds % 60, elapsed.subsec_micros())
}

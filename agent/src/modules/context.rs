//! What a module may use: the mode, processes, the undo record, staged files.

use super::ModuleError;
use crate::protocol::Mode;
use crate::serve::{Control, Finished, Process};
use crate::undo::Recorder;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The surroundings of one module run.
#[derive(Debug)]
pub struct Context {
    /// Check or apply.
    pub mode: Mode,
    /// Whether the caller wants differences.
    pub diff: bool,
    /// Environment of the module's processes, beside the agent's own.
    pub environment: BTreeMap<String, String>,
    /// Cancellation, timeout and streamed output.
    pub control: Control,
    /// Where pre-images go, before the change. Records nothing when the task is part of no transaction.
    pub undo: Recorder,
    /// Where this agent keeps its state.
    pub state_dir: PathBuf,
}

impl Context {
    /// A context without transaction, for tests and for tasks outside a rollout.
    #[must_use]
    pub fn new(mode: Mode, state_dir: &Path) -> Self {
        Self {
            mode,
            diff: false,
            environment: BTreeMap::new(),
            control: Control::default(),
            undo: Recorder::inactive(),
            state_dir: state_dir.to_owned(),
        }
    }

    /// A process under this request's control and environment; its output is captured, not streamed.
    pub fn process<S: AsRef<OsStr>>(&self, argv: impl IntoIterator<Item = S>) -> Process {
        Process::new(argv, &self.control).environment(&self.environment)
    }

    /// Runs a program that must exit with 0, and gives its standard output.
    ///
    /// # Errors
    /// [`ModuleError::Failed`] with what it wrote to standard error.
    pub fn output_of<S: AsRef<OsStr>>(&self, argv: &[S]) -> Result<String, ModuleError> {
        let finished: Finished = self.process(argv).run()?;
        if finished.success() {
            return Ok(finished.stdout_text());
        }
        let words: Vec<String> = argv.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect();
        let said = if finished.stderr.is_empty() { finished.stdout_text() } else { finished.stderr_text() };
        Err(ModuleError::failed(format!("`{}` exited with {}: {}", words.join(" "), finished.rc, said.trim())))
    }

    /// The path of a staged file (see `Call::Blob`), complete and with the digest asked for.
    ///
    /// # Errors
    /// [`ModuleError::Failed`] if it has not been staged.
    pub fn blob(&self, sha256: &str) -> Result<PathBuf, ModuleError> {
        let named = sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let path = self.state_dir.join("blobs").join(sha256);
        if named && path.is_file() {
            return Ok(path);
        }
        Err(ModuleError::failed(format!("the file with sha256 {sha256} has not been staged on this host")))
    }
}

//! Runs the real binary in an environment of its own and writes down what it said: output, errors, exit code.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A directory to run in. Nothing of the machine's own settings is seen.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file below it.
    pub(crate) fn file(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    /// Runs `rollgate` with these arguments, split at spaces.
    pub(crate) fn rollgate(&self, arguments: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollgate"));
        command.args(arguments.split_whitespace()).current_dir(self.path()).env_clear();
        command.env("HOME", self.path()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("USER", "tester");
        command.env("ROLLGATE_STATE_DIR", self.path().join("state")).env("ROLLGATE_AGENT", agent());
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// The agent beside the controller; built here if a run of one package's tests has not built it.
pub(crate) fn agent() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_rollgate")).with_file_name("rollgate-agent");
    if !path.exists() {
        let built = Command::new(env!("CARGO")).args(["build", "--quiet", "-p", "rollgate-agent"]).status().unwrap();
        assert!(built.success(), "the agent could not be built");
    }
    path
}

/// What a command said.
#[must_use]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// One text for a snapshot: standard output, standard error, exit code.
    pub(crate) fn transcript(&self) -> String {
        let mut text = self.stdout.clone();
        if !self.stderr.is_empty() {
            text.push_str("------- stderr -------\n");
            text.push_str(&self.stderr);
        }
        text.push_str(&format!("[exit status: {}]\n", self.code.unwrap()));
        text
    }
}

/// What differs from run to run: ids, times, digests, the temporary directory.
pub(crate) fn filters(place: &Place) -> Vec<(String, &'static str)> {
    let directory = place.path().display().to_string();
    [
        (directory.as_str(), "[dir]"),
        (r"\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{6}", "[run]"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[time]"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "[time]"),
        (r"\b\d\d:\d\d:\d\dZ?", "[time]"),
        (r"sha256:[0-9a-f]{64}", "sha256:[digest]"),
        (r"agent [0-9a-f]{12}", "agent [digest]"),
        (r"\d+(\.\d)? s\b", "[n] s"),
        (r"clock is -?\d+ ms", "clock is [n] ms"),
        (r":\d{4,5}\b", ":[port]"),
    ]
    .map(|(pattern, with)| (pattern.to_owned(), with))
    .to_vec()
}

//! Questions to the docker command: fixed arguments, bounded in time, and an answer or the reason why there is none.

use super::container::Container;
use super::engine::Engine;
use super::volumes::Volume;
use crate::modules::{Context, ModuleError};
use crate::serve::{Finished, RunError};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// How many containers or volumes one `docker inspect` is asked about: about 10 kB each, within the captured output's cap.
const INSPECT_AT_ONCE: usize = 64;

/// Why the engine says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Silence {
    /// In words.
    pub(super) problem: String,
    /// It was asked, and did not answer in time.
    pub(super) timed_out: bool,
}

impl Silence {
    fn because(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), timed_out: false }
    }
}

/// The docker command.
#[derive(Debug)]
pub(super) struct Docker<'a> {
    cx: &'a Context,
    program: PathBuf,
    timeout: Duration,
}

impl<'a> Docker<'a> {
    /// A docker command at this path, that may take so long a question.
    pub(super) fn new(cx: &'a Context, program: PathBuf, timeout: Duration) -> Self {
        Self { cx, program, timeout }
    }

    /// `docker info`.
    ///
    /// # Errors
    /// [`Silence`]; [`ModuleError`] when the request itself is cancelled.
    pub(super) fn engine(&self) -> Result<Result<Engine, Silence>, ModuleError> {
        let finished = match self.run(&["info", "--format", "{{json .}}"])? {
            Ok(finished) => finished,
            Err(silence) => return Ok(Err(silence)),
        };
        let said = finished.stderr_text();
        // A client that reaches no daemon prints a document without a server, and why on standard error.
        Ok(match serde_json::from_slice::<Value>(&finished.stdout) {
            Ok(info) => Engine::read(&info).map_err(|why| {
                Silence::because(if finished.success() || said.trim().is_empty() { &why } else { said.trim() })
            }),
            Err(_) if !said.trim().is_empty() => Err(Silence::because(said.trim())),
            Err(error) => Err(Silence::because(format!("docker info gave no JSON: {error}"))),
        })
    }

    /// All containers, as `docker inspect` has them. Plain inspect and no template: a template that names a key which one
    /// container lacks gives nothing at all. One that vanishes meanwhile is left out.
    ///
    /// # Errors
    /// As [`Self::engine`].
    pub(super) fn containers(&self) -> Result<Result<Vec<Container>, Silence>, ModuleError> {
        let ids = match self.lines(&["ps", "--all", "--quiet", "--no-trunc"])? {
            Ok(ids) => ids,
            Err(silence) => return Ok(Err(silence)),
        };
        let argv = ["inspect", "--type", "container"];
        Ok(self.inspect(&argv, &ids)?.map(|list| list.iter().map(Container::read).collect()))
    }

    /// All volumes, as `docker volume inspect` has them. One that vanishes meanwhile is left out.
    ///
    /// # Errors
    /// As [`Self::engine`].
    pub(super) fn volumes(&self) -> Result<Result<Vec<Volume>, Silence>, ModuleError> {
        let names = match self.lines(&["volume", "ls", "--quiet"])? {
            Ok(names) => names,
            Err(silence) => return Ok(Err(silence)),
        };
        Ok(self.inspect(&["volume", "inspect"], &names)?.map(|list| list.iter().map(Volume::read).collect()))
    }

    /// Inspects things, as many at once as their answer has room for.
    fn inspect(&self, command: &[&str], names: &[String]) -> Result<Result<Vec<Value>, Silence>, ModuleError> {
        let mut found = Vec::new();
        let mut left: Vec<&[String]> = names.chunks(INSPECT_AT_ONCE).rev().collect();
        while let Some(chunk) = left.pop() {
            let mut argv = command.to_vec();
            argv.extend(chunk.iter().map(String::as_str));
            let finished = match self.run(&argv)? {
                Ok(finished) => finished,
                Err(silence) => return Ok(Err(silence)),
            };
            if finished.lost > 0 && chunk.len() > 1 {
                let (first, second) = chunk.split_at(chunk.len() / 2);
                left.extend([second, first]);
                continue;
            }
            match serde_json::from_slice::<Value>(&finished.stdout) {
                Ok(Value::Array(list)) => found.extend(list),
                _ => return Ok(Err(Silence::because(format!("docker inspect: {}", finished.stderr_text().trim())))),
            }
        }
        Ok(Ok(found))
    }

    fn lines(&self, arguments: &[&str]) -> Result<Result<Vec<String>, Silence>, ModuleError> {
        let finished = match self.run(arguments)? {
            Ok(finished) => finished,
            Err(silence) => return Ok(Err(silence)),
        };
        if !finished.success() || finished.lost > 0 {
            let command = arguments.first().copied().unwrap_or_default();
            return Ok(Err(Silence::because(format!("docker {command}: {}", finished.stderr_text().trim()))));
        }
        Ok(Ok(finished.stdout_text().lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()))
    }

    fn run(&self, arguments: &[&str]) -> Result<Result<Finished, Silence>, ModuleError> {
        let program = self.program.to_string_lossy();
        let argv = std::iter::once(program.as_ref()).chain(arguments.iter().copied());
        match self.cx.process(argv).timeout(self.timeout).run() {
            Ok(finished) => Ok(Ok(finished)),
            // The request's own deadline ends the module; the question's is a fact about the engine.
            Err(RunError::TimedOut { .. }) if self.cx.control.ended().is_none() => {
                let command = arguments.first().copied().unwrap_or_default();
                let problem = format!("docker {command} did not answer within {} s", self.timeout.as_secs());
                Ok(Err(Silence { problem, timed_out: true }))
            }
            Err(RunError::Start { source, .. }) => Ok(Err(Silence::because(format!("docker cannot be run: {source}")))),
            Err(error) => Err(error.into()),
        }
    }
}

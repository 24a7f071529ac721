//! One command without an agent: collect what it writes, end it at its deadline.

use super::{
    HostError, RawOutput,
    stream::{Exit, Output, Source},
};
use async_trait::async_trait;
use std::time::Duration;

/// Bytes kept of one command's output (S7).
const LIMIT: usize = 64 << 20;

/// How long a command that was told to end may take before it is killed, and after that.
const GRACE: Duration = Duration::from_secs(2);

/// A process that can be told to end.
#[async_trait]
pub(crate) trait Process: Source {
    /// Asks the process group to end, with TERM, or ends it, with KILL. By SSH this is a request: sshd refuses it for a
    /// forced command and, without privilege separation, for root; such a command outlives its channel. Work that must
    /// not is the agent's.
    async fn kill(&mut self, hard: bool);
}

/// Collects until the end. No exit code stays none: it is never 0 (rust.md 2.2).
pub(crate) async fn collect(process: &mut dyn Process, deadline: Duration) -> Result<RawOutput, HostError> {
    let mut output = RawOutput { rc: None, stdout: Vec::new(), stderr: Vec::new() };
    match tokio::time::timeout(deadline, drain(process, &mut output)).await {
        Ok(Ok(())) => return Ok(output),
        Ok(Err(error)) => {
            process.kill(true).await;
            return Err(error);
        }
        Err(_) => {}
    }
    for hard in [false, true] {
        process.kill(hard).await;
        if tokio::time::timeout(GRACE, drain(process, &mut output)).await.is_ok() {
            break;
        }
    }
    Err(HostError::Deadline { after: deadline })
}

async fn drain(process: &mut dyn Process, output: &mut RawOutput) -> Result<(), HostError> {
    let mut ended = false;
    loop {
        match process.next().await {
            Output::Stdout(bytes) => output.stdout.extend_from_slice(&bytes),
            Output::Stderr(bytes) => output.stderr.extend_from_slice(&bytes),
            Output::Exit(exit) => {
                ended = true;
                if let Exit::Code(code) = exit {
                    output.rc = Some(code);
                }
            }
            Output::End if ended => return Ok(()),
            Output::End => {
                return Err(HostError::Lost { message: "the channel closed without an exit code".to_owned() });
            }
        }
        if output.stdout.len() + output.stderr.len() > LIMIT {
            return Err(HostError::Protocol { message: format!("the command wrote more than {} MiB", LIMIT >> 20) });
        }
    }
}

/// Quotes a word for a POSIX shell.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

//! A child process on this machine as a stream, in a process group of its own so that Ctrl-C does not reach it.

use super::stream::{Exit, Output, Sink, Source};
use async_trait::async_trait;
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{io, os::unix::process::ExitStatusExt as _, process::Stdio};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};

const CHUNK: usize = 64 << 10;

/// Starts a command whose input is empty. It is killed when its source is dropped.
pub(crate) fn start(command: &mut Command) -> io::Result<ChildSource> {
    Ok(spawn(command.stdin(Stdio::null()), true)?.0)
}

/// Starts an agent. It is never killed: it ends with its input, after a critical step that may be under way (R2).
pub(crate) fn start_agent(command: &mut Command) -> io::Result<(ChildSource, ChildSink)> {
    spawn(command.stdin(Stdio::piped()), false)
}

fn spawn(command: &mut Command, kill_on_drop: bool) -> io::Result<(ChildSource, ChildSink)> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()?;
    let sink = ChildSink(child.stdin.take());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    Ok((ChildSource { stdout, stderr, child, exited: false, kill_on_drop }, sink))
}

/// What the child writes, and how it ends.
pub(crate) struct ChildSource {
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    exited: bool,
    kill_on_drop: bool,
}

impl ChildSource {
    /// Signals the child's whole process group.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid.filter(|_| !self.exited) {
            // A group that has gone needs no signal.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for ChildSource {
    fn drop(&mut self) {
        if self.kill_on_drop {
            self.signal(Signal::KILL);
        }
    }
}

async fn read(stream: &mut Option<impl tokio::io::AsyncRead + Unpin>) -> Option<Vec<u8>> {
    let reader = stream.as_mut()?;
    let mut bytes = Vec::with_capacity(CHUNK);
    match reader.read_buf(&mut bytes).await {
        Ok(1..) => Some(bytes),
        // A pipe that fails has ended as surely as one that is closed.
        Ok(0) | Err(_) => {
            *stream = None;
            None
        }
    }
}

#[async_trait]
impl Source for ChildSource {
    async fn next(&mut self) -> Output {
        while self.stdout.is_some() || self.stderr.is_some() {
            let (stdout, stderr) = (self.stdout.is_some(), self.stderr.is_some());
            let output = tokio::select! {
                bytes = read(&mut self.stdout), if stdout => bytes.map(Output::Stdout),
                bytes = read(&mut self.stderr), if stderr => bytes.map(Output::Stderr),
            };
            if let Some(output) = output {
                return output;
            }
        }
        if self.exited {
            return Output::End;
        }
        let status = self.child.wait().await;
        self.exited = true;
        match status {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Output::Exit(Exit::Code(code)),
                (None, signal) => Output::Exit(Exit::Signal(signal.unwrap_or_default().to_string())),
            },
            Err(_) => Output::End,
        }
    }
}

/// The child's standard input.
pub(crate) struct ChildSink(Option<ChildStdin>);

#[async_trait]
impl Sink for ChildSink {
    async fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        let Some(stdin) = &mut self.0 else { return Err(io::ErrorKind::BrokenPipe.into()) };
        stdin.write_all(&bytes).await?;
        stdin.flush().await
    }

    async fn end(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn outputs(line: &str) -> Vec<Output> {
        let mut source = start(Command::new("/bin/sh").args(["-c", line])).unwrap();
        let mut all = Vec::new();
        loop {
            match source.next().await {
                Output::End => return all,
                output => all.push(output),
            }
        }
    }

    /// Whichever stream ends first, the other is read to its end and the exit code follows.
    #[tokio::test]
    async fn streams_may_end_in_any_order() {
        for line in ["exec >&-; echo x >&2; exit 3", "exec 2>&-; echo x; exit 3"] {
            let all = outputs(line).await;
            assert_eq!(all.len(), 2, "{line}: {all:?}");
            assert_eq!(all[1], Output::Exit(Exit::Code(3)));
        }
        assert_eq!(outputs("kill -9 $$").await, [Output::Exit(Exit::Signal("9".into()))]);
    }
}

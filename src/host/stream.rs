//! A process at the other end, whatever lies between: what the mux and `raw` need of a channel or a child.

use async_trait::async_trait;
use bytes::Bytes;

/// What comes from a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// Bytes of standard output.
    Stdout(Vec<u8>),
    /// Bytes of standard error.
    Stderr(Vec<u8>),
    /// How it ended; may come before its last bytes (rust.md 2.2).
    Exit(Exit),
    /// Nothing more comes.
    End,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(String),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(name) => write!(f, "signal {name}"),
        }
    }
}

/// The reading end. Must be drained at once: an undrained channel freezes its whole connection.
#[async_trait]
pub(crate) trait Source: Send {
    /// The next output; [`Output::End`] for ever once it has ended.
    async fn next(&mut self) -> Output;
}

/// The writing end.
#[async_trait]
pub(crate) trait Sink: Send {
    /// Writes all of it; waits while the other side does not read.
    async fn send(&mut self, bytes: Bytes) -> std::io::Result<()>;

    /// Ends standard input.
    async fn end(&mut self);
}

/// The end of what a process wrote to standard error: enough to say why it failed.
#[derive(Debug, Default)]
pub(crate) struct Tail(Vec<u8>);

impl Tail {
    const KEPT: usize = 2048;

    /// Adds bytes, forgets the oldest.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let over = self.0.len().saturating_sub(Self::KEPT);
        self.0.drain(..over);
    }

    /// The text, on one line, without control characters (S13).
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.join(" / ").chars().filter(|c| !c.is_control()).collect()
    }
}

/// What is known of an ended process, as the end of a sentence.
pub(crate) fn ending(exit: Option<&Exit>, stderr: &Tail) -> String {
    let stderr = stderr.text();
    match (exit, stderr.is_empty()) {
        (Some(exit), true) => format!("it ended with {exit}"),
        (Some(exit), false) => format!("it ended with {exit}: {stderr}"),
        (None, true) => "the connection closed".to_owned(),
        (None, false) => format!("the connection closed: {stderr}"),
    }
}

//! A command on a channel. The only place that touches channels, after the rules of rust.md 2.2: always drain; the exit
//! status may come anywhere; never close and wait; end by signal.

use super::pace::Pace;
use crate::host::{Exit, HostError, Output, Process, Sink, Source, Stage};
use async_trait::async_trait;
use bytes::Bytes;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig, client::Msg};
use std::{io, sync::Arc};

/// Runs a command line by the login shell. Nothing is awaited of the host here. Told to end when its source is dropped.
pub(crate) async fn exec(channel: Channel<Msg>, line: &str) -> Result<(ChannelSource, ChannelSink), HostError> {
    start(channel, line, true, None).await
}

/// The same for an agent, which is never signalled: it ends with its input, after a critical step that may be under
/// way (rollout.md R2). On a machine that it shares with us (`near`) it is sent no more than it reads at once.
pub(crate) async fn exec_agent(
    channel: Channel<Msg>,
    line: &str,
    near: bool,
) -> Result<(ChannelSource, ChannelSink), HostError> {
    start(channel, line, false, near.then(Arc::default)).await
}

async fn start(
    channel: Channel<Msg>,
    line: &str,
    signalled: bool,
    pace: Option<Arc<Pace>>,
) -> Result<(ChannelSource, ChannelSink), HostError> {
    let (reader, writer) = channel.split();
    let writer = Arc::new(writer);
    writer.exec(true, line.as_bytes()).await.map_err(|error| HostError::Unreachable {
        stage: Stage::Connect,
        message: format!("the connection was gone before the command was sent: {error}"),
        hint: None,
    })?;
    let source =
        ChannelSource { reader, writer: writer.clone(), pace: pace.clone(), signalled, refused: false, ended: false };
    Ok((source, ChannelSink { writer, pace, ended: false }))
}

/// What the command writes. Closing the channel alone would leave the command running.
pub(crate) struct ChannelSource {
    reader: ChannelReadHalf,
    writer: Arc<ChannelWriteHalf<Msg>>,
    pace: Option<Arc<Pace>>,
    signalled: bool,
    refused: bool,
    ended: bool,
}

#[async_trait]
impl Source for ChannelSource {
    async fn next(&mut self) -> Output {
        // A host that refuses the command keeps its channel open and says nothing more.
        while !self.ended && !self.refused {
            match self.reader.wait().await {
                Some(ChannelMsg::Data { data }) => return Output::Stdout(data.to_vec()),
                Some(ChannelMsg::ExtendedData { data, .. }) => return Output::Stderr(data.to_vec()),
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    return Output::Exit(Exit::Code(i32::try_from(exit_status).unwrap_or(i32::MAX)));
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    return Output::Exit(Exit::Signal(format!("{signal_name:?}")));
                }
                Some(ChannelMsg::Failure) => {
                    self.refused = true;
                    return Output::Stderr(b"the host refuses to run commands for this user".to_vec());
                }
                Some(ChannelMsg::WindowAdjusted { new_size }) => {
                    if let Some(pace) = &self.pace {
                        pace.adjusted(new_size);
                    }
                }
                Some(ChannelMsg::Close) | None => self.ended = true,
                Some(_) => {}
            }
        }
        Output::End
    }
}

#[async_trait]
impl Process for ChannelSource {
    async fn kill(&mut self, hard: bool) {
        // A connection that is gone has nothing left to end.
        drop(self.writer.signal(if hard { Sig::KILL } else { Sig::TERM }).await);
    }
}

impl Drop for ChannelSource {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (writer, signalled) = (self.writer.clone(), self.signalled);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                drop(writer.eof().await);
                if signalled {
                    drop(writer.signal(Sig::TERM).await);
                }
                drop(writer.close().await);
            });
        }
    }
}

/// The command's standard input.
pub(crate) struct ChannelSink {
    writer: Arc<ChannelWriteHalf<Msg>>,
    pace: Option<Arc<Pace>>,
    ended: bool,
}

#[async_trait]
impl Sink for ChannelSink {
    async fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        if let Some(pace) = &self.pace {
            pace.wait_for(bytes.len()).await;
        }
        self.writer
            .data_bytes(bytes)
            .await
            .map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error.to_string()))
    }

    async fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            drop(self.writer.eof().await);
        }
    }
}

//! The channel: frames on standard input and output, and the lease (rollout.md R2).

use super::agent::{Agent, ServeError, greeting};
use super::requests::Requests;
use super::writer::Outbox;
use crate::protocol::{FrameError, FromAgent, Hello, PROTOCOL_VERSION, ToAgent, read_frame};
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// How long an agent goes on without hearing anything.
pub const LEASE: Duration = Duration::from_secs(30);

/// How long the last answers may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How many frames may wait to be looked at: with the largest ones, 48 MiB (S7).
const WAITING: usize = 2;

/// Why a channel ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// The controller closed it.
    Closed,
    /// Nothing was heard for the lease's time.
    LeaseExpired,
    /// The controller speaks another version; it has been told ours.
    OtherProtocol,
}

/// Serves one channel to its end. Requests still under way then are ended; critical ones finish.
///
/// # Errors
/// [`ServeError`] for a channel that never began, or a frame that cannot be read.
pub fn serve(
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    lease: Duration,
) -> Result<Ending, ServeError> {
    let frames = reader(input)?;
    let outbox = Outbox::default();
    writer(output, outbox.clone())?;
    let result = converse(&frames, &outbox, lease);
    outbox.close();
    outbox.wait(LAST_WORDS);
    result
}

fn converse(
    frames: &Receiver<Result<ToAgent, FrameError>>,
    outbox: &Outbox,
    lease: Duration,
) -> Result<Ending, ServeError> {
    let hello = match next(frames, lease)? {
        Ok(ToAgent::Hello(hello)) => hello,
        Ok(_) => return Err(ServeError::Protocol("the first frame is no hello".to_owned())),
        Err(ending) => return Ok(ending),
    };
    let Some(agent) = welcome(&hello, outbox)? else { return Ok(Ending::OtherProtocol) };
    let requests = Requests::new(agent, outbox.clone());
    let ending = loop {
        match next(frames, lease) {
            Ok(Ok(ToAgent::Request { id, call })) => requests.start(id, call),
            Ok(Ok(ToAgent::Cancel { id })) => requests.cancel(id),
            Ok(Ok(ToAgent::Heartbeat)) => {}
            Ok(Ok(ToAgent::Hello(_))) => break Err(ServeError::Protocol("a second hello".to_owned())),
            Ok(Err(ending)) => break Ok(ending),
            Err(error) => break Err(error),
        }
    };
    requests.finish();
    ending
}

/// Greets. None if the controller speaks another version.
fn welcome(hello: &Hello, outbox: &Outbox) -> Result<Option<Agent>, ServeError> {
    if hello.protocol != PROTOCOL_VERSION {
        outbox.send(&FromAgent::Welcome(greeting(&std::env::current_exe().unwrap_or_default())));
        return Ok(None);
    }
    let agent = Agent::open(hello)?;
    outbox.send(&FromAgent::Welcome(agent.welcome()?));
    Ok(Some(agent))
}

/// The next frame, or why there is none.
fn next(
    frames: &Receiver<Result<ToAgent, FrameError>>,
    lease: Duration,
) -> Result<Result<ToAgent, Ending>, ServeError> {
    match frames.recv_timeout(lease) {
        Ok(Ok(message)) => Ok(Ok(message)),
        Ok(Err(FrameError::Closed)) | Err(RecvTimeoutError::Disconnected) => Ok(Err(Ending::Closed)),
        Err(RecvTimeoutError::Timeout) => Ok(Err(Ending::LeaseExpired)),
        Ok(Err(error)) => Err(ServeError::Protocol(error.to_string())),
    }
}

/// Reads frames in a thread of its own, so that a frame that never ends cannot stop the lease.
fn reader(mut input: impl Read + Send + 'static) -> Result<Receiver<Result<ToAgent, FrameError>>, ServeError> {
    let (send, frames) = sync_channel(WAITING);
    let read = move || {
        loop {
            let frame = read_frame(&mut input);
            let last = frame.is_err();
            if send.send(frame).is_err() || last {
                return;
            }
        }
    };
    std::thread::Builder::new().name("reader".to_owned()).spawn(read).map_err(no_thread)?;
    Ok(frames)
}

fn writer(output: impl Write + Send + 'static, outbox: Outbox) -> Result<(), ServeError> {
    let write = move || outbox.drain(output);
    std::thread::Builder::new().name("writer".to_owned()).spawn(write).map(|_| ()).map_err(no_thread)
}

fn no_thread(error: std::io::Error) -> ServeError {
    ServeError::Protocol(format!("no thread for the channel: {error}"))
}

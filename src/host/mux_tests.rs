//! The mux against a peer that does what a test says, well-behaved and hostile.

use super::*;
use crate::host::RunAs;
use async_trait::async_trait;
use rollgate_agent::protocol::{Call, Stream, read_frame};
use std::io::Cursor;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    task::JoinHandle,
};

struct Near(ReadHalf<DuplexStream>);

#[async_trait]
impl Source for Near {
    async fn next(&mut self) -> Output {
        let mut bytes = vec![0; 8192];
        match self.0.read(&mut bytes).await {
            Ok(0) | Err(_) => Output::End,
            Ok(n) => {
                bytes.truncate(n);
                Output::Stdout(bytes)
            }
        }
    }
}

struct NearSink(WriteHalf<DuplexStream>);

#[async_trait]
impl Sink for NearSink {
    async fn send(&mut self, bytes: bytes::Bytes) -> std::io::Result<()> {
        self.0.write_all(&bytes).await
    }

    async fn end(&mut self) {
        drop(self.0.shutdown().await);
    }
}

/// The far end: reads frames, writes what it likes.
struct Peer(DuplexStream);

impl Peer {
    async fn read(&mut self) -> Option<ToAgent> {
        let mut head = [0; 4];
        self.0.read_exact(&mut head).await.ok()?;
        let mut body = vec![0; u32::from_be_bytes(head) as usize];
        self.0.read_exact(&mut body).await.ok()?;
        let whole = [head.as_slice(), &body].concat();
        Some(read_frame(&mut Cursor::new(whole)).unwrap())
    }

    /// The next request's id; heartbeats are passed over.
    async fn request(&mut self) -> u64 {
        loop {
            match self.read().await {
                Some(ToAgent::Request { id, .. }) => return id,
                Some(_) => {}
                None => panic!("no request came"),
            }
        }
    }

    async fn cancel(&mut self) -> u64 {
        loop {
            match self.read().await {
                Some(ToAgent::Cancel { id }) => return id,
                Some(_) => {}
                None => panic!("no cancel came"),
            }
        }
    }

    async fn say(&mut self, message: &FromAgent) {
        self.0.write_all(&encode(message).unwrap()).await.unwrap();
    }

    async fn answer(&mut self, id: u64, result: Result<Answer, AgentError>) {
        self.say(&FromAgent::Response { id, result }).await;
    }
}

fn hello_back() -> FromAgent {
    FromAgent::Welcome(Welcome {
        protocol: PROTOCOL_VERSION,
        version: "0".into(),
        uid: 0,
        path: "/agent".into(),
        state_dir: "/state".into(),
        boot: "b".into(),
        clock_ms: 0,
        generation: 0,
        open_txn: None,
        sudo_records: None,
    })
}

async fn pair() -> (Arc<Mux>, Peer) {
    let (near, far) = duplex(64 << 10);
    let (reader, writer) = split(near);
    let mut peer = Peer(far);
    peer.say(&hello_back()).await;
    let mux = Mux::start(Box::new(Near(reader)), Box::new(NearSink(writer)), &[], Stage::Agent).await.unwrap();
    (Arc::new(mux), peer)
}

fn request(deadline: Duration, cancel: &CancellationToken) -> Request {
    Request { call: Call::Facts, run_as: RunAs::Login, deadline, cancel: cancel.clone(), progress: None }
}

fn call(mux: &Arc<Mux>, request: Request) -> JoinHandle<Reply> {
    let mux = mux.clone();
    tokio::spawn(async move { mux.call(request).await })
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn answers_find_their_calls_in_any_order() {
    let (mux, mut peer) = pair().await;
    let token = CancellationToken::new();
    let first = call(&mux, request(MINUTE, &token));
    let a = peer.request().await;
    let second = call(&mux, request(MINUTE, &token));
    let b = peer.request().await;
    peer.answer(b, Ok(Answer::Done)).await;
    peer.answer(a, Ok(Answer::Facts(serde_json::Map::new()))).await;
    assert!(matches!(first.await.unwrap(), Ok(Answer::Facts(_))));
    assert!(matches!(second.await.unwrap(), Ok(Answer::Done)));
}

#[tokio::test(start_paused = true)]
async fn progress_that_nobody_reads_is_dropped_and_the_answer_comes() {
    let (mux, mut peer) = pair().await;
    let (sender, mut progress) = mpsc::channel(2);
    let mut asked = request(MINUTE, &CancellationToken::new());
    asked.progress = Some(sender);
    let answer = call(&mux, asked);
    let id = peer.request().await;
    for n in 0..100u8 {
        let progress = Progress::Output { stream: Stream::Stdout, data: vec![n] };
        peer.say(&FromAgent::Progress { id, progress }).await;
    }
    peer.answer(id, Ok(Answer::Done)).await;
    assert!(answer.await.unwrap().is_ok());
    let mut kept = 0;
    while progress.recv().await.is_some() {
        kept += 1;
    }
    assert_eq!(kept, 2, "a bounded queue, dropped when full");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_is_cut_and_its_answer_awaited() {
    let (mux, mut peer) = pair().await;
    let token = CancellationToken::new();
    let answer = call(&mux, request(MINUTE, &token));
    let id = peer.request().await;
    token.cancel();
    assert_eq!(peer.cancel().await, id);
    let cut = AgentError { kind: AgentErrorKind::Cancelled, message: "ended".into() };
    peer.answer(id, Err(cut.clone())).await;
    assert_eq!(answer.await.unwrap().unwrap_err(), HostError::Agent(cut));
}

#[tokio::test(start_paused = true)]
async fn a_call_past_its_deadline_is_cut_and_the_agents_word_is_the_outcome() {
    let (mux, mut peer) = pair().await;
    let answer = call(&mux, request(MINUTE, &CancellationToken::new()));
    let id = peer.request().await;
    assert_eq!(peer.cancel().await, id);
    peer.answer(id, Err(AgentError { kind: AgentErrorKind::Cancelled, message: "ended".into() })).await;
    let HostError::Agent(error) = answer.await.unwrap().unwrap_err() else { panic!("the agent answered") };
    assert_eq!(error.kind, AgentErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_never_answers_costs_the_deadline_and_the_grace_only() {
    let (mux, mut peer) = pair().await;
    let answer = call(&mux, request(MINUTE, &CancellationToken::new()));
    peer.request().await;
    assert_eq!(answer.await.unwrap().unwrap_err(), HostError::Deadline { after: MINUTE });
    assert!(mux.alive(), "one slow call does not lose the host");
}

#[tokio::test(start_paused = true)]
async fn a_lost_channel_resolves_every_call_under_way_and_later_calls_have_not_begun() {
    let (mux, mut peer) = pair().await;
    let token = CancellationToken::new();
    let calls: Vec<_> = (0..3).map(|_| call(&mux, request(MINUTE, &token))).collect();
    for _ in 0..3 {
        peer.request().await;
    }
    drop(peer);
    for call in calls {
        assert!(matches!(call.await.unwrap(), Err(HostError::Lost { .. })));
    }
    assert!(!mux.alive());
    assert!(matches!(mux.call(request(MINUTE, &token)).await, Err(HostError::Unreachable { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_a_cancel_behind() {
    let (mux, mut peer) = pair().await;
    let answer = call(&mux, request(MINUTE, &CancellationToken::new()));
    let id = peer.request().await;
    answer.abort();
    assert_eq!(peer.cancel().await, id);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_come_while_nothing_else_does() {
    let (_mux, mut peer) = pair().await;
    for _ in 0..3 {
        assert!(matches!(peer.read().await, Some(ToAgent::Heartbeat)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_breaks_the_protocol_is_lost_alone() {
    let token = CancellationToken::new();
    let never_asked = encode(&FromAgent::Response { id: 99, result: Ok(Answer::Done) }).unwrap();
    let too_large = u32::MAX.to_be_bytes().to_vec();
    let no_message = vec![0, 0, 0, 1, 0xc1];
    let twice = encode(&hello_back()).unwrap();
    for bytes in [never_asked, too_large, no_message, twice] {
        let (mux, mut peer) = pair().await;
        let answer = call(&mux, request(MINUTE, &token));
        peer.request().await;
        peer.0.write_all(&bytes).await.unwrap();
        assert!(matches!(answer.await.unwrap(), Err(HostError::Protocol { .. })), "{bytes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_mux_ends_the_agents_input() {
    let (mux, mut peer) = pair().await;
    drop(mux);
    while let Some(message) = peer.read().await {
        assert!(matches!(message, ToAgent::Heartbeat));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_too_large_for_a_frame_is_refused_before_it_is_sent() {
    use rollgate_agent::protocol::BlobPart;
    let (mux, mut peer) = pair().await;
    let data = vec![0; rollgate_agent::protocol::MAX_FRAME + 1];
    let part = BlobPart { sha256: String::new(), offset: 0, size: 0, data };
    let mut asked = request(MINUTE, &CancellationToken::new());
    asked.call = Call::Blob(part);
    let HostError::Agent(error) = mux.call(asked).await.unwrap_err() else { panic!("an error of the call") };
    assert_eq!(error.kind, AgentErrorKind::Invalid);
    assert!(matches!(peer.read().await, Some(ToAgent::Heartbeat)), "nothing of it was sent");
}

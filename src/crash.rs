//! Faults on purpose, in debug builds only: the controller ends itself by SIGKILL at a chosen point, for the crash test.
//!
//! `ROLLGATE_CRASH_AT=record:K` right after record K is on disk and nothing has come of it yet; `request:K` before the K-th
//! request to an agent leaves; `sent:K` when it has left; `answer:K` when its answer has come and nothing has come of it yet.
//! `ROLLGATE_CRASH_TRACE=FILE` writes the name of each request into a file.

#[cfg(debug_assertions)]
pub(crate) use on::{answered, now, record, request, sent};

#[cfg(not(debug_assertions))]
pub(crate) use off::{answered, now, record, request, sent};

#[cfg(debug_assertions)]
mod on {
    use rollgate_agent::protocol::Call;
    use std::{
        io::Write as _,
        sync::{
            LazyLock,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    static AT: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let text = std::env::var("ROLLGATE_CRASH_AT").ok()?;
        let (point, number) = text.split_once(':')?;
        Some((point.to_owned(), number.parse().ok()?))
    });

    static REQUESTS: AtomicU64 = AtomicU64::new(0);

    /// The number of a request in this process, from 1.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Request(u64);

    fn is_at(point: &str, number: u64) -> bool {
        AT.as_ref().is_some_and(|(at, wanted)| at == point && *wanted == number)
    }

    fn end() {
        // If this fails the crash test sees a run that did not crash.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }

    /// The record at which nothing more may be written, if there is one.
    pub(crate) fn record(seqs: impl Iterator<Item = u64>) -> Option<usize> {
        let mut seqs = seqs;
        seqs.position(|seq| is_at("record", seq))
    }

    /// Ends the process now.
    pub(crate) fn now() {
        end();
    }

    /// A request is about to leave.
    pub(crate) fn request(call: &Call) -> Request {
        let number = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
        if let Ok(path) = std::env::var("ROLLGATE_CRASH_TRACE") {
            let name = format!("{call:?}");
            let name: String = name.chars().take_while(char::is_ascii_alphanumeric).collect();
            if let Ok(mut file) = fs_err::OpenOptions::new().create(true).append(true).open(path) {
                let _ = file.write_all(format!("{name}\n").as_bytes());
            }
        }
        if is_at("request", number) {
            end();
        }
        Request(number)
    }

    /// A request has been handed to the connection.
    pub(crate) async fn sent(request: Request) {
        if is_at("sent", request.0) {
            // For the connection to send it: the fault is to be in the middle of the work.
            tokio::time::sleep(Duration::from_millis(20)).await;
            end();
        }
    }

    /// An answer has come.
    pub(crate) fn answered(request: Request) {
        if is_at("answer", request.0) {
            end();
        }
    }
}

#[cfg(not(debug_assertions))]
mod off {
    use rollgate_agent::protocol::Call;

    pub(crate) fn record(_seqs: impl Iterator<Item = u64>) -> Option<usize> {
        None
    }

    pub(crate) fn now() {}

    pub(crate) fn request(_call: &Call) {}

    pub(crate) async fn sent((): ()) {}

    pub(crate) fn answered((): ()) {}
}

//! SIGINT, SIGTERM and SIGHUP become messages to the dispatcher; what they mean is decided there. So does an output that
//! nobody reads any more: what SIGPIPE would say.

use super::stop::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Listens from now on. Where the system refuses, the default action stays: the process ends.
pub fn listen(sender: &mpsc::Sender<Signal>) {
    let mut kinds = vec![(SignalKind::interrupt(), Signal::Interrupt), (SignalKind::terminate(), Signal::Terminate)];
    // `nohup` has said that a closed terminal is nothing to this run.
    if !ignores_hangup() {
        kinds.push((SignalKind::hangup(), Signal::Hangup));
    }
    for (kind, name) in kinds {
        let sender = sender.clone();
        if let Ok(mut stream) = signal(kind) {
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if sender.send(name.clone()).await.is_err() {
                        return;
                    }
                }
            });
        }
    }
}

/// Whether SIGHUP was ignored when this process began.
fn ignores_hangup() -> bool {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

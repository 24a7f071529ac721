//! SIGINT and SIGTERM become messages to the dispatcher; what they mean is decided there.

use super::stop::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Listens to SIGINT and SIGTERM from now on. Where the system refuses, the default action stays: the process ends.
pub fn listen() -> mpsc::Receiver<Signal> {
    let (sender, receiver) = mpsc::channel(8);
    for (kind, name) in [(SignalKind::interrupt(), Signal::Interrupt), (SignalKind::terminate(), Signal::Terminate)] {
        let sender = sender.clone();
        if let Ok(mut stream) = signal(kind) {
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if sender.send(name).await.is_err() {
                        return;
                    }
                }
            });
        }
    }
    receiver
}

//! One call to a host, under every limit that ends it: its deadline, an abort's grace, its own timeout.

use super::{dispatcher::Desk, stop::Level};
use crate::host::{Host, HostError, Request, RunAs};
use rollgate_agent::protocol::{Answer, Call, Progress, Welcome};
use std::time::Duration;
use tokio::{sync::mpsc::Sender, time::timeout};
use tokio_util::sync::CancellationToken;

/// Over a call's own deadline, which the host keeps itself: nothing waits longer, whatever the transport does.
const SLACK: Duration = Duration::from_secs(15);

/// How long a cancelled process group may take to end: TERM, 5 s, KILL, and the answer (rollout.md R2).
const CANCEL: Duration = Duration::from_secs(15);

/// How long opening a host may take: connect, authenticate, become, push the agent.
const OPEN: Duration = Duration::from_secs(120);

/// How a call is done.
#[derive(Clone)]
pub(crate) struct CallPlan {
    /// Whom the agent runs as.
    pub(crate) run_as: RunAs,
    /// How long the answer may take.
    pub(crate) deadline: Duration,
    /// How long it may go on after an abort; none: to its end (critical, R2).
    pub(crate) grace: Option<Duration>,
    /// Ends the call when what it is for is over.
    pub(crate) cancel: CancellationToken,
    /// Where output and progress go.
    pub(crate) progress: Option<Sender<Progress>>,
}

impl CallPlan {
    /// A call that nothing cuts but its deadline.
    pub(crate) fn whole(run_as: &RunAs, deadline: Duration) -> Self {
        Self { run_as: run_as.clone(), deadline, grace: None, cancel: CancellationToken::new(), progress: None }
    }

    /// A call that may go on for so long after an abort.
    pub(crate) fn cut_after(self, grace: Duration) -> Self {
        Self { grace: Some(grace), ..self }
    }
}

/// Opens a host within a deadline.
pub(crate) async fn open(host: &dyn Host, run_as: &RunAs) -> Result<Welcome, HostError> {
    timeout(OPEN, host.open(run_as)).await.unwrap_or(Err(HostError::Deadline { after: OPEN }))
}

/// Waits until the run has been aborted for so long.
pub(crate) async fn grace_over(desk: &Desk, grace: Duration) {
    desk.until(Level::Abort).await;
    tokio::time::sleep(grace).await;
}

/// Does a call. After an abort it has its grace, then its process group is ended, and then it has failed.
pub(crate) async fn call(desk: &Desk, host: &dyn Host, call: Call, plan: CallPlan) -> Result<Answer, HostError> {
    let CallPlan { run_as, deadline, grace, cancel, progress } = plan;
    let ended = CancellationToken::new();
    let request = Request { call, run_as, deadline, cancel: ended.clone(), progress };
    let whole = deadline + SLACK;
    let work = timeout(whole, host.call(request));
    tokio::pin!(work);
    let late = |_| Err(HostError::Deadline { after: deadline });
    let aborted = async {
        match grace {
            Some(grace) => grace_over(desk, grace).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = &mut work => return done.unwrap_or_else(late),
        () = aborted => {}
        () = cancel.cancelled() => {}
    }
    ended.cancel();
    match timeout(CANCEL, work).await {
        Ok(done) => done.unwrap_or_else(late),
        Err(_) => Err(HostError::Deadline { after: CANCEL }),
    }
}

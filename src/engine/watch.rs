//! Watching a host: its probes round after round, as long as the play wants to know.

use super::{
    probe::{Asking, ProbeRun},
    unit::Unit,
};
use crate::{
    journal::ProbePhase,
    playbook::Probe,
    rollout::{
        Policy,
        verdict::{Evidence, Verdict},
    },
};
use serde_json::{Map, Value};
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Before a host that was out of reach once is asked again.
const RECONNECT: Duration = Duration::from_secs(1);

/// What a watched host tells the play.
#[derive(Debug)]
pub(crate) enum News {
    /// The values that conditions read.
    Variables(Map<String, Value>),
    /// A probe that does not exist here.
    Absent(String),
    /// A round.
    Round { probe: String, phase: ProbePhase, verdict: Verdict, evidence: Box<Evidence> },
    /// The host is out of reach.
    Lost(String),
    /// A guard of it has fired although it was held; the flag is that of the play's turn in which it was armed.
    GuardLost { why: String, armed: Arc<AtomicBool> },
}

/// Where news go: the host's name with each. Unbounded: a host has at most one round of each probe under way.
pub(crate) type Wire = mpsc::UnboundedSender<(String, News)>;

/// For how long a host is watched.
#[derive(Debug, Clone, Copy)]
pub(crate) enum For {
    /// One round of each probe.
    OneRound,
    /// Until cancelled; a probe of many samples only until it has been healthy.
    Ever,
    /// Until then; a probe of many samples once, at the end.
    Bake(Instant),
}

/// A watch on a host.
#[derive(Clone)]
pub(crate) struct Watch {
    pub(crate) policy: Arc<Policy>,
    pub(crate) phase: ProbePhase,
    pub(crate) lasts: For,
    /// When the host's last step ended.
    pub(crate) last_step: Instant,
    pub(crate) cancel: CancellationToken,
    pub(crate) wire: Wire,
    /// Only these probes; none: all.
    pub(crate) only: Option<Vec<String>>,
    /// How long a probe must have been healthy without a break, after a rollback.
    pub(crate) settle: Duration,
}

impl Unit {
    /// Watches until there is nothing left to ask.
    pub(crate) async fn watch(&self, watch: &Watch) {
        let variables = self.variables(watch.policy.variables().into_iter());
        self.tell(watch, News::Variables(variables));
        let Some(rollout) = &self.play.play.rollout else { return };
        let wanted = |probe: &&Probe| watch.only.as_ref().is_none_or(|only| only.contains(&probe.name));
        let rounds = rollout.probes.iter().filter(wanted).map(|probe| self.watch_probe(probe, watch));
        tokio::select! {
            _ = futures::future::join_all(rounds) => {}
            // Rounds under way are ended by their own wait on the same token; this is for those that sleep.
            () = async { watch.cancel.cancelled().await; tokio::time::sleep(Duration::from_secs(20)).await } => {}
        }
    }

    fn tell(&self, watch: &Watch, news: News) {
        // A play that has ended needs no news.
        let _ = watch.wire.send((self.name.clone(), news));
    }

    async fn watch_probe(&self, probe: &Probe, watch: &Watch) {
        let many = probe.count > 1;
        let first = match watch.lasts {
            For::Bake(until) if many => until.saturating_duration_since(Instant::now()),
            For::Ever if watch.phase == ProbePhase::Verify => {
                probe.initial_delay.saturating_sub(watch.last_step.elapsed())
            }
            _ => Duration::ZERO,
        };
        if !pause(watch, first).await {
            return;
        }
        let (mut healthy, mut lost, mut healthy_since) = (0, false, None);
        loop {
            let since = watch.last_step.elapsed();
            let asking = Asking { policy: &watch.policy, phase: watch.phase, since, cancel: &watch.cancel };
            let run = self.probe(probe, &asking).await;
            if watch.cancel.is_cancelled() {
                return;
            }
            match run {
                ProbeRun::Absent => {
                    // Before the change it says nothing of what comes after it: tasks may set what its `when` reads.
                    if matches!(watch.phase, ProbePhase::Verify | ProbePhase::Bake) {
                        self.tell(watch, News::Absent(probe.name.clone()));
                    }
                    return;
                }
                // A connection that broke may come back; a host that cannot be reached again is out of reach.
                ProbeRun::Lost(_) if !lost => {
                    lost = true;
                    if pause(watch, RECONNECT).await {
                        continue;
                    }
                    return;
                }
                ProbeRun::Lost(why) => return self.tell(watch, News::Lost(why)),
                ProbeRun::Round(verdict, evidence) => {
                    lost = false;
                    healthy = if verdict == Verdict::Healthy { healthy + 1 } else { 0 };
                    healthy_since = healthy_since.filter(|_| healthy > 0).or((healthy > 0).then(Instant::now));
                    let probe = probe.name.clone();
                    self.tell(watch, News::Round { probe, phase: watch.phase, verdict, evidence });
                }
            }
            let settled = healthy >= probe.success_threshold.max(1)
                && healthy_since.is_some_and(|since| since.elapsed() >= watch.settle);
            let wait = match watch.lasts {
                For::OneRound => return,
                For::Ever if settled && (many || watch.phase == ProbePhase::Rollback) => return,
                For::Ever => probe.interval,
                For::Bake(until) => match until.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => probe.interval.min(left),
                    _ => return,
                },
            };
            if !pause(watch, wait).await {
                return;
            }
        }
    }
}

async fn pause(watch: &Watch, duration: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(duration) => true,
        () = watch.cancel.cancelled() => false,
    }
}

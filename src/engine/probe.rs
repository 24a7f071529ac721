//! One round of a probe on a host.

use super::{
    calls::{self, CallPlan},
    stop::Level,
    unit::{Unit, explained},
    values::{all, known, lookup, text},
};
use crate::{
    clock::millis,
    host::{HostError, RunAs},
    journal::ProbePhase,
    playbook::{Probe, ProbeFrom, ProbeTarget},
    rollout::{
        Item, Policy, Sample,
        verdict::{Evidence, Verdict},
    },
    template::Rendered,
    vars::{Scope, Variable},
};
use rollgate_agent::protocol::{Answer, Call, ProbeCall, ProbeKind};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What came of a round.
pub(crate) enum ProbeRun {
    /// It was measured, or could not be.
    Round(Verdict, Box<Evidence>),
    /// The probe's `when` is false here.
    Absent,
    /// The host is out of reach.
    Lost(String),
}

/// How a round is asked for.
pub(crate) struct Asking<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) phase: ProbePhase,
    /// Time since the host's last step.
    pub(crate) since: Duration,
    /// Ends the round.
    pub(crate) cancel: &'a CancellationToken,
}

impl Unit {
    /// Asks every item of a probe at once and judges the round.
    pub(crate) async fn probe(&self, probe: &Probe, asking: &Asking<'_>) -> ProbeRun {
        let scope = self.scope();
        let existing = match all(&scope, &probe.when) {
            Ok(Rendered::Known(exists)) => Ok(exists),
            Ok(Rendered::Unknown { because }) => Err(because),
            Err(why) => Err(why),
        };
        let items = match existing {
            Ok(false) => return ProbeRun::Absent,
            // What its condition reads may be set by the tasks that are still to come.
            Err(_) if asking.phase == ProbePhase::Baseline => return ProbeRun::Absent,
            Err(why) => Err(why),
            Ok(true) => self.own_address(probe).and_then(|own| probe_items(probe, &scope, &own)),
        };
        let items = match items {
            Ok(items) => items,
            Err(_) if asking.phase == ProbePhase::Baseline => return ProbeRun::Absent,
            Err(why) => return self.judged(probe, asking, &[broken(None, why)]),
        };
        let run_as = match self.play_run_as() {
            Ok(run_as) => run_as,
            Err(why) => return self.judged(probe, asking, &[broken(None, why)]),
        };
        let rounds = items.into_iter().map(|(label, kind)| self.ask(probe, asking, &run_as, label, kind));
        let mut measured = Vec::new();
        for answer in futures::future::join_all(rounds).await {
            match answer {
                Ok(item) => measured.push(item),
                Err(why) => return ProbeRun::Lost(why),
            }
        }
        self.judged(probe, asking, &measured)
    }

    fn judged(&self, probe: &Probe, asking: &Asking<'_>, items: &[Item]) -> ProbeRun {
        let Some(rules) = asking.policy.probe(&probe.name) else { return ProbeRun::Absent };
        let variables = self.variables(rules.variables());
        let (verdict, evidence) = rules.round(items, &variables, asking.since);
        ProbeRun::Round(verdict, Box::new(evidence))
    }

    /// The values that conditions over probes read of this host.
    pub(crate) fn variables<'a>(&self, names: impl Iterator<Item = &'a str>) -> Map<String, Value> {
        let scope = self.scope();
        names.filter_map(|name| Some((name.to_owned(), lookup(&scope, name).ok()??))).collect()
    }

    async fn ask(
        &self,
        probe: &Probe,
        asking: &Asking<'_>,
        run_as: &RunAs,
        label: Option<String>,
        kind: Result<ProbeKind, String>,
    ) -> Result<Item, String> {
        let kind = match kind {
            Ok(kind) => kind,
            Err(why) => return Ok(broken(label, why)),
        };
        let call = ProbeCall { kind, timeout_ms: millis(probe.timeout), count: probe.count };
        let deadline = probe.timeout * probe.count.max(1) + Duration::from_secs(10);
        let whole = CallPlan { cancel: asking.cancel.clone(), ..CallPlan::whole(run_as, deadline) };
        // An abort cuts what is measured, but for hosts that are put back. What is begun after it is asked on purpose.
        let aborted = self.run.desk.stopped().level >= Level::Abort;
        let cut = asking.phase != ProbePhase::Rollback && !aborted;
        let plan = if cut { whole.cut_after(Duration::ZERO) } else { whole };
        if probe.from == ProbeFrom::Controller {
            return Ok(self.ask_from_here(label, call, plan).await);
        }
        match calls::call(&self.run.desk, self.host.as_ref(), Call::Probe(call), plan).await {
            Ok(Answer::Probe(reports)) => {
                Ok(Item { label, samples: reports.into_iter().map(Sample::Report).collect() })
            }
            Ok(_) => Ok(broken(label, "the host gave an answer of another kind".to_owned())),
            Err(HostError::Agent(error)) => Ok(broken(label, error.message)),
            Err(error) => Err(explained(&error)),
        }
    }
}

impl Unit {
    /// Asks from the controller, as its own user. What fails here is no fault of the host's: it is an error (2.1).
    async fn ask_from_here(&self, label: Option<String>, call: ProbeCall, plan: CallPlan) -> Item {
        let plan = CallPlan { run_as: RunAs::Login, ..plan };
        let controller = self.run.controller();
        match calls::call(&self.run.desk, controller.as_ref(), Call::Probe(call), plan).await {
            Ok(Answer::Probe(reports)) => Item { label, samples: reports.into_iter().map(Sample::Report).collect() },
            Ok(_) => broken(label, "the controller's agent gave an answer of another kind".to_owned()),
            Err(HostError::Agent(error)) => broken(label, error.message),
            Err(error) => broken(label, format!("it cannot be asked from the controller: {}", explained(&error))),
        }
    }

    /// Where a bare port is: on the machine that asks, or where the controller reaches the host.
    fn own_address(&self, probe: &Probe) -> Result<String, String> {
        match probe.from {
            ProbeFrom::Host => Ok("localhost".to_owned()),
            ProbeFrom::Controller => (self.run.target)(&self.play.play, &self.name).map(|target| target.address),
        }
    }
}

fn broken(label: Option<String>, why: String) -> Item {
    Item { label, samples: vec![Sample::Error(why)] }
}

type Asked = (Option<String>, Result<ProbeKind, String>);

/// What is asked: once, or once an item of the loop.
fn probe_items(probe: &Probe, scope: &Scope, own: &str) -> Result<Vec<Asked>, String> {
    let Some(list) = &probe.r#loop else { return Ok(vec![(None, kind(probe, scope, own))]) };
    match known(scope, list)? {
        Value::Array(items) => Ok(items
            .into_iter()
            .map(|item| {
                let label = text(&item);
                let scope = scope.with("item", Variable::Data(item));
                (Some(label), kind(probe, &scope, own))
            })
            .collect()),
        other => Err(format!("the probe's loop is {other}, expected a list")),
    }
}

fn kind(probe: &Probe, scope: &Scope, own: &str) -> Result<ProbeKind, String> {
    match &probe.target {
        ProbeTarget::Command(command) => Ok(ProbeKind::Command { command: text(&known(scope, command)?) }),
        ProbeTarget::Http(target) => match known(scope, target)? {
            Value::Object(map) => {
                let field = |name: &str| map.get(name).map(text);
                let url = field("url").ok_or("http needs a url")?;
                Ok(ProbeKind::Http { url, unix_socket: field("unix_socket") })
            }
            url => Ok(ProbeKind::Http { url: text(&url), unix_socket: None }),
        },
        ProbeTarget::Unix(path) => Ok(ProbeKind::Unix { path: text(&known(scope, path)?) }),
        ProbeTarget::Tcp(target) => tcp(&text(&known(scope, target)?), own),
    }
}

/// `host:port`, `[address]:port`, or a port of the host itself, which has this address.
fn tcp(target: &str, own: &str) -> Result<ProbeKind, String> {
    let (host, port) = target.rsplit_once(':').unwrap_or((own, target));
    let port = port.trim().parse().map_err(|_| format!("tcp is {target}, expected host:port or a port"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(ProbeKind::Tcp { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcp_target_is_a_port_or_host_and_port() {
        let of = |target| match tcp(target, "localhost") {
            Ok(ProbeKind::Tcp { host, port }) => format!("{host} {port}"),
            other => format!("{other:?}"),
        };
        assert_eq!(of("8000"), "localhost 8000");
        assert_eq!(of("10.0.0.7:80"), "10.0.0.7 80");
        assert_eq!(of("[::1]:80"), "::1 80");
        assert!(tcp("web", "localhost").is_err());
        let Ok(ProbeKind::Tcp { host, .. }) = tcp("8000", "10.0.0.9") else { panic!("no port") };
        assert_eq!(host, "10.0.0.9", "a port of the host, seen from the controller");
    }
}

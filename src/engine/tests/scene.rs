//! One play of one change over scripted hosts, in paused time.

use super::{
    script::{Health, Script, ScriptFleet},
    support::{Log, Outcome, Project},
};
use crate::{
    engine::{self, Signal},
    error::Error,
    journal::HostState,
};
use std::{future::Future, sync::Arc};
use tokio::sync::mpsc;

/// Keys that a stanza has if it does not say otherwise.
const KEYS: [(&str, &str); 4] = [
    ("min_healthy_time", " 4s"),
    ("healthy_deadline", " 60s"),
    ("rollback_deadline", " 90s"),
    ("triggers", "\n      - name: sick\n        when: alive.consecutive_failures >= 3"),
];

/// A project and its fleet.
pub(super) struct Scene {
    pub(super) project: Project,
    pub(super) fleet: Arc<ScriptFleet>,
    pub(super) log: Log,
    pub(super) hosts: Vec<String>,
}

impl Scene {
    /// Hosts `a`, `b`, ... with these scripts; the stanza as given, its other keys as above.
    pub(super) fn new(stanza: &str, scripts: &[Script]) -> Self {
        let names: Vec<String> = ('a'..).take(scripts.len()).map(String::from).collect();
        let hosts: Vec<_> =
            names.iter().zip(scripts).map(|(name, script)| (name.as_str(), "", script.clone())).collect();
        Self::of(stanza, &hosts)
    }

    /// Hosts by name, variables and script.
    pub(super) fn of(stanza: &str, hosts: &[(&str, &str, Script)]) -> Self {
        let given = |key: &str| stanza.contains(&format!("    {key}:"));
        let keys: String =
            KEYS.iter().filter(|(key, _)| !given(key)).map(|(key, value)| format!("    {key}:{value}\n")).collect();
        let playbook = format!(
            "- hosts: all
  gather_facts: false
  rollout:
{stanza}
{keys}    probes:
      - name: alive
        command: look
        interval: 2s
        timeout: 5s
  tasks:
    - name: Change
      command: change it
      accept_irreversible: true
"
        );
        let lines: Vec<String> = hosts.iter().map(|(name, variables, _)| format!("{name} {variables}")).collect();
        let mut project = Project::new(&playbook, &lines.join("\n"));
        // Time is paused: the journal's thread would look like idleness.
        project.journal = false;
        let log = Log::default();
        let scripts = hosts.iter().map(|(name, _, script)| ((*name).to_owned(), script.clone())).collect();
        let fleet = ScriptFleet::new(scripts, &log);
        Self { project, fleet, log, hosts: hosts.iter().map(|(name, ..)| (*name).to_owned()).collect() }
    }

    /// Runs it; nobody says anything.
    pub(super) async fn run(&self) -> Outcome {
        self.run_with(|_, _| std::future::pending()).await
    }

    /// Runs it, with an operator who sees what happens and may say something.
    pub(super) async fn run_with<F: Future<Output = ()>>(
        &self,
        operator: impl FnOnce(Log, mpsc::Sender<Signal>) -> F,
    ) -> Outcome {
        let (sender, signals) = mpsc::channel(4);
        let operator = async {
            operator(Arc::clone(&self.log), sender.clone()).await;
            std::future::pending::<()>().await;
        };
        let run = tokio::select! {
            run = self.project.run_with(|_| self.fleet.clone(), &self.log, signals) => run,
            () = operator => unreachable!("the operator never leaves"),
        };
        for (host, state) in run.states() {
            let back = matches!(state, HostState::RolledBack | HostState::NeverStarted);
            assert!(!back || !self.fleet.is_changed(&host), "{host} is {state:?} and holds the change");
        }
        run
    }

    /// Runs it, or says why it was refused.
    pub(super) async fn try_run(&self) -> Result<Outcome, Error> {
        let (_signals, receiver) = mpsc::channel(4);
        let outcome = engine::run(self.project.spec(&self.log, receiver), self.fleet.clone()).await?;
        Ok(Outcome::of(outcome, std::mem::take(&mut *self.log.lock().expect("lock"))))
    }
}

/// Runs a scene of hosts `a`, `b`, ...
pub(super) async fn rollout(stanza: &str, scripts: &[Script]) -> Outcome {
    Scene::new(stanza, scripts).run().await
}

/// The same with an operator.
pub(super) async fn rollout_with<F: Future<Output = ()>>(
    stanza: &str,
    scripts: &[Script],
    operator: impl FnOnce(Log, mpsc::Sender<Signal>) -> F,
) -> Outcome {
    Scene::new(stanza, scripts).run_with(operator).await
}

/// A host that does what it should.
pub(super) fn good() -> Script {
    Script::default()
}

/// A host that is sick after its change.
pub(super) fn sick() -> Script {
    Script { after: vec![Health::Bad], ..Script::default() }
}

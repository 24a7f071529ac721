//! A project on disk, run with a fleet of the test's own.

use crate::{
    engine::{self, Options, RunBase, RunOutcome, RunSpec, Signal},
    host::Fleet,
    inventory,
    journal::{Event, EventKind, HostState, Reader, RunDir, StopCause},
    playbook,
    report::Sink,
    secrets::Redactor,
    vars::{self, World},
};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// What is seen of a run, in order: events and what hosts were asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    Event(Box<Event>),
    Call { host: String, call: String },
}

pub(super) type Log = Arc<Mutex<Vec<Seen>>>;

struct LogSink(Log);

impl Sink for LogSink {
    fn event(&mut self, event: &Event) {
        self.0.lock().expect("lock").push(Seen::Event(Box::new(event.clone())));
    }
}

/// A playbook and an inventory in a directory of their own.
pub(super) struct Project {
    pub(super) dir: tempfile::TempDir,
    pub(super) options: Options,
    /// Events go to a journal, too.
    pub(super) journal: bool,
}

pub(super) struct Outcome {
    pub(super) outcome: RunOutcome,
    pub(super) log: Vec<Seen>,
    pub(super) events: Vec<Event>,
}

impl Outcome {
    pub(super) fn of(outcome: RunOutcome, log: Vec<Seen>) -> Self {
        let events = log.iter().filter_map(|seen| match seen {
            Seen::Event(event) => Some(event.as_ref().clone()),
            Seen::Call { .. } => None,
        });
        let events = events.collect();
        Self { outcome, log, events }
    }

    pub(super) fn state(&self, host: &str) -> HostState {
        self.outcome.hosts.iter().find(|it| it.host == host).expect("a host of the run").state
    }

    pub(super) fn states(&self) -> Vec<(String, HostState)> {
        self.outcome.hosts.iter().map(|host| (host.host.clone(), host.state)).collect()
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &EventKind> {
        self.events.iter().map(|event| &event.kind)
    }

    /// The results of a task on a host, in order: status and message.
    pub(super) fn results(&self, host: &str, task: &str) -> Vec<(crate::journal::StepStatus, Option<String>)> {
        let steps: Vec<u64> = self
            .kinds()
            .filter_map(|kind| match kind {
                EventKind::StepIntent { id, info } if id.host == host && info.task == task => Some(id.seq),
                _ => None,
            })
            .collect();
        self.kinds()
            .filter_map(|kind| match kind {
                EventKind::StepResult { id, status, message, .. } if id.host == host && steps.contains(&id.seq) => {
                    Some((*status, message.clone()))
                }
                _ => None,
            })
            .collect()
    }
}

impl Project {
    pub(super) fn new(playbook: &str, inventory: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs_err::write(dir.path().join("play.yml"), playbook).expect("written");
        fs_err::write(dir.path().join("hosts.ini"), inventory).expect("written");
        Self { dir, options: Options::default(), journal: true }
    }

    pub(super) fn spec(&self, log: &Log, signals: mpsc::Receiver<Signal>) -> RunSpec {
        let playbook = playbook::load(&self.dir.path().join("play.yml")).unwrap_or_else(|error| panic!("{error}"));
        let sources = vec![self.dir.path().join("hosts.ini").display().to_string()];
        let inventory = inventory::load(&sources).unwrap_or_else(|error| panic!("{error}"));
        let options = vars::Options { check_mode: self.options.check, ..vars::Options::default() };
        let world = World::new(&inventory, &playbook, Vec::new(), &options).unwrap_or_else(|error| panic!("{error}"));
        let run_id = crate::journal::new_run_id(jiff::Timestamp::now());
        let dir = self.journal.then(|| RunDir::create(self.dir.path(), &run_id).expect("a run's directory"));
        RunSpec {
            command: "run".to_owned(),
            playbook: Arc::new(playbook),
            inventory: Arc::new(inventory),
            inventory_sources: sources,
            target: Arc::new({
                let world = Arc::clone(&world);
                move |play, host| {
                    vars::target(&world.scope(play, host), &vars::ConnectionDefaults::default())
                        .map_err(|error| error.message)
                }
            }),
            world,
            redactor: Redactor::new(),
            options: self.options.clone(),
            base: RunBase {
                agent_sha256: String::new(),
                user: "tester".to_owned(),
                dir,
                run_id,
                sinks: vec![Box::new(LogSink(Arc::clone(log)))],
                signals,
            },
        }
    }

    /// Runs it, with the fleet made for its run id; what sinks saw must be what the journal holds.
    pub(super) async fn run(&self, fleet: impl FnOnce(&str) -> Arc<dyn Fleet>, log: &Log) -> Outcome {
        let (_signals, receiver) = mpsc::channel(4);
        self.run_with(fleet, log, receiver).await
    }

    pub(super) async fn run_with(
        &self,
        fleet: impl FnOnce(&str) -> Arc<dyn Fleet>,
        log: &Log,
        signals: mpsc::Receiver<Signal>,
    ) -> Outcome {
        let spec = self.spec(log, signals);
        let dir = spec.base.dir.clone();
        let fleet = fleet(&spec.base.run_id);
        let outcome = engine::run(spec, fleet).await.unwrap_or_else(|error| panic!("{error}"));
        let run = Outcome::of(outcome, std::mem::take(&mut *log.lock().expect("lock")));
        if let Some(dir) = dir {
            let journal = Reader::open(&dir.journal()).expect("a sound journal");
            assert_eq!(journal.into_events(), run.events, "a sink sees what the journal holds");
        }
        run
    }
}

/// The hosts' states, in order.
pub(super) fn states(run: &Outcome) -> Vec<HostState> {
    run.states().into_iter().map(|(_, state)| state).collect()
}

/// Why a host is in its state.
pub(super) fn reason(run: &Outcome, host: &str) -> String {
    let host = run.outcome.hosts.iter().find(|it| it.host == host).expect("a host of the run");
    host.reason.clone().unwrap_or_default()
}

/// Cause and evidence of the abort.
pub(super) fn why_aborted(run: &Outcome) -> Option<(StopCause, String)> {
    run.kinds().find_map(|kind| match kind {
        EventKind::Aborted { cause, evidence, .. } => Some((cause.clone(), evidence.clone())),
        _ => None,
    })
}

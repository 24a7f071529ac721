//! A run that has ended: its exit code and what its journal says.

use rollgate::{
    journal::{Event, EventKind, FinalHost, HostState, Reader, RunDir, StepStatus, StopCause},
    report::{LineOptions, Lines, Paint},
};
use std::{path::Path, process::ExitStatus};

/// A run that has ended.
pub(crate) struct Outcome {
    /// Exit code.
    pub(crate) code: i32,
    /// What it wrote to standard error.
    pub(crate) stderr: String,
    /// Its journal, replayed.
    pub(crate) events: Vec<Event>,
}

impl Outcome {
    pub(super) fn of(status: ExitStatus, stderr: String, state_dir: &Path) -> Self {
        let events = match RunDir::list(state_dir).unwrap().last() {
            Some(run) => Reader::open(&run.journal()).unwrap().into_events(),
            None => Vec::new(),
        };
        let code =
            status.code().unwrap_or_else(|| panic!("the run was ended by a signal ({status}): it hung\n{stderr}"));
        Self { code, stderr, events }
    }

    /// Fails with the whole account unless the run ended with `code`.
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n{}", self.account());
        self
    }

    /// The run as the terminal would show it.
    pub(crate) fn account(&self) -> String {
        let options = LineOptions { verbosity: 1, diff: false, paint: Paint::new(false), files: None };
        let mut lines = Lines::new(options);
        let shown: String = self.events.iter().map(|event| lines.event(event)).collect();
        format!("{shown}\n{}", self.stderr)
    }

    /// The run's id.
    pub(crate) fn run_id(&self) -> &str {
        match self.events.first().map(|event| &event.kind) {
            Some(EventKind::RunStarted { run, .. }) => run,
            _ => panic!("the journal has no beginning\n{}", self.account()),
        }
    }

    /// The hosts at the end.
    pub(crate) fn final_hosts(&self) -> &[FinalHost] {
        match self.events.last().map(|event| &event.kind) {
            Some(EventKind::RunEnded { hosts, .. }) => hosts,
            _ => panic!("the journal has no end\n{}", self.account()),
        }
    }

    /// Fails unless exactly these hosts ended in exactly these states.
    pub(crate) fn expect_states(&self, wanted: &[(&str, HostState)]) {
        let states: Vec<(&str, HostState)> =
            self.final_hosts().iter().map(|host| (host.host.as_str(), host.state)).collect();
        assert_eq!(states, wanted, "{}", self.account());
    }

    /// Why a host ended as it did.
    pub(crate) fn reason(&self, host: &str) -> String {
        let found = self.final_hosts().iter().find(|known| known.host == host);
        found.and_then(|host| host.reason.clone()).unwrap_or_default()
    }

    /// The one trigger that fired: its name, host and evidence.
    pub(crate) fn fired(&self) -> (String, Option<String>, String) {
        let fired: Vec<_> = self
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::TriggerFired { trigger, host, evidence, dry_run: false, .. } => {
                    Some((trigger.clone(), host.clone(), evidence.clone()))
                }
                _ => None,
            })
            .collect();
        assert!(!fired.is_empty(), "no trigger fired\n{}", self.account());
        fired.into_iter().next().unwrap()
    }

    /// Why the run was aborted: the cause and the evidence.
    pub(crate) fn aborted(&self) -> (StopCause, String) {
        let aborted = self.events.iter().find_map(|event| match &event.kind {
            EventKind::Aborted { cause, evidence, .. } => Some((cause.clone(), evidence.clone())),
            _ => None,
        });
        aborted.unwrap_or_else(|| panic!("the run was not aborted\n{}", self.account()))
    }

    /// Tasks of a host that ended so.
    pub(crate) fn tasks(&self, host: &str, wanted: StepStatus) -> Vec<String> {
        let mut names = std::collections::BTreeMap::new();
        let mut found = Vec::new();
        for event in &self.events {
            match &event.kind {
                EventKind::StepIntent { id, info } if id.host == host => {
                    names.insert(id.seq, info.task.clone());
                }
                EventKind::StepResult { id, status, .. } if id.host == host && *status == wanted => {
                    found.push(names.get(&id.seq).cloned().unwrap_or_default());
                }
                _ => {}
            }
        }
        found
    }

    /// Whether an event of that sort is in the journal.
    pub(crate) fn has(&self, wanted: impl Fn(&EventKind) -> bool) -> bool {
        self.events.iter().any(|event| wanted(&event.kind))
    }
}

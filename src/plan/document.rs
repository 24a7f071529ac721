//! The plan as data. Versioned; fields are only ever added.

use crate::rollout::Resolved;
use serde::Serialize;

/// The version of the document.
pub(super) const PLAN_VERSION: u32 = 1;

/// What a run would do. Nothing in it depends on when it was made, so that the same plan has the same digest.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The tool's version.
    pub tool: String,
    /// The agent's digest.
    pub agent_sha256: String,
    /// The playbook as given.
    pub playbook: String,
    /// Inventory sources as given.
    pub inventory: Vec<String>,
    /// Everything that was read, with digests (S15).
    pub inputs: Vec<Input>,
    /// The plays that have hosts.
    pub plays: Vec<PlayPlan>,
    /// Notes of the planning run, with their hosts.
    pub warnings: Vec<(Option<String>, String)>,
}

/// A file, or the variables of the command line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Input {
    /// `playbook`, `inventory`, `vars`, `template`, `file`, `extra vars`.
    pub kind: String,
    /// The path as read.
    pub path: String,
    /// The digest of its bytes.
    pub sha256: String,
}

/// A play.
#[derive(Debug, Clone, Serialize)]
pub struct PlayPlan {
    /// Its name.
    pub name: String,
    /// Whether it has a `rollout:` stanza.
    pub rollout: bool,
    /// Batches and thresholds as numbers and sentences.
    pub resolved: Resolved,
    /// Shortest time that health checks and bakes take, in seconds; the steps' own time comes on top.
    pub at_least_s: u64,
    /// Probes, a sentence each, and triggers, likewise, are among `resolved`; these are their names.
    pub probes: Vec<String>,
    /// Names of the triggers.
    pub triggers: Vec<String>,
    /// The play's `rollback:` tasks.
    pub rollback: Vec<TaskText>,
    /// Each host, batch by batch.
    pub hosts: Vec<HostPlan>,
}

/// A task as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskText {
    /// Its name.
    pub name: String,
    /// Its module.
    pub module: String,
    /// `file:line:column`.
    pub place: String,
}

/// A host of a play.
#[derive(Debug, Clone, Serialize)]
pub struct HostPlan {
    /// Its name.
    pub host: String,
    /// Steps that would change something, or may and cannot be known, in order.
    pub steps: Vec<StepPlan>,
    /// What the playbook's `debug` tasks say of it.
    pub said: Vec<Said>,
    /// What the play's `rollback:` tasks would do here, rendered as far as they can be (R11).
    pub rollback: Vec<String>,
    /// How many steps would find nothing to do.
    pub unchanged: usize,
    /// How many cannot be known and change nothing on the host: messages, questions.
    pub harmless: usize,
    /// How many would be skipped.
    pub skipped: usize,
    /// Why it could not be planned to its end.
    pub problem: Option<String>,
}

impl HostPlan {
    /// Whether nothing would change, as far as is known.
    pub fn quiet(&self) -> bool {
        self.steps.is_empty()
    }

    /// What to say of a host without steps to list.
    pub fn idle(&self) -> &'static str {
        if self.problem.is_some() { "could not be planned" } else { "nothing to change" }
    }
}

/// What a `debug` task says of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    /// The task.
    pub task: String,
    /// The loop item's label.
    pub item: Option<String>,
    /// Its message, of several lines maybe.
    pub text: String,
}

/// One of the two answers worth listing; "does not change" is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It would change something.
    Changes,
    /// Check mode cannot know.
    Unknown,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepPlan {
    /// The task.
    pub task: String,
    /// The module.
    pub module: String,
    /// `file:line:column`.
    pub place: String,
    /// The loop item's label.
    pub item: Option<String>,
    /// A handler's run.
    pub handler: bool,
    /// Whether it may change something on the host.
    pub mutating: bool,
    /// The answer.
    pub answer: Answer,
    /// Why it cannot be known, or what the module says.
    pub note: Option<String>,
    /// Differences, as unified diffs.
    pub diff: Vec<String>,
    /// The task's `undo:` on this host, rendered as far as it can be, a line a task (R11).
    pub undo_tasks: Vec<String>,
    /// How it is undone; none in a play without `rollout:`, which undoes nothing.
    pub undo: Option<Undo>,
}

/// How a step is undone (R9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// From recorded pre-images.
    Exact,
    /// By these tasks.
    Tasks(Vec<TaskText>),
    /// It needs none.
    NotNeeded,
    /// Nothing undoes it, and the playbook accepts that.
    Irreversible,
}

impl Undo {
    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Exact => "undone exactly, from what was there before".to_owned(),
            Self::Tasks(tasks) => {
                let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
                format!("undone by {}", names.join(", "))
            }
            Self::NotNeeded => "needs no undo".to_owned(),
            Self::Irreversible => "IRREVERSIBLE, accepted in the playbook".to_owned(),
        }
    }
}

impl Plan {
    /// Hosts that could not be planned, and why.
    pub fn problems(&self) -> Vec<(&str, &str)> {
        let hosts = self.plays.iter().flat_map(|play| &play.hosts);
        let found = hosts.filter_map(|host| Some((host.host.as_str(), host.problem.as_deref()?)));
        let mut seen = std::collections::BTreeSet::new();
        found.filter(|(host, _)| seen.insert(*host)).collect()
    }

    /// What is said of hosts: each message once, with the hosts it is said of.
    pub fn said(&self) -> Vec<(&Said, Vec<&str>)> {
        let mut said: Vec<(&Said, Vec<&str>)> = Vec::new();
        for host in self.plays.iter().flat_map(|play| &play.hosts) {
            for one in &host.said {
                match said.iter_mut().find(|(other, _)| *other == one) {
                    Some((_, hosts)) => hosts.push(&host.host),
                    None => said.push((one, vec![&host.host])),
                }
            }
        }
        said
    }

    /// Whether any host would change, or may.
    pub fn changes(&self) -> bool {
        self.plays.iter().flat_map(|play| &play.hosts).any(|host| !host.quiet())
    }
}

//! What a run is asked to do, and what it comes to.

use super::base::RunBase;
use crate::{
    host::Target,
    inventory::Inventory,
    journal::FinalHost,
    playbook::{Play, Playbook},
    secrets::Redactor,
    vars::World,
};
use std::{sync::Arc, time::Duration};

/// Options of the command line that the engine heeds, named as ansible-playbook names them.
#[derive(Debug, Clone)]
pub struct Options {
    /// `-C`: nothing is changed.
    pub check: bool,
    /// `-D`: differences are asked for.
    pub diff: bool,
    /// `-f`: hosts worked on at once.
    pub forks: usize,
    /// `-l`: only these hosts, a pattern.
    pub limit: Option<String>,
    /// `-t`; empty: all tasks.
    pub tags: Vec<String>,
    /// `--skip-tags`.
    pub skip_tags: Vec<String>,
    /// `-b`.
    pub r#become: bool,
    /// `--become-user`; root where none is given.
    pub become_user: Option<String>,
    /// How long a step without `timeout:` may take.
    pub step_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            check: false,
            diff: false,
            forks: 256,
            limit: None,
            tags: Vec::new(),
            skip_tags: Vec::new(),
            r#become: false,
            become_user: None,
            step_limit: Duration::from_secs(3600),
        }
    }
}

/// How a host is reached in a play: from inventory, play and command line; the error is a sentence.
pub type TargetOf = Arc<dyn Fn(&Play, &str) -> Result<Target, String> + Send + Sync>;

/// A run to be done.
pub struct RunSpec {
    /// `run` or `plan`, for the first event.
    pub command: String,
    /// The resolved playbook.
    pub playbook: Arc<Playbook>,
    /// The inventory.
    pub inventory: Arc<Inventory>,
    /// Its sources as given, for the first event.
    pub inventory_sources: Vec<String>,
    /// How its hosts are reached.
    pub target: TargetOf,
    /// The variables.
    pub world: Arc<World>,
    /// The secrets known so far.
    pub redactor: Redactor,
    /// The command line.
    pub options: Options,
    /// Who runs it, where it is kept, who sees it, what stops it.
    pub base: RunBase,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOutcome {
    /// The exit code (R19).
    pub exit_code: u8,
    /// The run's id.
    pub run_id: String,
    /// Every host of the run with its one final state.
    pub hosts: Vec<FinalHost>,
    /// The run was paused and waits for an operator.
    pub paused: bool,
}

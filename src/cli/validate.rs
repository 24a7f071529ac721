//! `rollgate validate`.

use crate::{error::Error, playbook, report::Out, rollout};
use clap::Args;
use std::path::PathBuf;

/// Check playbooks: every mistake at once, each with its place. No host is touched.
#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    /// The playbooks.
    #[arg(required = true, value_name = "PLAYBOOK")]
    playbooks: Vec<PathBuf>,
}

pub(super) fn validate(args: &ValidateArgs) -> Result<u8, Error> {
    let mut problems = crate::config::Diagnostics::default();
    let mut good = String::new();
    for path in &args.playbooks {
        match playbook::validate(path) {
            Ok(playbook) => {
                let tasks: usize = playbook
                    .plays
                    .iter()
                    .map(|play| play.sections.iter().map(Vec::len).sum::<usize>() + play.handlers.len())
                    .sum();
                let plays = rollout::count(playbook.plays.len(), "play", "plays");
                let tasks = rollout::count(tasks, "task", "tasks");
                good.push_str(&format!("{}: {plays}, {tasks}, no mistakes.\n", path.display()));
            }
            Err(found) => problems.extend(found),
        }
    }
    Out::stdout().write(&good);
    if problems.is_empty() { Ok(0) } else { Err(problems.into()) }
}

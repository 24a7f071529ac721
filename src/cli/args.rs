//! Options that several commands share, named as ansible-playbook names them.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Where runs are kept.
#[derive(Debug, Clone, Args)]
pub(super) struct StateArgs {
    /// Directory of the journals and reports of runs, instead of $XDG_STATE_HOME/rollgate.
    #[arg(long, value_name = "DIR", env = "ROLLGATE_STATE_DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

impl StateArgs {
    /// The directory.
    pub(super) fn dir(&self) -> Result<PathBuf, crate::error::Error> {
        match &self.state_dir {
            Some(dir) => Ok(dir.clone()),
            None => crate::journal::state_dir().map_err(|error| anyhow::Error::from(error).into()),
        }
    }
}

/// What is printed, and how.
#[derive(Debug, Clone, Args)]
pub(super) struct OutputArgs {
    /// What to print on standard output.
    #[arg(long, value_enum, default_value_t = Output::Auto)]
    pub(super) output: Output,

    /// Say more: -v every step and probe, -vv also what was skipped and where tasks stand.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,

    /// Print what changes in files, as unified diffs.
    #[arg(short = 'D', long)]
    pub(super) diff: bool,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// A live view on a terminal, plain lines elsewhere.
    Auto,
    /// Plain lines.
    Text,
    /// One event a line, as JSON.
    Jsonl,
}

//! Options that several commands share, named as ansible-playbook names them.

use crate::error::Error;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Which hosts.
#[derive(Debug, Clone, Args)]
pub(super) struct InventoryArgs {
    /// Inventory: a file, a directory, an executable, or a list of hosts with a comma in it. May be given several times.
    #[arg(short, long, env = "ROLLGATE_INVENTORY", value_name = "SOURCE")]
    inventory: Vec<String>,

    /// Only these hosts: a pattern, or @FILE with one a line.
    #[arg(short, long, value_name = "PATTERN")]
    pub(super) limit: Option<String>,
}

impl InventoryArgs {
    /// The sources: as given, else `inventory/` here.
    pub(super) fn sources(&self) -> Result<Vec<String>, Error> {
        if !self.inventory.is_empty() {
            return Ok(self.inventory.clone());
        }
        if Path::new("inventory").exists() {
            return Ok(vec!["inventory".to_owned()]);
        }
        Err(Error::usage(
            "no inventory is given, and there is no `inventory` here",
            "name one: -i hosts.yml, or -i web1,web2,",
        ))
    }
}

/// Where runs are kept.
#[derive(Debug, Clone, Args)]
pub(super) struct StateArgs {
    /// Directory of the journals and reports of runs, instead of $XDG_STATE_HOME/rollgate.
    #[arg(long, value_name = "DIR", env = "ROLLGATE_STATE_DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

impl StateArgs {
    /// The directory.
    pub(super) fn dir(&self) -> Result<PathBuf, Error> {
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

//! Options that several commands share, named as ansible-playbook names them.

use crate::{error::Error, host::AgentFiles, ssh::SshOptions};
use clap::{Args, ValueEnum};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

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
    /// Whether sources were named.
    pub(super) fn given(&self) -> bool {
        !self.inventory.is_empty()
    }

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

/// How hosts are reached, where their variables do not say.
#[derive(Debug, Clone, Args)]
pub(super) struct ConnectArgs {
    /// Log in as this user.
    #[arg(short, long, value_name = "USER")]
    pub(super) user: Option<String>,

    /// Log in with this private key.
    #[arg(long, visible_alias = "key-file", value_name = "FILE")]
    private_key: Option<PathBuf>,

    /// Seconds until a connection must stand.
    #[arg(short = 'T', long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..), value_name = "SECONDS")]
    timeout: u16,

    /// known_hosts files to use instead of those of the ssh configuration.
    #[arg(long, value_name = "FILE")]
    known_hosts: Vec<PathBuf>,

    /// Add the keys of unknown hosts to the first known_hosts file. A changed key is never accepted.
    #[arg(long)]
    accept_new_host_keys: bool,
}

impl ConnectArgs {
    /// The private key, as text.
    pub(super) fn private_key(&self) -> Option<String> {
        self.private_key.as_ref().map(|path| path.display().to_string())
    }

    /// The options for a run's fleet.
    pub(super) fn ssh(&self, run: &str, agents: AgentFiles) -> SshOptions {
        SshOptions {
            user: self.user.clone(),
            identity_files: self.private_key.iter().cloned().collect(),
            connect_timeout: Duration::from_secs(u64::from(self.timeout)),
            known_hosts: (!self.known_hosts.is_empty()).then(|| self.known_hosts.clone()),
            accept_new_host_keys: self.accept_new_host_keys,
            on_new_key: Some(Arc::new(|host, notice| {
                super::failure::note(&format!("[WARNING]: [{host}] {notice}"));
            })),
            agents,
            ..SshOptions::new(run)
        }
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

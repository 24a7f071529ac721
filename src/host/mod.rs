//! The one way the engine speaks to a host. Behind it: SSH, this machine, and a simulated fleet.

mod agent_files;
mod child;
mod frames;
mod identity;
mod local;
mod mux;
mod raw;
mod slots;
mod stream;
mod sudo;

pub use agent_files::{AGENT_VARIABLE, AgentFiles};
pub use local::{LocalFleet, LocalHost};

pub(crate) use agent_files::AgentFile;
#[cfg(test)]
pub(crate) use child::start_agent as start_agent_process;
pub(crate) use identity::{home, user};
pub(crate) use mux::Mux;
pub(crate) use raw::{Process, collect, quote};
pub(crate) use slots::{Alive, Slots};
pub(crate) use stream::{Exit, Output, Sink, Source, Tail, ending};
pub(crate) use sudo::become_hint;

use async_trait::async_trait;
use rollgate_agent::protocol::{AgentError, Answer, Call, Progress, Welcome};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Where a host is and how to get in, from inventory, playbook and command line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Target {
    /// The inventory's name: what events, plans and journals call it.
    pub name: String,
    /// Address or name to connect to (`ansible_host`, else the name).
    pub address: String,
    /// TCP port (`ansible_port`); none: the ssh configuration's, else 22.
    pub port: Option<u16>,
    /// Remote user (`ansible_user`, `-u`); none: the ssh configuration's, else the local user.
    pub user: Option<String>,
    /// Private key files, before those of the ssh configuration.
    pub identity_files: Vec<String>,
    /// Options of `ansible_ssh_common_args` and `ansible_ssh_extra_args` that name a known_hosts file and the like
    /// (`UserKnownHostsFile=...`), keys in lower case.
    pub ssh_options: BTreeMap<String, String>,
    /// `ssh` or `local` (`ansible_connection`).
    pub connection: Connection,
    /// Where the agent keeps its state and its executable on this host (`rollgate_state_dir`); none: the default.
    pub state_dir: Option<String>,
}

/// How a host is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connection {
    /// By SSH.
    #[default]
    Ssh,
    /// The agent is a child process on this machine.
    Local,
}

/// Whom the agent runs as.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunAs {
    /// The login user.
    Login,
    /// Another user, by `sudo -n -H -u USER`.
    Become(String),
}

/// One call with its limits.
pub struct Request {
    /// The work.
    pub call: Call,
    /// Whom the agent that does it runs as.
    pub run_as: RunAs,
    /// How long the controller waits for the answer.
    pub deadline: Duration,
    /// Ends the request: the agent ends its process group (TERM, then KILL) and answers.
    pub cancel: CancellationToken,
    /// Where output and progress go; what does not fit is dropped, the answer never is.
    pub progress: Option<mpsc::Sender<Progress>>,
}

/// A host, connected or not. Connects at its first use, once; reconnects once when found dead between calls.
#[async_trait]
pub trait Host: Send + Sync {
    /// The inventory's name.
    fn name(&self) -> &str;

    /// Connects, pushes the agent where it is not there yet, starts it as `run_as`.
    async fn open(&self, run_as: &RunAs) -> Result<Welcome, HostError>;

    /// Does one call. Never retries a call that may have reached the agent.
    async fn call(&self, request: Request) -> Result<Answer, HostError>;

    /// Runs one command line by the login shell, without an agent (`raw`).
    async fn raw(&self, command: &str, run_as: &RunAs, deadline: Duration) -> Result<RawOutput, HostError>;

    /// Says goodbye and closes the connection. The agent ends with its channel.
    async fn close(&self);
}

/// What `raw` saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawOutput {
    /// Exit code; none when the host said none (killed by a signal, connection lost).
    pub rc: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// Makes hosts. The engine asks for each target once and keeps the host for the run.
pub trait Fleet: Send + Sync {
    /// The host of a target.
    fn host(&self, target: &Target) -> Arc<dyn Host>;
}

/// Why a call came to nothing. A module that ran and failed is not this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The host cannot be used, and the call has not reached it.
    #[error("{stage}: {message}")]
    Unreachable {
        /// What was being done.
        stage: Stage,
        /// Why it failed.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The connection was lost while the call may have been under way: its outcome is unknown.
    #[error("the connection was lost while the call was under way: {message}")]
    Lost {
        /// How it was lost.
        message: String,
    },
    /// No answer within the deadline: its outcome is unknown.
    #[error("no answer within {} s", after.as_secs())]
    Deadline {
        /// The deadline.
        after: Duration,
    },
    /// The host broke the protocol; only this host is lost.
    #[error("the host broke the protocol: {message}")]
    Protocol {
        /// How.
        message: String,
    },
    /// The agent refused or could not do it.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

impl HostError {
    /// Whether the call may have changed something that nobody has reported.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Deadline { .. } | Self::Protocol { .. })
    }

    /// Whether the host itself is out of reach, as opposed to a call that it answered with an error.
    pub fn unreachable(&self) -> bool {
        !matches!(self, Self::Agent(_))
    }
}

/// The stages of getting to a running agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Name lookup and TCP.
    Connect,
    /// The host key.
    HostKey,
    /// Authentication.
    Authenticate,
    /// sudo.
    Become,
    /// Pushing or starting the agent.
    Agent,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::HostKey => "host key",
            Self::Authenticate => "authenticate",
            Self::Become => "become",
            Self::Agent => "agent",
        })
    }
}

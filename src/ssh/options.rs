//! What the command line and settings say about SSH.

use crate::host::AgentFiles;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Told when an unknown host key was accepted: the host's name and a sentence with fingerprint and file.
pub type KeyNotice = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// How to reach hosts by SSH; what an inventory says of a host comes before it.
#[derive(Clone)]
pub struct SshOptions {
    /// The run's id, for the hosts' records.
    pub run: String,
    /// Login user (`-u`); none: the ssh configuration's, else the local user.
    pub user: Option<String>,
    /// Private key files (`--private-key`), offered first.
    pub identity_files: Vec<PathBuf>,
    /// Bounds TCP, key exchange and authentication together.
    pub connect_timeout: Duration,
    /// Bounds the time until the agent answers, beside what a first upload needs.
    pub start_timeout: Duration,
    /// known_hosts files instead of the ssh configuration's.
    pub known_hosts: Option<Vec<PathBuf>>,
    /// Adds unknown host keys to the first known_hosts file. A changed key is never accepted (S6).
    pub accept_new_host_keys: bool,
    /// Hears of each key so accepted.
    pub on_new_key: Option<KeyNotice>,
    /// Whether `~/.ssh/config` and `/etc/ssh/ssh_config` count, by way of `ssh -G`.
    pub use_ssh_config: bool,
    /// One configuration file instead of those two (`ssh -F`).
    pub config_file: Option<PathBuf>,
    /// The ssh-agent's socket (`SSH_AUTH_SOCK`).
    pub auth_sock: Option<PathBuf>,
    /// The agents to push.
    pub agents: AgentFiles,
    /// Handshakes under way at one time.
    pub handshakes: usize,
}

impl SshOptions {
    /// The defaults for one run: 10 s to connect, strict host keys, the ssh configuration, the ssh-agent of the
    /// environment, the agents beside the controller.
    pub fn new(run: impl Into<String>) -> Self {
        Self {
            run: run.into(),
            user: None,
            identity_files: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            start_timeout: Duration::from_secs(30),
            known_hosts: None,
            accept_new_host_keys: false,
            on_new_key: None,
            use_ssh_config: true,
            config_file: None,
            auth_sock: std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(PathBuf::from),
            agents: AgentFiles::find(),
            handshakes: 32,
        }
    }
}

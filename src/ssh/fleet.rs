//! Makes hosts for targets, by SSH or on this machine as each target says.

use super::{SshOptions, host::SshHost, session::Common};
use crate::host::{Connection, Fleet, Host, LocalFleet, Target};
use std::sync::Arc;

/// The fleet of real runs.
pub struct SshFleet {
    common: Arc<Common>,
    local: LocalFleet,
}

impl SshFleet {
    /// A fleet; nothing is connected yet.
    pub fn new(options: SshOptions) -> Self {
        let local = LocalFleet::new(options.run.clone(), options.agents.clone());
        Self { common: Arc::new(Common::new(options)), local }
    }
}

impl Fleet for SshFleet {
    fn host(&self, target: &Target) -> Arc<dyn Host> {
        match target.connection {
            Connection::Ssh => Arc::new(SshHost::new(target, self.common.clone())),
            Connection::Local => self.local.host(target),
        }
    }
}

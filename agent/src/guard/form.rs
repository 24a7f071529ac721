//! Which form a guard has: a systemd unit where systemd is PID 1 and this is root's own state, else a process (R20).

use super::lease::Holder;
use super::units;
use crate::protocol::GuardForm;
use crate::serve::STATE_DIR;
use crate::undo::RUNTIME_UNITS;
use std::path::Path;

/// A form and, for the weak one, why.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) form: GuardForm,
    pub(super) weak: Option<String>,
}

impl Chosen {
    pub(super) fn weak(why: &str) -> Self {
        Self { form: GuardForm::Process, weak: Some(why.to_owned()) }
    }
}

/// Sees to it that a revert that is about to begin goes on after a reboot. Where systemd cannot be had, it cannot.
pub fn outlive_reboot(holder: &Holder<'_>) {
    let _form = choose(holder);
}

/// Chooses, and installs the units where they are the choice.
pub(super) fn choose(holder: &Holder<'_>) -> Chosen {
    if !rustix::process::geteuid().is_root() {
        return Chosen::weak("the agent is not root");
    }
    if holder.state_dir != Path::new(STATE_DIR) {
        return Chosen::weak("the agent keeps its state in another place than usual");
    }
    if !Path::new(RUNTIME_UNITS).is_dir() {
        return Chosen::weak("systemd is not PID 1 here");
    }
    match units::install(holder.agent) {
        Ok(()) => Chosen { form: GuardForm::Systemd, weak: None },
        Err(error) => Chosen::weak(&format!("its units cannot be installed: {error}")),
    }
}

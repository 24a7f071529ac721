//! What sudo says when it refuses, and what to do about it.

use super::{HostError, Stage};

/// Adds what to do to an error of the become stage. Without a pty and with `-n`, sudo never asks: it ends.
pub(crate) fn become_hint(error: HostError) -> HostError {
    match error {
        HostError::Unreachable { stage: Stage::Become, message, hint: None } => {
            let hint = hint(&message);
            HostError::Unreachable { stage: Stage::Become, message, hint: Some(hint) }
        }
        other => other,
    }
}

fn hint(message: &str) -> String {
    let said = |text: &str| message.contains(text);
    if said("password is required") || said("terminal is required") || said("must have a tty") {
        "sudo must not ask: allow the user with NOPASSWD in /etc/sudoers.d, without requiretty.".to_owned()
    } else if said("not in the sudoers") || said("not allowed to execute") || said("may not run sudo") {
        "Allow the user in /etc/sudoers.d, with NOPASSWD: ALL.".to_owned()
    } else if said("not found") {
        "Install sudo on the host, or connect as the user that the tasks need.".to_owned()
    } else if said("unknown user") {
        "The user to become does not exist on the host.".to_owned()
    } else {
        "Try it by hand on the host: sudo -n -H -u USER /bin/sh -c id".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_sudo_says_what_to_do() {
        let error = HostError::Unreachable {
            stage: Stage::Become,
            message: "it ended with exit code 1: sudo: a password is required".into(),
            hint: None,
        };
        let HostError::Unreachable { hint: Some(hint), .. } = become_hint(error) else { panic!("it keeps its kind") };
        assert!(hint.contains("NOPASSWD"), "{hint}");
    }
}

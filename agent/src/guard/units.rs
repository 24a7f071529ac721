//! The guard's systemd units: written once for each agent, and left there. Nothing is reloaded to arm or extend.

use crate::files::{Final, Staged};
use crate::serve::{Control, Process, STATE_DIR};
use crate::undo::UndoError;
use std::path::Path;
use std::time::Duration;

const DIRECTORY: &str = "/etc/systemd/system";

/// Before the units that a change is likely to be about.
const BOOT: &str = "rollgate-guard-boot.service";
const BOOTED: &str = "rollgate-guard-booted.service";

/// How long systemd may take for one request.
const LIMIT: Duration = Duration::from_secs(60);

/// Writes what is not there or not as it should be, and has systemd read it then.
pub(super) fn install(agent: &Path) -> Result<(), UndoError> {
    let command = command(agent)?;
    let units = [("rollgate-guard@.service", template(&command)), (BOOT, boot(&command)), (BOOTED, booted(&command))];
    let mut changed = false;
    for (name, text) in &units {
        let path = Path::new(DIRECTORY).join(name);
        if fs_err::read(&path).is_ok_and(|found| found == text.as_bytes()) {
            continue;
        }
        let mut staged = Staged::create(&path)?;
        staged.write(text.as_bytes())?;
        staged.commit(&Final { mode: 0o644, uid: Some(0), gid: Some(0), xattrs: None })?;
        changed = true;
    }
    let wanted = [("sysinit.target.wants", BOOT), ("multi-user.target.wants", BOOTED)];
    let enabled = wanted.iter().all(|(wants, unit)| Path::new(DIRECTORY).join(wants).join(unit).exists());
    if !enabled {
        systemctl(&["enable", BOOT, BOOTED])?;
    }
    if changed {
        systemctl(&["daemon-reload"])?;
    }
    Ok(())
}

/// Starts a guard; returns when it watches its deadline.
pub(super) fn start(txn: &str) -> Result<(), UndoError> {
    systemctl(&["start", &name(txn)])
}

/// Has a guard started when its turn comes.
pub(super) fn start_later(txn: &str) -> Result<(), UndoError> {
    systemctl(&["start", "--no-block", &name(txn)])
}

/// Takes a guard whose revert failed off systemd's list of failed units: what it could not end is done.
pub(super) fn forget_failure(txn: &str) {
    let _nothing_depends_on_it = systemctl(&["reset-failed", &name(txn)]);
}

fn name(txn: &str) -> String {
    format!("rollgate-guard@{txn}.service")
}

fn systemctl(words: &[&str]) -> Result<(), UndoError> {
    let argv = [&["systemctl", "--quiet"], words].concat();
    let failed = |why: &str| UndoError::Other(format!("`{}` failed: {why}", argv.join(" ")));
    let control = Control::default();
    let finished = Process::new(&argv, &control).timeout(LIMIT).run().map_err(|error| failed(&error.to_string()))?;
    if finished.success() { Ok(()) } else { Err(failed(finished.stderr_text().trim())) }
}

/// The start of a command line. By way of `env`, because SELinux lets systemd start programs of the system only.
fn command(agent: &Path) -> Result<String, UndoError> {
    let path = agent.to_str().filter(|path| {
        path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte))
    });
    path.map(|path| format!("/usr/bin/env {path} guard"))
        .ok_or_else(|| UndoError::Other(format!("{} cannot be named in a unit", agent.display())))
}

fn template(command: &str) -> String {
    format!(
        "# Written by rollgate.\n\
         [Unit]\n\
         Description=Reverts the change of transaction %i unless it is confirmed in time (rollgate)\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n\
         NotifyAccess=all\n\
         ExecStart={command} run %i\n\
         Restart=on-failure\n\
         RestartSec=1\n\
         RestartPreventExitStatus=5\n\
         TimeoutStartSec=30\n\
         OOMScoreAdjust=-900\n"
    )
}

fn boot(command: &str) -> String {
    format!(
        "# Written by rollgate.\n\
         [Unit]\n\
         Description=Puts back files of a change that was not confirmed before the reboot (rollgate)\n\
         DefaultDependencies=no\n\
         RequiresMountsFor={STATE_DIR}\n\
         ConditionDirectoryNotEmpty={STATE_DIR}/txn\n\
         After=local-fs.target systemd-remount-fs.service\n\
         Before=sysinit.target shutdown.target docker.socket docker.service containerd.service\n\
         Conflicts=shutdown.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={command} boot\n\
         TimeoutStartSec=30min\n\
         \n\
         [Install]\n\
         WantedBy=sysinit.target\n"
    )
}

fn booted(command: &str) -> String {
    format!(
        "# Written by rollgate.\n\
         [Unit]\n\
         Description=Ends the revert that began at boot (rollgate)\n\
         RequiresMountsFor={STATE_DIR}\n\
         ConditionDirectoryNotEmpty={STATE_DIR}/txn\n\
         After=multi-user.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={command} booted\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_names_only_paths_that_systemd_reads_as_they_are() {
        let plain = command(Path::new("/var/lib/rollgate/agent/0a/rollgate-agent")).unwrap();
        assert!(
            template(&plain)
                .contains("\nExecStart=/usr/bin/env /var/lib/rollgate/agent/0a/rollgate-agent guard run %i\n")
        );
        for odd in ["relative", "/a b", "/a%i", "/a$b", "/a\nb", "/a;b"] {
            assert!(command(Path::new(odd)).is_err(), "{odd}");
        }
    }
}

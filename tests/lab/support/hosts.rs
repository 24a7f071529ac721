//! The hosts of the lab, by way of its own script.

use super::running::Running;
use fs_err::OpenOptions;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The mark of a host that a test has used: on a tmpfs of the host, so a reset takes it away.
const USED: &str = "/run/rollgate-lab-used";

/// The lab, with the hosts of one test.
pub(crate) struct Lab {
    hosts: Vec<String>,
    inventory: PathBuf,
    scratch: tempfile::TempDir,
}

impl Lab {
    /// Pristine hosts for `test`; none, noted as skipped, where the lab is not up.
    pub(crate) fn with(test: &str, hosts: &[&str]) -> Option<Self> {
        if std::env::var_os("ROLLGATE_LAB").is_none() {
            if let Some(skips) = std::env::var_os("ROLLGATE_SKIPS") {
                let mut file = OpenOptions::new().create(true).append(true).open(PathBuf::from(skips)).unwrap();
                writeln!(file, "{test}: the lab is not up").unwrap();
            }
            return None;
        }
        let inventory = PathBuf::from(script(&["inventory"]).trim());
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        let lab = Self { hosts, inventory, scratch: tempfile::tempdir().unwrap() };
        lab.make_pristine();
        Some(lab)
    }

    /// One of the hosts by itself, with runs of its own: what is done to it may go on beside the others.
    pub(crate) fn only(&self, host: &str) -> Self {
        Self { hosts: vec![host.to_owned()], inventory: self.inventory.clone(), scratch: tempfile::tempdir().unwrap() }
    }

    /// Puts the hosts back to pristine, whatever became of them.
    pub(crate) fn reset(&self) {
        let hosts: Vec<&str> = self.hosts().collect();
        script(&[&["reset"], hosts.as_slice()].concat());
        for host in hosts {
            self.ssh(host, &format!("sudo mkdir {USED}"));
        }
    }

    /// A host that no test has used needs no reset.
    fn make_pristine(&self) {
        let used: Vec<&str> = self
            .hosts
            .iter()
            .map(String::as_str)
            .filter(|host| !self.try_ssh(host, &format!("sudo mkdir {USED}")).status.success())
            .collect();
        if !used.is_empty() {
            script(&[&["reset"], used.as_slice()].concat());
            for host in used {
                self.ssh(host, &format!("sudo mkdir {USED}"));
            }
        }
    }

    /// The hosts of this test.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(String::as_str)
    }

    /// A directory of this test's own.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Runs `command` on a host as `ops`; it must succeed. Returns its output.
    pub(crate) fn ssh(&self, host: &str, command: &str) -> String {
        let output = self.try_ssh(host, command);
        assert!(output.status.success(), "{host}: {command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(super) fn try_ssh(&self, host: &str, command: &str) -> Output {
        self.ssh_command(host, command).output().unwrap()
    }

    /// `command` on a host as `ops`, not started.
    pub(crate) fn ssh_command(&self, host: &str, command: &str) -> Command {
        lab_command(&["ssh", host, command])
    }

    /// Cuts a host's power and gives it back; returns when ssh answers and the host has started everything. Its
    /// application may still be at it.
    pub(crate) fn power_cut(&self, host: &str) {
        script(&["kill", host]);
        script(&["boot", host]);
        self.ssh(host, &format!("sudo mkdir {USED}"));
    }

    /// Waits until the application of a host is as well as it was at first.
    pub(crate) fn wait_healthy(&self, host: &str) {
        script(&["wait", host]);
    }

    /// The fingerprint of what must be as before after a rollback.
    pub(crate) fn state(&self, host: &str) -> String {
        script(&["state", host])
    }

    /// The fingerprints of all hosts of this test, taken at once.
    pub(crate) fn states(&self) -> Vec<String> {
        self.at_once(|host| self.state(host))
    }

    /// Arms a fault that strikes once the host is remapped.
    pub(crate) fn fault(&self, host: &str, fault: &[&str]) {
        script(&[&["fault", host], fault].concat());
    }

    /// Freezes a host until the outage ends.
    pub(crate) fn pause(&self, host: &str) -> Outage {
        Outage::begin(host, "pause", "unpause")
    }

    /// Drops every packet between this machine and a host until the outage ends.
    pub(crate) fn cut(&self, host: &str) -> Outage {
        Outage::begin(host, "cut", "heal")
    }

    /// Runs `command` on a host as root by way of the engine that it runs on: a host that is cut off answers, too.
    pub(crate) fn inside(&self, host: &str, command: &str) -> String {
        let containers = script(&["docker", "ps", "--format", "{{.Names}}"]);
        let name = containers.lines().find(|name| name.ends_with(&format!("-{host}"))).unwrap();
        script(&["docker", "exec", name, "sh", "-c", command])
    }

    /// Starts `rollgate COMMAND` on this test's hosts, in an environment of its own.
    pub(crate) fn start(&self, command: &str, args: &[&str]) -> Running {
        Running::start(&mut self.rollgate(command, args), &self.state_dir())
    }

    /// As [`Lab::start`], with these variables in its environment.
    pub(crate) fn start_with(&self, variables: &[(&str, &str)], command: &str, args: &[&str]) -> Running {
        Running::start(self.rollgate(command, args).envs(variables.iter().copied()), &self.state_dir())
    }

    /// `rollgate COMMAND` on this test's hosts, not started.
    pub(crate) fn rollgate(&self, command: &str, args: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_rollgate"));
        program
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.scratch())
            .env("ROLLGATE_STATE_DIR", self.state_dir())
            .arg(command)
            .arg("--inventory")
            .arg(&self.inventory)
            .args(["--limit", &self.hosts.join(",")])
            .args(args);
        program
    }

    fn state_dir(&self) -> PathBuf {
        self.scratch().join("state")
    }
}

/// A host that is out of reach.
pub(crate) struct Outage {
    host: String,
    end: Option<&'static str>,
}

impl Outage {
    fn begin(host: &str, begin: &str, end: &'static str) -> Self {
        script(&[begin, host]);
        Self { host: host.to_owned(), end: Some(end) }
    }

    /// Lets it go on.
    pub(crate) fn end(mut self) {
        if let Some(end) = self.end.take() {
            script(&[end, &self.host]);
        }
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            // A test that failed may have reset the host already.
            let _ = lab_command(&[end, &self.host]).output();
        }
    }
}

fn lab_command(args: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/lab"));
    command.args(args);
    command
}

fn script(args: &[&str]) -> String {
    let output = lab_command(args).output().unwrap();
    assert!(output.status.success(), "lab {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Panics with the lines that differ, unless `after` is `before`.
pub(crate) fn assert_as_before(host: &str, before: &str, after: &str) {
    if before != after {
        let diff = similar::TextDiff::from_lines(before, after);
        panic!("{host} is not as it was:\n{}", diff.unified_diff().context_radius(0));
    }
}

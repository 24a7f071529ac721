//! Commands as probes (rollout.md R12).

use super::run::{Seen, beginning};
use crate::protocol::ProbeStatus;
use crate::serve::{Control, Process, RunError};
use std::time::Duration;

/// A shell's exit code for a command that it cannot execute.
const CANNOT_EXECUTE: i32 = 126;
/// A shell's exit code for a command that it does not find.
const NOT_FOUND: i32 = 127;

/// What docker says when an image is not here and cannot be had: neither the host nor the change is to blame.
const IMAGE_MISSING: [&str; 9] = [
    "no such image",
    "pull access denied",
    "repository does not exist",
    "manifest unknown",
    "failed to resolve reference",
    "toomanyrequests",
    "no basic auth credentials",
    "requested access to the resource is denied",
    "error pulling image configuration",
];

/// What the registry's network says, once docker has begun to pull.
const PULL_FAILED: [&str; 9] = [
    "dial tcp",
    "i/o timeout",
    "tls handshake",
    "request canceled",
    "context deadline exceeded",
    "connection refused",
    "unauthorized",
    "not found",
    "x509:",
];

/// Runs a command once by `/bin/sh -c`; its process group ends with the attempt.
pub(super) fn ask(command: &str, timeout: Duration, control: &Control) -> Seen {
    let finished = match Process::new(["/bin/sh", "-c", command], control).timeout(timeout).run() {
        Ok(finished) => finished,
        Err(RunError::TimedOut { .. }) => {
            let detail = format!("the command did not end within {} ms", timeout.as_millis());
            return Seen::new(ProbeStatus::Bad, detail);
        }
        Err(error) => return Seen::new(ProbeStatus::Error, error.to_string()),
    };
    let output = if finished.stderr.is_empty() { &finished.stdout } else { &finished.stderr };
    let status = match finished.rc {
        0 => ProbeStatus::Answered,
        CANNOT_EXECUTE | NOT_FOUND => ProbeStatus::Error,
        _ if image_is_missing(&finished.stderr_text()) => ProbeStatus::Environment,
        _ => ProbeStatus::Bad,
    };
    Seen { rc: Some(finished.rc), ..Seen::new(status, beginning(output)) }
}

fn image_is_missing(stderr: &str) -> bool {
    let said = stderr.to_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| said.contains(word));
    // "Unable to find image locally" alone is the beginning of every pull, of those that end well, too.
    any(&IMAGE_MISSING)
        || (said.contains("unable to find image") && !said.contains("pull complete") && any(&PULL_FAILED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(command: &str) -> (ProbeStatus, Option<i32>) {
        let seen = ask(command, Duration::from_secs(20), &Control::default());
        (seen.status, seen.rc)
    }

    #[test]
    fn exit_codes_mean_what_r12_says() {
        assert_eq!(status("true"), (ProbeStatus::Answered, Some(0)));
        assert_eq!(status("echo no >&2; exit 3"), (ProbeStatus::Bad, Some(3)));
        assert_eq!(status("/no/such/program"), (ProbeStatus::Error, Some(127)));
        assert_eq!(status("/etc/passwd"), (ProbeStatus::Error, Some(126)));
    }

    #[test]
    fn a_command_that_hangs_is_bad_and_nothing_of_it_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let command = format!("sleep 600 & echo $! > {}; wait", file.display());
        let seen = ask(&command, Duration::from_secs(2), &Control::default());
        assert_eq!(seen.status, ProbeStatus::Bad);
        let pid: i32 = fs_err::read_to_string(file).unwrap().trim().parse().unwrap();
        // Killed is not yet gone: the kernel ends it when it next runs.
        let stat = || fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let gone = |stat: &str| stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ");
        let asked = std::time::Instant::now();
        while !gone(&stat()) {
            assert!(asked.elapsed() < Duration::from_secs(30), "the child of the shell stays: {}", stat());
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_missing_image_is_no_fault_of_the_host() {
        for text in [
            "Unable to find image 'nope:1' locally\ndocker: Error response from daemon: pull access denied for nope, repository does not exist or may require 'docker login'.",
            "docker: Error response from daemon: No such image: nope:1.",
            "Unable to find image 'a:1' locally\ndocker: Error response from daemon: Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host.",
            "Unable to find image 'a:1' locally\ndocker: Error response from daemon: manifest for a:1 not found: manifest unknown: manifest unknown.",
        ] {
            assert!(image_is_missing(text), "{text}");
        }
        for text in [
            "docker: Error response from daemon: OCI runtime create failed: runc create failed: permission denied: unknown.",
            "docker: failed to register layer: Container ID 197609 cannot be mapped to a host ID.",
            "docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
            "Unable to find image 'a:1' locally\nabc: Pull complete\ndocker: Error response from daemon: cannot start: not found",
        ] {
            assert!(!image_is_missing(text), "{text}");
        }
    }
}

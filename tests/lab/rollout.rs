//! The whole rollout: canary first, then the rest; a second run finds nothing to do.

use crate::support::{Lab, Outcome};
use rollgate::journal::{EventKind, HostState, StepStatus};
use serde_json::{Map, Value};

/// What of a host must outlive the change.
struct Settings {
    daemon_json: String,
    subuid: String,
    subgid: String,
}

impl Settings {
    fn of(lab: &Lab, host: &str) -> Self {
        let read = |path: &str| lab.ssh(host, &format!("cat {path}"));
        Self { daemon_json: read("/etc/docker/daemon.json"), subuid: read("/etc/subuid"), subgid: read("/etc/subgid") }
    }
}

#[test]
fn a_rollout_remaps_every_host_and_a_second_run_finds_nothing_to_do() {
    let Some(lab) = Lab::with("rollout", &["h1", "h2", "h3"]) else { return };
    let before: Vec<Settings> = lab.hosts().map(|host| Settings::of(&lab, host)).collect();
    let runbook = lab.runbook(&[]);
    let runbook = runbook.to_str().unwrap();

    let first = lab.start("run", &[runbook]).end().expect_code(0);
    first.expect_states(&[("h1", HostState::Changed), ("h2", HostState::Changed), ("h3", HostState::Changed)]);
    canary_came_first(&first);
    for (host, before) in lab.hosts().zip(&before) {
        is_remapped(&lab, host, before);
    }
    // alice owns 100000 on h2, so its range is the next one.
    assert!(Settings::of(&lab, "h2").subuid.contains("dockremap:165536:65536\n"));
    assert!(Settings::of(&lab, "h3").subuid.contains("dockremap:100000:65536\n"));

    let (states, engines) = (lab.states(), engines(&lab));
    let second = lab.start("run", &[runbook]).end().expect_code(0);
    second.expect_states(&[("h1", HostState::Unchanged), ("h2", HostState::Unchanged), ("h3", HostState::Unchanged)]);
    for host in lab.hosts() {
        assert_eq!(second.tasks(host, StepStatus::Changed), [""; 0], "{}", second.account());
    }
    assert_eq!(engines, self::engines(&lab), "the engine was restarted");
    assert_eq!(states, lab.states());
}

fn canary_came_first(run: &Outcome) {
    let batches: Vec<_> = run
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::BatchStarted { hosts, .. } => Some(hosts.join(" ")),
            _ => None,
        })
        .collect();
    assert_eq!(batches, ["h1", "h2 h3"]);
    let seq = |wanted: &dyn Fn(&EventKind) -> bool| run.events.iter().find(|event| wanted(&event.kind)).unwrap().seq;
    let healthy = seq(
        &|event| matches!(event, EventKind::HostChanged { host, state: HostState::Changed | HostState::Healthy, .. } if host == "h1"),
    );
    for later in ["h2", "h3"] {
        let changed =
            seq(&|event| matches!(event, EventKind::StepIntent { id, info } if id.host == later && info.mutating));
        assert!(healthy < changed, "{later} was touched before the canary was healthy\n{}", run.account());
    }
}

fn is_remapped(lab: &Lab, host: &str, before: &Settings) {
    let after = Settings::of(lab, host);
    let start = added_range(&before.subuid, &after.subuid);
    assert_eq!(start, added_range(&before.subgid, &after.subgid), "{host}: two ranges");
    daemon_json_is_merged(&before.daemon_json, &after.daemon_json);

    let info = lab.ssh(host, "sudo docker info --format '{{.SecurityOptions}} {{.DockerRootDir}}'");
    assert!(info.contains("name=userns") && info.trim().ends_with(&format!("/{start}.{start}")), "{host}: {info}");
    let user = lab.ssh(host, "getent passwd dockremap");
    assert!(user.trim().ends_with(":/usr/sbin/nologin"), "{host}: {user}");
    let pid = lab.ssh(host, "sudo docker inspect --format '{{.State.Pid}}' warm-1");
    let process = lab.ssh(host, &format!("cat /proc/{0}/uid_map; stat -c %u /proc/{0}", pid.trim()));
    let words: Vec<&str> = process.split_whitespace().collect();
    // The pool's containers run as uid 1000.
    assert_eq!(words, ["0", &start.to_string(), "65536", &(start + 1000).to_string()], "{host}");
    let backup = lab.ssh(host, "cat $(ls /etc/docker/daemon.json.* /etc/docker/daemon.json~* 2>/dev/null)");
    assert_eq!(backup, before.daemon_json, "{host}: the backup");
}

/// Other users' lines are kept, and one line for a range of 65536 is new: its start.
fn added_range(before: &str, after: &str) -> u32 {
    let added = after.strip_prefix(before).unwrap_or_else(|| panic!("lines were lost\n{before}\n{after}"));
    let start = added.strip_prefix("dockremap:").and_then(|rest| rest.strip_suffix(":65536\n"));
    start.and_then(|start| start.parse().ok()).unwrap_or_else(|| panic!("not one new line: '{added}'"))
}

fn daemon_json_is_merged(before: &str, after: &str) {
    let parse = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
    let (old, new) = (parse(before), parse(after));
    // The first settings are the old ones in their order; `Map` keeps it.
    let kept: Map<String, Value> = new.clone().into_iter().take(old.len()).collect();
    assert_eq!(serde_json::to_string(&kept).unwrap(), serde_json::to_string(&old).unwrap());
    let added: Vec<(&String, &Value)> = new.iter().skip(old.len()).collect();
    assert_eq!(added.len(), 2, "{after}");
    assert_eq!((new["userns-remap"].as_str(), new["storage-driver"].as_str()), (Some("dockremap"), Some("overlay2")));
    assert!(after.contains("\n    \"log-driver\""), "the indentation is not the file's own:\n{after}");
}

/// What changes when an engine is restarted.
pub(crate) fn engines(lab: &Lab) -> Vec<String> {
    let show = "systemctl show docker.service --property=MainPID,ActiveEnterTimestampMonotonic,InvocationID";
    lab.hosts().map(|host| lab.ssh(host, show)).collect()
}

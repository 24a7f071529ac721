//! The agent on hosts reached by SSH: pushed cold, found warm, started by any login shell and by sudo, lost, cancelled.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test")]

#[path = "support/sshd.rs"]
#[expect(dead_code, reason = "each test binary uses its part")]
mod sshd;

use rollgate::{
    host::{AGENT_VARIABLE, AgentFiles, Connection, Fleet as _, Host, HostError, Request, RunAs, Stage, Target},
    ssh::{SshFleet, SshOptions},
};
use rollgate_agent::protocol::{Answer, Call, Mode, ModuleCall, ProbeCall, ProbeKind, TaskCall};
use serde_json::json;
use sshd::{Options, Sshd, missing};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(60);

/// The agent of this build.
fn agent() -> AgentFiles {
    if std::env::var_os(AGENT_VARIABLE).is_some() {
        return AgentFiles::find();
    }
    let mut build = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    build.args(["build", "-q", "-p", "rollgate-agent"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(build.status().unwrap().success());
    let test = std::env::current_exe().unwrap();
    AgentFiles::at(std::env::consts::ARCH, &test.parent().unwrap().with_file_name("rollgate-agent"))
}

/// Options that look at nothing of this machine's own ssh setup.
fn options(sshd: &Sshd, user: &str) -> SshOptions {
    SshOptions {
        user: Some(user.into()),
        identity_files: vec![sshd.key()],
        known_hosts: Some(vec![sshd.known_hosts()]),
        use_ssh_config: false,
        auth_sock: None,
        start_timeout: SOON,
        agents: agent(),
        ..SshOptions::new("run")
    }
}

fn target(sshd: &Sshd, state: Option<&Path>) -> Target {
    Target {
        name: "web1".into(),
        address: "127.0.0.1".into(),
        port: Some(sshd.port()),
        state_dir: state.map(|state| state.to_str().unwrap().to_owned()),
        ..Target::default()
    }
}

fn host(sshd: &Sshd, user: &str, state: Option<&Path>) -> Arc<dyn Host> {
    SshFleet::new(options(sshd, user)).host(&target(sshd, state))
}

fn root() -> RunAs {
    RunAs::Become("root".into())
}

fn shell(line: &str) -> Call {
    let params = json!({"cmd": line}).as_object().unwrap().clone();
    Call::Task(TaskCall {
        call: ModuleCall { module: "shell".into(), params },
        mode: Mode::Apply,
        diff: false,
        environment: [].into(),
        timeout_ms: None,
        critical: false,
        step: None,
    })
}

fn probe(line: &str) -> Call {
    let kind = ProbeKind::Command { command: line.to_owned() };
    Call::Probe(ProbeCall { kind, timeout_ms: 60_000, count: 1 })
}

fn request(call: Call, run_as: RunAs) -> Request {
    Request { call, run_as, deadline: SOON, cancel: CancellationToken::new(), progress: None }
}

async fn stdout(host: &Arc<dyn Host>, line: &str, run_as: RunAs) -> String {
    match host.call(request(shell(line), run_as)).await.unwrap() {
        Answer::Task(report) => report.data.get("stdout").and_then(|text| text.as_str()).unwrap().to_owned(),
        other => panic!("a task's answer was expected: {other:?}"),
    }
}

#[tokio::test]
async fn the_agent_is_pushed_once_and_then_found() {
    if missing("the_agent_is_pushed_once_and_then_found") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let state = sshd.directory().join("state");
    let cold = host(&sshd, "root", Some(&state));
    let welcome = cold.open(&RunAs::Login).await.unwrap();
    assert_eq!((welcome.uid, welcome.state_dir.as_str()), (0, state.to_str().unwrap()));
    let file = PathBuf::from(&welcome.path);
    assert!(file.starts_with(&state), "{welcome:?}");
    let made = fs_err::metadata(&file).unwrap().modified().unwrap();
    assert_eq!(stdout(&cold, "echo one", RunAs::Login).await, "one");
    cold.close().await;
    let warm = host(&sshd, "root", Some(&state));
    assert_eq!(warm.open(&RunAs::Login).await.unwrap().path, welcome.path);
    assert_eq!(fs_err::metadata(&file).unwrap().modified().unwrap(), made, "it was not written again");
    warm.close().await;
}

/// Files without a mode of their own, and commands, are as the user's own would be, whether or not it had to be pushed.
#[tokio::test]
async fn the_umask_is_the_login_s_on_a_cold_host_and_on_a_warm_one() {
    if missing("the_umask_is_the_login_s_on_a_cold_host_and_on_a_warm_one") {
        return;
    }
    for umask in ["0022", "0002", "0077"] {
        let config = format!("ForceCommand umask {umask}; exec sh -c \"$SSH_ORIGINAL_COMMAND\"");
        let sshd = Sshd::start(&Options { config, ..Options::default() });
        for (user, state) in [("root", Some(sshd.directory().join("state"))), ("ops", None)] {
            for round in ["cold", "warm"] {
                let host = host(&sshd, user, state.as_deref());
                assert_eq!(stdout(&host, "umask", RunAs::Login).await, umask, "{user} {round}");
                host.close().await;
            }
        }
    }
}

#[tokio::test]
async fn every_login_shell_starts_it_and_noise_before_it_is_passed_over() {
    if missing("every_login_shell_starts_it_and_noise_before_it_is_passed_over") {
        return;
    }
    for shell in ["bash", "dash", "csh", "fish", "busybox sh"] {
        if Command::new(shell.split(' ').next().unwrap()).arg("-c").arg(":").output().is_err() {
            eprintln!("SKIPPED {shell}: it is not installed");
            continue;
        }
        // What sshd does with a user's login shell.
        let config = format!("ForceCommand echo Welcome to this host; exec {shell} -c \"$SSH_ORIGINAL_COMMAND\"");
        let sshd = Sshd::start(&Options { config, ..Options::default() });
        let host = host(&sshd, "root", Some(&sshd.directory().join("state")));
        assert_eq!(host.open(&RunAs::Login).await.map(|welcome| welcome.uid), Ok(0), "{shell}");
        assert_eq!(stdout(&host, "echo one", RunAs::Login).await, "one", "{shell}");
        host.close().await;
    }
}

#[tokio::test]
async fn an_ordinary_user_keeps_it_at_home_and_root_by_sudo_in_its_own_place() {
    let test = "an_ordinary_user_keeps_it_at_home_and_root_by_sudo_in_its_own_place";
    if missing(test) || no_sudo(test) {
        return;
    }
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let sshd = sudo_sshd("Defaults:nobody log_input\nops ALL=(ALL) NOPASSWD: ALL\n", "");
    let host = host(&sshd, "ops", None);
    let mine = host.open(&RunAs::Login).await.unwrap();
    assert_eq!(mine.sudo_records, None, "sudo has not started it");
    let home = sshd.directory().join("home/.local/state/rollgate");
    assert_eq!(mine.uid, 4242);
    assert!(Path::new(&mine.path).starts_with(&home), "{mine:?}");
    let directory = fs_err::metadata(Path::new(&mine.path).parent().unwrap()).unwrap();
    assert_eq!((directory.uid(), directory.permissions().mode() & 0o777), (4242, 0o700));

    let roots = host.open(&root()).await.unwrap();
    assert_eq!(roots.uid, 0);
    assert_eq!(roots.sudo_records.as_deref(), Some("/etc/sudoers: Defaults:nobody log_input"));
    assert!(roots.path.starts_with("/var/lib/rollgate/agent/"), "{roots:?}");
    let modes = "stat -c '%u %a' /var/lib/rollgate /var/lib/rollgate/agent /var/lib/rollgate/agent/* \
                 /var/lib/rollgate/agent/*/rollgate-agent; pwd";
    assert_eq!(
        stdout(&host, modes, root()).await.lines().collect::<Vec<_>>(),
        ["0 711", "0 755", "0 755", "0 755", "/"]
    );
    // A third user runs what root keeps, and keeps its own state.
    let web = host.open(&RunAs::Become("web".into())).await.unwrap();
    assert_eq!((web.uid, &web.path), (4343, &roots.path));
    // One connection served all three.
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1);
    host.close().await;
}

fn no_sudo(test: &str) -> bool {
    let missing = !Path::new("/usr/bin/sudo").exists();
    if missing {
        eprintln!("SKIPPED {test}: sudo is not installed");
    }
    missing
}

/// A server whose sudo has these rules alone.
fn sudo_sshd(rules: &str, setup: &str) -> Sshd {
    let setup = format!(
        "rules=$(mktemp)\ncat > $rules <<'EOF'\nDefaults use_pty\nroot ALL=(ALL:ALL) ALL\n{rules}EOF\nchmod 440 $rules\n\
         mount --bind $rules /etc/sudoers\nrm $rules\n{setup}"
    );
    Sshd::start(&Options { setup, ..Options::default() })
}

#[tokio::test]
async fn row_21_sudo_that_asks_is_an_error_of_the_become_stage_with_what_to_do() {
    let test = "row_21_sudo_that_asks_is_an_error_of_the_become_stage_with_what_to_do";
    if missing(test) || no_sudo(test) {
        return;
    }
    for (rules, word) in [("ops ALL=(ALL) ALL\n", "password is required"), ("", "password is required")] {
        let sshd = sudo_sshd(rules, "");
        match host(&sshd, "ops", None).open(&root()).await {
            Err(HostError::Unreachable { stage: Stage::Become, message, hint }) => {
                assert!(message.contains(word), "{message}");
                assert!(hint.unwrap().contains("NOPASSWD"));
            }
            other => panic!("sudo must refuse: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_home_mounted_noexec_is_not_used_and_the_place_used_is_named() {
    if missing("a_home_mounted_noexec_is_not_used_and_the_place_used_is_named") {
        return;
    }
    let setup = "mount -t tmpfs -o noexec,mode=755,uid=4242 none \"$(getent passwd ops | cut -d: -f6)\"\n\
                 mount -t tmpfs -o mode=1777 none /var/tmp";
    let sshd = Sshd::start(&Options { setup: setup.into(), ..Options::default() });
    let host = host(&sshd, "ops", None);
    let welcome = host.open(&RunAs::Login).await.unwrap();
    assert!(welcome.path.starts_with("/var/tmp/rollgate-4242/agent/"), "{welcome:?}");
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_nothing() {
    if missing("a_full_disk_is_said_and_leaves_nothing") {
        return;
    }
    let setup = "mkdir -p /mnt/small && mount -t tmpfs -o size=64k,mode=755 none /mnt/small";
    let sshd = Sshd::start(&Options { setup: setup.into(), ..Options::default() });
    let host = host(&sshd, "root", Some(Path::new("/mnt/small")));
    match host.open(&RunAs::Login).await {
        Err(HostError::Unreachable { stage: Stage::Agent, message, .. }) => {
            assert!(message.contains("did not arrive whole") && message.contains("/mnt/small"), "{message}");
        }
        other => panic!("it cannot be put there: {other:?}"),
    }
    let left = host.raw("find /mnt/small -type f", &RunAs::Login, SOON).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[tokio::test]
async fn row_19_a_login_shell_that_hangs_costs_its_own_host_the_time_allowed() {
    if missing("row_19_a_login_shell_that_hangs_costs_its_own_host_the_time_allowed") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let hung = Sshd::start(&Options { config: "ForceCommand sleep 1000".into(), ..Options::default() });
    let short = SshOptions { start_timeout: Duration::from_millis(500), ..options(&hung, "root") };
    let hung_host = SshFleet::new(short).host(&target(&hung, None));
    let good = host(&sshd, "root", Some(&sshd.directory().join("state")));
    let (hung_opened, good_opened) = tokio::join!(hung_host.open(&RunAs::Login), good.open(&RunAs::Login));
    assert!(good_opened.is_ok());
    match hung_opened {
        Err(HostError::Unreachable { stage: Stage::Agent, message, .. }) => {
            assert!(message.contains("login shell"), "{message}");
        }
        other => panic!("it hangs: {other:?}"),
    }
}

#[tokio::test]
async fn a_cancelled_task_leaves_no_process_behind() {
    if missing("a_cancelled_task_leaves_no_process_behind") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let host = host(&sshd, "root", Some(&sshd.directory().join("state")));
    let begun = sshd.directory().join("begun");
    assert!(Command::new("mkfifo").arg(&begun).status().unwrap().success());
    let cancel = CancellationToken::new();
    let line = format!("sleep 7541 & echo > {}; sleep 7542", begun.display());
    let asked = Request { cancel: cancel.clone(), ..request(shell(&line), RunAs::Login) };
    let running = host.clone();
    let call = tokio::spawn(async move { running.call(asked).await });
    tokio::task::spawn_blocking(move || fs_err::read(begun)).await.unwrap().unwrap();
    cancel.cancel();
    assert!(matches!(call.await.unwrap(), Err(HostError::Agent(_))));
    let left = host.raw("grep -l 'sleep.754[12]' /proc/[0-9]*/cmdline; true", &RunAs::Login, SOON).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    assert_eq!(stdout(&host, "echo still here", RunAs::Login).await, "still here");
}

#[tokio::test]
async fn a_call_past_its_deadline_is_ended_on_the_host() {
    if missing("a_call_past_its_deadline_is_ended_on_the_host") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let host = host(&sshd, "root", Some(&sshd.directory().join("state")));
    host.open(&RunAs::Login).await.unwrap();
    let asked = Request { deadline: Duration::from_millis(300), ..request(shell("sleep 7551"), RunAs::Login) };
    let error = host.call(asked).await.unwrap_err();
    assert!(
        matches!(&error, HostError::Agent(why) if !error.outcome_unknown() && !why.message.is_empty()),
        "{error:?}"
    );
    let left = host.raw("grep -l 'sleep.755[1]' /proc/[0-9]*/cmdline; true", &RunAs::Login, SOON).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[tokio::test]
async fn a_server_killed_in_the_middle_loses_every_call_under_way() {
    if missing("a_server_killed_in_the_middle_loses_every_call_under_way") {
        return;
    }
    let mut sshd = Sshd::start(&Options::default());
    let host = host(&sshd, "root", Some(&sshd.directory().join("state")));
    let mut calls = Vec::new();
    // A task and two probes: tasks take turns on a host, probes run beside them.
    for call in [shell as fn(&str) -> Call, probe, probe] {
        let begun = sshd.directory().join(format!("begun{}", calls.len()));
        assert!(Command::new("mkfifo").arg(&begun).status().unwrap().success());
        let (running, line) = (host.clone(), format!("echo > {}; sleep 1000", begun.display()));
        calls.push(tokio::spawn(async move { running.call(request(call(&line), RunAs::Login)).await }));
        tokio::task::spawn_blocking(move || fs_err::read(begun)).await.unwrap().unwrap();
    }
    sshd.kill();
    for call in calls {
        assert!(matches!(call.await.unwrap(), Err(HostError::Lost { .. })));
    }
    let after = host.call(request(shell("true"), RunAs::Login)).await.unwrap_err();
    assert!(matches!(after, HostError::Unreachable { .. }), "not sent, so nothing is unknown: {after:?}");
}

#[tokio::test]
async fn an_agent_that_died_between_calls_is_started_again() {
    if missing("an_agent_that_died_between_calls_is_started_again") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let host = host(&sshd, "root", Some(&sshd.directory().join("state")));
    let lost = host.call(request(shell("kill -9 $PPID; sleep 1000"), RunAs::Login)).await.unwrap_err();
    assert!(matches!(lost, HostError::Lost { .. }), "{lost:?}");
    assert_eq!(stdout(&host, "echo again", RunAs::Login).await, "again");
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1, "on the same connection");
}

#[tokio::test]
async fn this_machine_is_a_host_too() {
    let state = tempfile::tempdir().unwrap();
    let options = SshOptions { agents: agent(), use_ssh_config: false, ..SshOptions::new("run") };
    let local = Target {
        name: "localhost".into(),
        connection: Connection::Local,
        state_dir: state.path().to_str().map(str::to_owned),
        ..Target::default()
    };
    let host = SshFleet::new(options).host(&local);
    let welcome = host.open(&RunAs::Login).await.unwrap();
    assert_eq!(welcome.state_dir, state.path().to_str().unwrap());
    assert_eq!(stdout(&host, "echo here", RunAs::Login).await, "here");
    let raw = host.raw("echo out; exit 3", &RunAs::Login, SOON).await.unwrap();
    assert_eq!((raw.rc, raw.stdout.as_slice()), (Some(3), &b"out\n"[..]));
    let deadline = Duration::from_millis(200);
    let error = host.raw("sleep 1000", &RunAs::Login, deadline).await.unwrap_err();
    assert_eq!(error, HostError::Deadline { after: deadline });
    host.close().await;
}

/// Fifty hosts on one machine, cold and warm. Says how long it took; meant for optimised builds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes fifty agents, which are large in a debug build: run with ROLLGATE_AGENT naming an optimised one"]
async fn fifty_agents_at_once_all_answer() {
    if missing("fifty_agents_at_once_all_answer") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    for round in ["cold", "warm"] {
        let fleet = SshFleet::new(options(&sshd, "root"));
        let hosts: Vec<_> = (1..=50)
            .map(|n| {
                let state = sshd.directory().join(format!("h{n}"));
                fleet.host(&Target { address: format!("127.0.1.{n}"), ..target(&sshd, Some(&state)) })
            })
            .collect();
        let begin = Instant::now();
        let opened = futures::future::join_all(hosts.iter().map(|host| host.open(&RunAs::Login))).await;
        eprintln!("{round}: 50 hosts connected and welcomed in {:?}", begin.elapsed());
        for welcome in opened {
            assert_eq!(welcome.unwrap().uid, 0);
        }
        futures::future::join_all(hosts.iter().map(|host| host.close())).await;
    }
}

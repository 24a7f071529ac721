//! SSH against a real sshd: getting in, host keys, commands without an agent.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test")]

#[path = "support/sshd.rs"]
#[expect(dead_code, reason = "each test binary uses its part")]
mod sshd;

use rollgate::{
    host::{Fleet as _, Host, HostError, RunAs, Stage, Target},
    ssh::{SshFleet, SshOptions},
};
use sshd::{Options, Sshd, make_key, missing};
use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(20);

/// Options that look at nothing of this machine's own ssh setup.
fn options(sshd: &Sshd) -> SshOptions {
    SshOptions {
        user: Some("root".into()),
        identity_files: vec![sshd.key()],
        known_hosts: Some(vec![sshd.known_hosts()]),
        use_ssh_config: false,
        auth_sock: None,
        ..SshOptions::new("run")
    }
}

fn target(sshd: &Sshd, address: &str) -> Target {
    Target { name: "web1".into(), address: address.into(), port: Some(sshd.port()), ..Target::default() }
}

fn host(sshd: &Sshd, options: SshOptions) -> Arc<dyn Host> {
    SshFleet::new(options).host(&target(sshd, "127.0.0.1"))
}

async fn refused(host: &Arc<dyn Host>) -> (Stage, String, String) {
    match host.raw("true", &RunAs::Login, SOON).await {
        Err(HostError::Unreachable { stage, message, hint }) => (stage, message, hint.unwrap_or_default()),
        other => panic!("it should not be reached: {other:?}"),
    }
}

#[tokio::test]
async fn a_command_gives_exit_code_output_and_errors_apart() {
    if missing("a_command_gives_exit_code_output_and_errors_apart") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let host = host(&sshd, options(&sshd));
    let output = host.raw("echo out; echo err >&2; exit 3", &RunAs::Login, SOON).await.unwrap();
    assert_eq!(
        (output.rc, output.stdout.as_slice(), output.stderr.as_slice()),
        (Some(3), &b"out\n"[..], &b"err\n"[..])
    );
    let output = host.raw("kill -9 $$", &RunAs::Login, SOON).await.unwrap();
    assert_eq!(output.rc, None, "a command killed by a signal has no exit code, and none is not 0");
    host.close().await;
}

#[tokio::test]
async fn many_commands_at_once_all_come_through() {
    if missing("many_commands_at_once_all_come_through") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let host = host(&sshd, options(&sshd));
    let commands: Vec<String> = (0..40).map(|n| format!("echo {n}")).collect();
    let all = commands.iter().map(|command| host.raw(command, &RunAs::Login, SOON));
    for (n, output) in futures::future::join_all(all).await.into_iter().enumerate() {
        assert_eq!(output.unwrap().stdout, format!("{n}\n").into_bytes());
    }
}

#[tokio::test]
async fn fifty_hosts_at_once_all_answer() {
    if missing("fifty_hosts_at_once_all_answer") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let fleet = SshFleet::new(SshOptions { connect_timeout: SOON, ..options(&sshd) });
    let hosts: Vec<_> = (1..=50).map(|n| fleet.host(&target(&sshd, &format!("127.0.1.{n}")))).collect();
    let all = hosts.iter().map(|host| host.raw("true", &RunAs::Login, SOON));
    for output in futures::future::join_all(all).await {
        assert_eq!(output.unwrap().rc, Some(0));
    }
}

#[tokio::test]
async fn large_output_comes_whole() {
    if missing("large_output_comes_whole") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let host = host(&sshd, options(&sshd));
    let output = host.raw("head -c 20000000 /dev/zero", &RunAs::Login, SOON).await.unwrap();
    assert_eq!(output.stdout.len(), 20_000_000);
    let error = host.raw("head -c 70000000 /dev/zero; sleep 1000", &RunAs::Login, SOON).await.unwrap_err();
    assert!(matches!(error, HostError::Protocol { .. }), "over the limit of unread bytes: {error:?}");
}

#[tokio::test]
async fn a_key_that_the_host_does_not_know_is_an_authentication_error_that_names_it() {
    if missing("a_key_that_the_host_does_not_know_is_an_authentication_error_that_names_it") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let other = sshd.directory().join("other");
    make_key(&other, "ed25519", "");
    let host = host(&sshd, SshOptions { identity_files: vec![other.clone()], ..options(&sshd) });
    let (stage, message, hint) = refused(&host).await;
    assert_eq!(stage, Stage::Authenticate);
    assert!(message.contains(other.to_str().unwrap()) && message.contains("SHA256:"), "{message}");
    assert!(hint.contains("authorized_keys"), "{hint}");
}

#[tokio::test]
async fn keys_of_every_common_type_are_taken() {
    if missing("keys_of_every_common_type_are_taken") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    for kind in ["ecdsa", "rsa"] {
        let key = sshd.directory().join(kind);
        make_key(&key, kind, "");
        fs_err::copy(key.with_extension("pub"), sshd.directory().join("authorized_keys")).unwrap();
        let host = host(&sshd, SshOptions { identity_files: vec![key], ..options(&sshd) });
        assert_eq!(host.raw("true", &RunAs::Login, SOON).await.unwrap().rc, Some(0), "{kind}");
    }
}

#[tokio::test]
async fn a_user_certificate_beside_the_key_is_offered() {
    if missing("a_user_certificate_beside_the_key_is_offered") {
        return;
    }
    let ca = tempfile::tempdir().unwrap();
    make_key(&ca.path().join("ca"), "ed25519", "");
    let config = format!("TrustedUserCAKeys {}", ca.path().join("ca.pub").display());
    let sshd = Sshd::start(&Options { config, ..Options::default() });
    let key = ca.path().join("user");
    make_key(&key, "ed25519", "");
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-I", "test", "-n", "root", "-s"]).arg(ca.path().join("ca")).arg(key.with_extension("pub"));
    assert!(sign.status().unwrap().success());
    let host = host(&sshd, SshOptions { identity_files: vec![key], ..options(&sshd) });
    assert_eq!(host.raw("true", &RunAs::Login, SOON).await.unwrap().rc, Some(0));
}

#[tokio::test]
async fn an_unknown_host_key_is_refused_and_accepted_only_on_purpose() {
    if missing("an_unknown_host_key_is_refused_and_accepted_only_on_purpose") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let file = sshd.directory().join("new/known_hosts");
    let strict = SshOptions { known_hosts: Some(vec![file.clone()]), ..options(&sshd) };
    let (stage, message, hint) = refused(&host(&sshd, strict.clone())).await;
    assert_eq!(stage, Stage::HostKey);
    assert!(message.contains(file.to_str().unwrap()) && message.contains("SHA256:"), "{message}");
    assert!(hint.contains("--accept-new-host-keys"), "{hint}");
    assert!(!file.exists(), "refusing writes nothing");

    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = heard.clone();
    let accepting = SshOptions {
        accept_new_host_keys: true,
        on_new_key: Some(Arc::new(move |name, said| hear.lock().unwrap().push(format!("{name}: {said}")))),
        ..strict.clone()
    };
    assert_eq!(host(&sshd, accepting).raw("true", &RunAs::Login, SOON).await.unwrap().rc, Some(0));
    let heard = heard.lock().unwrap().join("\n");
    assert!(heard.contains("web1: ") && heard.contains("SHA256:"), "{heard}");
    assert_eq!(host(&sshd, strict).raw("true", &RunAs::Login, SOON).await.unwrap().rc, Some(0), "now it is known");
}

#[tokio::test]
async fn row_22_a_changed_host_key_is_never_accepted() {
    if missing("row_22_a_changed_host_key_is_never_accepted") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let other = sshd.directory().join("other");
    make_key(&other, "ed25519", "");
    let public = fs_err::read_to_string(other.with_extension("pub")).unwrap();
    let file = sshd.directory().join("old_hosts");
    fs_err::write(&file, format!("# old\n[127.0.0.1]:{} {public}", sshd.port())).unwrap();
    let before = fs_err::read_to_string(&file).unwrap();
    let changed = SshOptions { known_hosts: Some(vec![file.clone()]), accept_new_host_keys: true, ..options(&sshd) };
    let (stage, message, hint) = refused(&host(&sshd, changed)).await;
    assert_eq!(stage, Stage::HostKey);
    assert!(message.contains(&format!("{}:2", file.display())), "it names file and line: {message}");
    let command = format!("ssh-keygen -f {} -R '[127.0.0.1]:{}'", file.display(), sshd.port());
    assert!(hint.contains(&command), "{hint}");
    assert_eq!(fs_err::read_to_string(&file).unwrap(), before);
}

#[tokio::test]
async fn a_revoked_host_key_is_refused() {
    if missing("a_revoked_host_key_is_refused") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let file = sshd.directory().join("revoked");
    let good = fs_err::read_to_string(sshd.known_hosts()).unwrap();
    fs_err::write(&file, format!("{good}@revoked * {}\n", sshd.host_key())).unwrap();
    let (stage, message, _) =
        refused(&host(&sshd, SshOptions { known_hosts: Some(vec![file]), ..options(&sshd) })).await;
    assert_eq!(stage, Stage::HostKey);
    assert!(message.contains("revokes"), "{message}");
}

#[tokio::test]
async fn a_host_known_by_another_key_type_alone_is_asked_for_that_one() {
    if missing("a_host_known_by_another_key_type_alone_is_asked_for_that_one") {
        return;
    }
    let extra = tempfile::tempdir().unwrap();
    let rsa = extra.path().join("rsa");
    make_key(&rsa, "rsa", "");
    let sshd = Sshd::start(&Options { config: format!("HostKey {}", rsa.display()), ..Options::default() });
    let file = sshd.directory().join("rsa_only");
    let public = fs_err::read_to_string(rsa.with_extension("pub")).unwrap();
    fs_err::write(&file, format!("[127.0.0.1]:{} {public}", sshd.port())).unwrap();
    let host = host(&sshd, SshOptions { known_hosts: Some(vec![file]), ..options(&sshd) });
    assert_eq!(host.raw("true", &RunAs::Login, SOON).await.unwrap().rc, Some(0));
}

/// An ssh-agent of our own.
struct SshAgent(std::process::Child, tempfile::TempDir);

impl SshAgent {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut agent = Command::new("ssh-agent");
        agent.arg("-D").arg("-a").arg(directory.path().join("sock")).stdout(Stdio::piped());
        let mut child = agent.spawn().unwrap();
        // It prints its socket once it listens.
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        Self(child, directory)
    }

    fn socket(&self) -> std::path::PathBuf {
        self.1.path().join("sock")
    }

    fn add(&self, key: &Path) {
        let mut add = Command::new("ssh-add");
        assert!(add.arg("-q").arg(key).env("SSH_AUTH_SOCK", self.socket()).status().unwrap().success());
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn an_encrypted_key_needs_an_ssh_agent_that_holds_it() {
    if missing("an_encrypted_key_needs_an_ssh_agent_that_holds_it") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let locked = sshd.directory().join("locked");
    fs_err::copy(sshd.key(), &locked).unwrap();
    let mut lock = Command::new("ssh-keygen");
    assert!(lock.args(["-q", "-p", "-N", "secret", "-f"]).arg(&locked).status().unwrap().success());
    let alone = SshOptions { identity_files: vec![locked.clone()], ..options(&sshd) };
    let (stage, message, _) = refused(&host(&sshd, alone.clone())).await;
    assert_eq!(stage, Stage::Authenticate);
    assert!(message.contains("is encrypted") && message.contains("ssh-add"), "{message}");

    let agent = SshAgent::start();
    agent.add(&sshd.key());
    let with_agent = SshOptions { auth_sock: Some(agent.socket()), ..alone };
    assert_eq!(host(&sshd, with_agent).raw("true", &RunAs::Login, SOON).await.unwrap().rc, Some(0));
}

#[tokio::test]
async fn at_most_five_keys_are_offered_and_identities_only_is_honoured() {
    if missing("at_most_five_keys_are_offered_and_identities_only_is_honoured") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let agent = SshAgent::start();
    for n in 0..8 {
        let key = sshd.directory().join(format!("k{n}"));
        make_key(&key, "ed25519", "");
        agent.add(&key);
    }
    let many = SshOptions { identity_files: Vec::new(), auth_sock: Some(agent.socket()), ..options(&sshd) };
    let (_, message, _) = refused(&host(&sshd, many.clone())).await;
    assert_eq!(message.matches("ssh-agent: ").count(), 5, "{message}");

    let mut only = target(&sshd, "127.0.0.1");
    only.ssh_options.insert("identitiesonly".into(), "yes".into());
    only.identity_files = vec![sshd.directory().join("k7.pub").to_str().unwrap().into()];
    let (_, message, _) = refused(&SshFleet::new(many).host(&only)).await;
    assert_eq!(message.matches("SHA256:").count(), 1, "{message}");
}

#[tokio::test]
async fn a_command_past_its_deadline_is_ended_on_the_host() {
    if missing("a_command_past_its_deadline_is_ended_on_the_host") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    // sshd signals the commands of ordinary users only.
    let host = host(&sshd, SshOptions { user: Some("ops".into()), ..options(&sshd) });
    let deadline = Duration::from_millis(300);
    let error = host.raw("sleep 7531 & sleep 7532", &RunAs::Login, deadline).await.unwrap_err();
    assert_eq!(error, HostError::Deadline { after: deadline });
    let left = host.raw("grep -l 'sleep.753[12]' /proc/[0-9]*/cmdline; true", &RunAs::Login, SOON).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "the command's process group has gone");
}

#[tokio::test]
async fn a_killed_server_loses_the_call_under_way_and_the_next_one_is_not_sent() {
    if missing("a_killed_server_loses_the_call_under_way_and_the_next_one_is_not_sent") {
        return;
    }
    let mut sshd = Sshd::start(&Options::default());
    let host = host(&sshd, options(&sshd));
    let begun = sshd.directory().join("begun");
    assert!(Command::new("mkfifo").arg(&begun).status().unwrap().success());
    let command = format!("echo > {}; sleep 1000", begun.display());
    let running = host.clone();
    let call = tokio::spawn(async move { running.raw(&command, &RunAs::Login, SOON).await });
    // Opening the pipe for reading ends when the command has opened it for writing.
    let seen = tokio::task::spawn_blocking(move || fs_err::read(begun)).await.unwrap().unwrap();
    assert_eq!(seen, b"\n");
    sshd.kill();
    assert!(matches!(call.await.unwrap(), Err(HostError::Lost { .. })));
    assert_eq!(refused(&host).await.0, Stage::Connect);
}

#[tokio::test]
async fn row_20_a_connection_found_dead_between_calls_is_made_again() {
    if missing("row_20_a_connection_found_dead_between_calls_is_made_again") {
        return;
    }
    let sshd = Sshd::start(&Options::default());
    let host = host(&sshd, options(&sshd));
    // The session's own sshd: the parent of the command's shell.
    let killed = host.raw("kill -9 $PPID", &RunAs::Login, SOON).await;
    assert!(matches!(killed, Err(HostError::Lost { .. })), "{killed:?}");
    assert_eq!(host.raw("echo again", &RunAs::Login, SOON).await.unwrap().stdout, b"again\n");
}

#[tokio::test]
async fn nobody_at_the_port_and_a_silent_server_are_connect_errors_in_time() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = SshOptions {
        use_ssh_config: false,
        known_hosts: Some(Vec::new()),
        connect_timeout: Duration::from_millis(300),
        ..SshOptions::new("run")
    };
    let fleet = SshFleet::new(options);
    for port in [nobody, silent.local_addr().unwrap().port()] {
        let target = Target { name: "web1".into(), address: "127.0.0.1".into(), port: Some(port), ..Target::default() };
        let (stage, message, hint) = refused(&fleet.host(&target)).await;
        assert_eq!(stage, Stage::Connect);
        assert!(message.contains(&format!("127.0.0.1:{port}")) && !hint.is_empty(), "{message} {hint}");
    }
}

#[tokio::test]
async fn raw_becomes_another_user_by_sudo_and_says_when_sudo_refuses() {
    if missing("raw_becomes_another_user_by_sudo_and_says_when_sudo_refuses") {
        return;
    }
    if !Path::new("/usr/bin/sudo").exists() {
        eprintln!("SKIPPED raw_becomes_another_user_by_sudo_and_says_when_sudo_refuses: sudo is not installed");
        return;
    }
    let rules = tempfile::tempdir().unwrap();
    let file = rules.path().join("sudoers");
    fs_err::write(&file, "root ALL=(ALL:ALL) ALL\nops ALL=(ALL) ALL\nops ALL=(root) NOPASSWD: ALL\n").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o440)).unwrap();
    let setup = format!("mount --bind {} /etc/sudoers", file.display());
    let sshd = Sshd::start(&Options { setup, ..Options::default() });
    let host = host(&sshd, SshOptions { user: Some("ops".into()), ..options(&sshd) });
    assert_eq!(host.raw("id -un", &RunAs::Login, SOON).await.unwrap().stdout, b"ops\n");
    let root = RunAs::Become("root".into());
    let output = host.raw("echo \"it's $(id -un)\"; exit 4", &root, SOON).await.unwrap();
    assert_eq!((output.rc, output.stdout.as_slice()), (Some(4), &b"it's root\n"[..]));
    match host.raw("id", &RunAs::Become("nobody".into()), SOON).await {
        Err(HostError::Unreachable { stage: Stage::Become, message, hint }) => {
            assert!(message.contains("password is required"), "{message}");
            assert!(hint.unwrap().contains("NOPASSWD"));
        }
        other => panic!("sudo must refuse: {other:?}"),
    }
}

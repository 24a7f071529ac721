//! The start script, by local shells: no sshd is needed to see what it does on a host.

use super::*;
use crate::host::{Alive as _, start_agent_process};
use std::path::{Path, PathBuf};

const SOON: Duration = Duration::from_secs(60);

/// Whether the agent is sent compressed.
const FAR: bool = true;
const HERE: bool = false;

#[test]
fn the_script_is_safe_in_single_quotes_of_every_login_shell() {
    let script = script();
    assert!(script.contains("exec \"$d/rollgate-agent\" --stdio"), "the script is there");
    for forbidden in ['\'', '\\', '!', '\n'] {
        assert!(!script.contains(forbidden), "{forbidden:?} in {script}");
    }
}

#[test]
fn becoming_the_login_user_needs_no_sudo() {
    assert_eq!(become_user(&RunAs::Become("root".into()), "root"), None);
    assert_eq!(become_user(&RunAs::Become("root".into()), "ops"), Some("root"));
    assert_eq!(shell_line(Some("web"), &["id", "x"]), "exec sudo -n -H -u 'web' /bin/sh -c 'id' 'x'");
}

#[tokio::test]
async fn words_that_a_login_shell_might_change_are_refused() {
    for word in ["/x'y", "/x\\y", "/x!y", "/x\ny", "-x"] {
        assert!(!plain(word) || word.starts_with('-'), "{word:?}");
    }
    assert!(plain("/var/lib/roll gate/ü"));
}

/// The agent of this build.
fn agent() -> AgentFiles {
    let mut build = std::process::Command::new(option_env!("CARGO").unwrap_or("cargo"));
    build.args(["build", "-q", "-p", "rollgate-agent"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os(crate::host::AGENT_VARIABLE).is_some() {
        return AgentFiles::find();
    }
    assert!(build.status().unwrap().success());
    let test = std::env::current_exe().unwrap();
    AgentFiles::at(std::env::consts::ARCH, &test.parent().unwrap().with_file_name("rollgate-agent"))
}

struct Try<'a> {
    shell: &'a [&'a str],
    directory: &'a Path,
    path: Option<String>,
    files: AgentFiles,
    /// Another user than this one.
    user: Option<u32>,
}

impl Try<'_> {
    async fn start(&self, compress: bool) -> Result<Mux, HostError> {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            run: "r".into(),
            state_dir: Some(self.directory.display().to_string()),
        };
        let hello = encode(&ToAgent::Hello(hello)).unwrap();
        let agents = agents(&self.files).await?;
        let mut command = tokio::process::Command::new(self.shell[0]);
        command.args(&self.shell[1..]).arg("-c").args(words(&agents, self.directory.to_str()));
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        let (source, sink) = start_agent_process(&mut command).unwrap();
        Starting::new(Box::new(source), Box::new(sink), hello, agents, Stage::Agent).run(compress, SOON).await
    }

    fn agent_file(&self) -> PathBuf {
        let sha256 = &self.files.all().unwrap()[0].sha256;
        self.directory.join("agent").join(sha256).join("rollgate-agent")
    }
}

/// Shells that are installed here, the others named.
fn shells() -> Vec<&'static [&'static str]> {
    let all: [&[&str]; 3] = [&["dash"], &["bash", "--posix"], &["busybox", "sh"]];
    let there = |shell: &&[&str]| {
        let there = std::process::Command::new(shell[0]).args(&shell[1..]).args(["-c", ":"]).output().is_ok();
        if !there {
            eprintln!("SKIPPED: {} is not installed; the start script is not tried in it", shell[0]);
        }
        there
    };
    all.into_iter().filter(there).collect()
}

#[tokio::test]
async fn a_cold_start_puts_the_agent_there_and_a_warm_one_finds_it() {
    let files = agent();
    for (n, shell) in shells().into_iter().enumerate() {
        // Compressed for the first shell only: a debug build's agent is large.
        for compress in [HERE, FAR].into_iter().take(if n == 0 { 2 } else { 1 }) {
            let directory = tempfile::tempdir().unwrap();
            let attempt = Try { shell, directory: directory.path(), path: None, files: files.clone(), user: None };
            let cold = attempt.start(compress).await.unwrap();
            assert_eq!(Path::new(&cold.welcome().path), attempt.agent_file(), "{shell:?}");
            let first = fs_err::metadata(attempt.agent_file()).unwrap();
            cold.close().await;
            let warm = attempt.start(compress).await.unwrap();
            assert!(warm.alive());
            let second = fs_err::metadata(attempt.agent_file()).unwrap();
            assert_eq!(inode(&first), inode(&second), "{shell:?} has written it again");
            let left = fs_err::read_dir(attempt.agent_file().parent().unwrap()).unwrap().count();
            assert_eq!(left, 1, "nothing but the agent is left in its directory");
        }
    }
}

#[tokio::test]
async fn another_user_than_root_gets_directories_of_his_own() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let is_root = rustix::process::geteuid().is_root();
    let user = if is_root { 65534 } else { rustix::process::geteuid().as_raw() };
    let files = agent();
    for shell in shells() {
        let place = tempfile::tempdir().unwrap();
        fs_err::create_dir(place.path().join("there")).unwrap();
        if is_root {
            for path in [place.path().to_owned(), place.path().join("there")] {
                chown(path, Some(user), Some(user)).unwrap();
            }
        }
        for name in ["new", "missing/above", "there"] {
            let directory = place.path().join(name);
            let user = is_root.then_some(user);
            let attempt = Try { shell, directory: &directory, path: None, files: files.clone(), user };
            let cold = attempt.start(HERE).await.unwrap();
            let file = attempt.agent_file();
            assert_eq!(Path::new(&cold.welcome().path), file, "{shell:?}");
            for made in file.ancestors().skip(1).take(if name == "there" { 2 } else { 3 }) {
                let meta = fs_err::metadata(made).unwrap();
                let owner = user.unwrap_or(meta.uid());
                assert_eq!((meta.uid(), meta.permissions().mode() & 0o777), (owner, 0o700), "{}", made.display());
            }
            cold.close().await;
        }
    }
}

fn inode(meta: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(meta)
}

/// A directory of busybox's commands alone; with `old`, its dd cannot read whole blocks.
fn busybox_path(directory: &Path, old: bool) -> Option<String> {
    let busybox = Path::new("/usr/bin/busybox");
    if !busybox.exists() {
        eprintln!("SKIPPED: busybox is not installed; hosts with nothing else are not tried");
        return None;
    }
    fs_err::create_dir_all(directory).unwrap();
    for name in ["sh", "ls", "dd", "head", "gzip", "id", "uname", "mkdir", "mv", "rm", "chmod"] {
        std::os::unix::fs::symlink(busybox, directory.join(name)).unwrap();
    }
    if old {
        let dd = directory.join("dd");
        fs_err::remove_file(&dd).unwrap();
        let script = "#!/bin/sh\ncase $* in *iflag*) exit 1;; esac\nexec busybox dd \"$@\"\n";
        fs_err::write(&dd, script.replace("exec busybox", "exec /usr/bin/busybox")).unwrap();
        std::fs::set_permissions(&dd, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    directory.to_str().map(str::to_owned)
}

#[tokio::test]
async fn a_host_with_busybox_alone_is_enough_even_an_old_one() {
    let files = agent();
    for old in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let Some(path) = busybox_path(&directory.path().join("bin"), old) else { return };
        let state = tempfile::tempdir().unwrap();
        let shell: &[&str] = &["/usr/bin/busybox", "sh"];
        let attempt =
            Try { shell, directory: state.path(), path: Some(path.clone()), files: files.clone(), user: None };
        let mux = attempt.start(FAR).await.unwrap();
        assert!(mux.alive(), "old: {old}");
    }
}

#[tokio::test]
async fn a_damaged_agent_is_replaced() {
    let files = agent();
    let directory = tempfile::tempdir().unwrap();
    let attempt = Try { shell: &["sh"], directory: directory.path(), path: None, files, user: None };
    attempt.start(HERE).await.unwrap().close().await;
    let whole = fs_err::read(attempt.agent_file()).unwrap();
    let zeroed = vec![0; whole.len()];
    for damaged in [b"not an agent".as_slice(), b"", &whole[..whole.len() / 2], &zeroed] {
        fs_err::write(attempt.agent_file(), damaged).unwrap();
        attempt.start(HERE).await.unwrap().close().await;
        assert!(fs_err::read(attempt.agent_file()).unwrap() == whole, "{} bytes were run as they were", damaged.len());
    }
}

async fn refusal(attempt: &Try<'_>) -> String {
    match attempt.start(HERE).await {
        Err(HostError::Unreachable { stage: Stage::Agent, message, .. }) => message,
        Err(other) => panic!("another error was expected: {other:?}"),
        Ok(_) => panic!("it must not start"),
    }
}

#[tokio::test]
async fn an_agent_that_others_can_write_or_own_is_not_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let files = agent();
    let directory = tempfile::tempdir().unwrap();
    let attempt = Try { shell: &["sh"], directory: directory.path(), path: None, files, user: None };
    attempt.start(HERE).await.unwrap().close().await;
    let parent = attempt.agent_file().parent().unwrap().to_owned();
    for (path, mode) in [(attempt.agent_file(), 0o755), (parent.clone(), 0o755)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let message = refusal(&attempt).await;
        assert!(message.contains("others can write") && message.contains(path.to_str().unwrap()), "{message}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: not root; directories of other users are not tried");
        return;
    }
    std::os::unix::fs::chown(&parent, Some(4242), Some(4242)).unwrap();
    let message = refusal(&attempt).await;
    assert!(message.contains("belongs to user 4242"), "{message}");
    let foreign = directory.path().join("foreign");
    fs_err::create_dir_all(&foreign).unwrap();
    std::os::unix::fs::chown(&foreign, Some(4242), Some(4242)).unwrap();
    let below = foreign.join("state");
    let message = refusal(&Try { directory: &below, ..attempt }).await;
    assert!(message.contains("belongs to user 4242"), "{message}");
    assert!(!below.exists(), "nothing is made below a directory of another user");
}

#[tokio::test]
async fn an_architecture_without_an_agent_is_named() {
    let file = agent().local().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let files = AgentFiles::at("riscv64", &file);
    let attempt = Try { shell: &["sh"], directory: directory.path(), path: None, files, user: None };
    let message = refusal(&attempt).await;
    assert!(message.contains(std::env::consts::ARCH) && message.contains("riscv64"), "{message}");
}

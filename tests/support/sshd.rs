//! A real OpenSSH server for tests, on a free port of every 127.x.y.z address: as many hosts as a test wants.
//!
//! The server runs in mount and process namespaces of its own, so that a test may replace /etc/sudoers or mount
//! something noexec without touching the machine, and so that nothing it started outlives it.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// What a test wants of its server.
#[derive(Default)]
pub(crate) struct Options {
    /// Lines of sshd_config, which come first and so win.
    pub(crate) config: String,
    /// Shell lines run as root in the server's namespaces before it starts.
    pub(crate) setup: String,
}

/// A running server. Ends with all its sessions when dropped.
pub(crate) struct Sshd {
    server: Child,
    directory: tempfile::TempDir,
    port: u16,
}

/// Why there can be no server, if so. A test that is skipped says so by its name.
pub(crate) fn missing(test: &str) -> bool {
    let sshd = Path::new("/usr/sbin/sshd").exists();
    let root = std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    let namespaces = Command::new("unshare").args(["--mount", "--pid", "--fork", "true"]).status();
    let namespaces = namespaces.is_ok_and(|status| status.success());
    for (there, what) in [(sshd, "openssh-server"), (root, "root"), (namespaces, "namespaces (unshare)")] {
        if !there {
            eprintln!("SKIPPED {test}: there is no {what} here");
            return true;
        }
    }
    false
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a key pair, without a passphrase unless one is given.
pub(crate) fn make_key(path: &Path, kind: &str, passphrase: &str) {
    run(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f"]).arg(path));
}

impl Sshd {
    /// Starts a server with an ed25519 host key, where root, `ops` and `web` (ordinary users) may log in by [`Sshd::key`].
    pub(crate) fn start(options: &Options) -> Self {
        let directory = tempfile::Builder::new().prefix("sshd-").tempdir().unwrap();
        let here = directory.path();
        // Users other than root must reach their keys and homes.
        std::fs::set_permissions(here, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        make_key(&here.join("host_key"), "ed25519", "");
        make_key(&here.join("key"), "ed25519", "");
        fs_err::copy(here.join("key.pub"), here.join("authorized_keys")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let home = here.join("home");
        let show = here.display();
        fs_err::write(
            here.join("sshd_config"),
            format!(
                "{}\nPort {port}\nListenAddress 0.0.0.0\nHostKey {show}/host_key\nPidFile none\nUsePAM no\nStrictModes no\n\
                 AuthorizedKeysFile {show}/authorized_keys\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
                 PermitRootLogin prohibit-password\nMaxStartups 1000\nMaxSessions 10\nUseDNS no\nLogLevel VERBOSE\n",
                options.config
            ),
        )
        .unwrap();
        // A home of root's own: what this machine's root has in its login files is none of the tests' business.
        let root_home = |line: &str| match line.split(':').collect::<Vec<_>>().as_slice() {
            ["root", password, uid, gid, comment, _, _] => {
                format!("root:{password}:{uid}:{gid}:{comment}:{}/root:/bin/bash\n", here.display())
            }
            _ => format!("{line}\n"),
        };
        let mut passwd: String = fs_err::read_to_string("/etc/passwd").unwrap().lines().map(root_home).collect();
        passwd.push_str(&format!("ops:*:4242:4242::{}:/bin/bash\n", home.display()));
        passwd.push_str(&format!("web:*:4343:4343::{}:/bin/sh\n", here.join("web").display()));
        fs_err::write(here.join("passwd"), passwd).unwrap();
        fs_err::write(
            here.join("setup"),
            format!(
                "set -e\nmount --bind {show}/passwd /etc/passwd\nmkdir -p /run/sshd {home} {show}/root {show}/web\n\
                 chown 4242:4242 {home}\nchown 4343:4343 {show}/web\n\
                 mount -t tmpfs -o mode=755 none /var/lib\n{}\n\
                 exec /usr/sbin/sshd -D -e -f {show}/sshd_config\n",
                options.setup,
                home = home.display(),
            ),
        )
        .unwrap();
        let mut server = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "sh"])
            .arg(here.join("setup"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let up = log.by_ref().map_while(Result::ok).any(|line| {
            let up = line.contains("Server listening");
            said.push(line);
            up
        });
        assert!(up, "sshd did not start: {said:?}");
        let path = here.join("log");
        std::thread::spawn(move || {
            use std::io::Write as _;
            let mut file = fs_err::File::create(path).unwrap();
            for line in log.map_while(Result::ok) {
                writeln!(file, "{line}").unwrap();
            }
        });
        Self { server, directory, port }
    }

    /// The port, on any 127.x.y.z address.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The private key that root and ops may log in with.
    pub(crate) fn key(&self) -> PathBuf {
        self.directory.path().join("key")
    }

    /// A directory of the test's own, beside the server's files.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `ssh-ed25519 AAAA...`, as a known_hosts line ends.
    pub(crate) fn host_key(&self) -> String {
        let text = fs_err::read_to_string(self.directory.path().join("host_key.pub")).unwrap();
        text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// Writes a known_hosts file that names this server's key for every address.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        let path = self.directory.path().join("known_hosts");
        fs_err::write(&path, format!("[127.*]:{} {}\n", self.port, self.host_key())).unwrap();
        path
    }

    /// What the server has logged so far.
    pub(crate) fn log(&self) -> String {
        fs_err::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// A path as the server's namespaces have it, whatever is mounted there.
    pub(crate) fn within(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").unwrap();
        Path::new("/proc").join(self.server.id().to_string()).join("root").join(inside)
    }

    /// Kills the server and every session, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

//! What applies to one host: the inventory's words, then the ssh configuration's, then OpenSSH's defaults.
//!
//! OpenSSH itself reads its configuration (`ssh -G`, rust.md section 3), once a host; not at all where no file says
//! anything that matters here, so that fifty hosts do not cost fifty processes for nothing.

use super::{SshOptions, config_files};
use crate::host::{self, HostError, Stage, Target};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Everything needed to connect to one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostConfig {
    /// The name to look up.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) identities: Vec<Identity>,
    /// Offer no key of the ssh-agent that no identity file names.
    pub(crate) identities_only: bool,
    pub(crate) agent_socket: Option<PathBuf>,
    /// The user's files, then the system's.
    pub(crate) known_hosts: Vec<PathBuf>,
    pub(crate) host_key_alias: Option<String>,
}

/// A private key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) path: PathBuf,
    /// Somebody named it; the default ones need not be there.
    pub(crate) explicit: bool,
}

/// `ssh -G`'s words, or the few of an inventory's options: key in lower case → values in order.
type Words = BTreeMap<String, Vec<String>>;

/// Options of an inventory's `ansible_ssh_common_args` that are understood; others are the ssh program's own business.
const JUMPS: [&str; 2] = ["proxyjump", "proxycommand"];

/// Puts together what applies to a target.
pub(crate) async fn resolve(target: &Target, options: &SshOptions) -> Result<HostConfig, HostError> {
    let mut words = match ask_ssh(target, options).await {
        Some(answer) => answer?,
        None => Words::new(),
    };
    for (key, value) in &target.ssh_options {
        words.insert(key.to_ascii_lowercase(), split(value));
    }
    build(target, options, &words)
}

fn build(target: &Target, options: &SshOptions, words: &Words) -> Result<HostConfig, HostError> {
    let one = |key: &str| words.get(key).and_then(|values| values.first()).filter(|value| *value != "none");
    for key in JUMPS {
        if let Some(value) = one(key) {
            return Err(failed(
                format!("the ssh configuration asks for {key} {value}, which is not built yet"),
                "Run rollgate on a machine that reaches the host directly, or configure the host without it.",
            ));
        }
    }
    let home = host::home().unwrap_or_else(|| PathBuf::from("/"));
    let local_user = host::user().unwrap_or_else(|| "root".to_owned());
    let user = target.user.clone().or_else(|| options.user.clone());
    let user = user.or_else(|| one("user").cloned()).unwrap_or_else(|| local_user.clone());
    let port = match (target.port, one("port")) {
        (Some(port), _) => port,
        (None, Some(text)) => text.parse().map_err(|_| failed(format!("{text} is no port"), "Correct `Port`."))?,
        (None, None) => 22,
    };
    let host = one("hostname").cloned().unwrap_or_else(|| target.address.clone());
    let tokens =
        Tokens { home: &home, host: &host, typed: &target.address, port, user: &user, local_user: &local_user };
    let files = |key: &str, defaults: &[&str]| -> Vec<PathBuf> {
        let defaults = || defaults.iter().map(|&text| text.to_owned()).collect();
        let texts = words.get(key).cloned().unwrap_or_else(defaults);
        texts.iter().filter(|text| *text != "none").map(|text| tokens.path(text)).collect()
    };
    let mut known_hosts = files("userknownhostsfile", &["~/.ssh/known_hosts", "~/.ssh/known_hosts2"]);
    known_hosts.extend(files("globalknownhostsfile", &["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"]));
    let agent_socket = match one("identityagent").map(String::as_str) {
        _ if words.get("identityagent").is_some_and(|values| values == &["none"]) => None,
        None | Some("SSH_AUTH_SOCK") => options.auth_sock.clone(),
        Some(text) => text.strip_prefix('$').map_or_else(
            || Some(tokens.path(text)),
            |variable| std::env::var_os(variable.trim_matches(['{', '}'])).map(PathBuf::from),
        ),
    };
    let identities = identities(target, options, &tokens, files("identityfile", &DEFAULT_IDENTITIES));
    Ok(HostConfig {
        identities,
        identities_only: one("identitiesonly").is_some_and(|value| value == "yes"),
        agent_socket,
        known_hosts: options.known_hosts.clone().unwrap_or(known_hosts),
        host_key_alias: one("hostkeyalias").cloned(),
        host,
        port,
        user,
    })
}

/// OpenSSH's, the commonest first.
const DEFAULT_IDENTITIES: [&str; 6] = [
    "~/.ssh/id_ed25519",
    "~/.ssh/id_ecdsa",
    "~/.ssh/id_rsa",
    "~/.ssh/id_ed25519_sk",
    "~/.ssh/id_ecdsa_sk",
    "~/.ssh/id_dsa",
];

fn identities(target: &Target, options: &SshOptions, tokens: &Tokens<'_>, configured: Vec<PathBuf>) -> Vec<Identity> {
    let mut all: Vec<Identity> = Vec::new();
    let named = target.identity_files.iter().map(|text| tokens.path(text));
    for path in named.chain(options.identity_files.iter().cloned()) {
        all.push(Identity { path, explicit: true });
    }
    let defaults: Vec<PathBuf> = DEFAULT_IDENTITIES.iter().map(|text| tokens.path(text)).collect();
    for path in configured {
        if all.iter().all(|identity| identity.path != path) {
            let explicit = !defaults.contains(&path) && !path.ends_with(".ssh/id_xmss");
            all.push(Identity { path, explicit });
        }
    }
    all
}

/// What `%` tokens and `~` stand for (ssh_config(5), TOKENS). `ssh -G` leaves them in identity files.
struct Tokens<'a> {
    home: &'a Path,
    host: &'a str,
    typed: &'a str,
    port: u16,
    user: &'a str,
    local_user: &'a str,
}

impl Tokens<'_> {
    fn path(&self, text: &str) -> PathBuf {
        let text = self.expand(text);
        match text.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None => PathBuf::from(text),
        }
    }

    fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some('%') => out.push('%'),
                Some('d') => out.push_str(&self.home.to_string_lossy()),
                Some('h') => out.push_str(self.host),
                Some('n' | 'k') => out.push_str(self.typed),
                Some('p') => out.push_str(&self.port.to_string()),
                Some('r') => out.push_str(self.user),
                Some('u') => out.push_str(self.local_user),
                Some('i') => out.push_str(&rustix::process::getuid().as_raw().to_string()),
                Some(other) => out.extend(['%', other]),
                None => out.push('%'),
            }
        }
        out
    }
}

/// Asks the ssh program; none where it is not to be asked, not there, or has nothing to say.
async fn ask_ssh(target: &Target, options: &SshOptions) -> Option<Result<Words, HostError>> {
    if !options.use_ssh_config {
        return None;
    }
    if options.config_file.is_none() {
        let home = host::home().unwrap_or_default();
        let user = home.join(".ssh/config");
        if !config_files::say_something(&[&user, Path::new("/etc/ssh/ssh_config")], &home) {
            return None;
        }
    }
    let mut command = tokio::process::Command::new("ssh");
    command.arg("-G").stdin(std::process::Stdio::null()).kill_on_drop(true);
    if let Some(file) = &options.config_file {
        command.arg("-F").arg(file);
    }
    if let Some(user) = target.user.as_ref().or(options.user.as_ref()) {
        command.args(["-l", user]);
    }
    if let Some(port) = target.port {
        command.args(["-p", &port.to_string()]);
    }
    command.args(["--", &target.address]);
    let output = match tokio::time::timeout(options.connect_timeout, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Ok(Err(error)) => return Some(Err(failed(format!("`ssh -G` cannot be run: {error}"), NO_CONFIG))),
        Err(_) => return Some(Err(failed("`ssh -G` has not ended in time".to_owned(), NO_CONFIG))),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " / ");
        return Some(Err(failed(format!("`ssh -G {}` failed: {said}", target.address), NO_CONFIG)));
    }
    Some(Ok(parse(&String::from_utf8_lossy(&output.stdout))))
}

const NO_CONFIG: &str = "Correct the ssh configuration, or leave it out of account.";

fn parse(text: &str) -> Words {
    let mut words = Words::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(' ') else { continue };
        let values = match key {
            "userknownhostsfile" | "globalknownhostsfile" => split(value),
            _ => vec![value.to_owned()],
        };
        words.entry(key.to_ascii_lowercase()).or_default().extend(values);
    }
    words
}

/// Words separated by white space, in double quotes if they hold any.
fn split(value: &str) -> Vec<String> {
    shlex::split(value).unwrap_or_else(|| vec![value.to_owned()])
}

fn failed(message: String, hint: &str) -> HostError {
    HostError::Unreachable { stage: Stage::Connect, message, hint: Some(hint.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target { name: "web1".into(), address: "web1".into(), ..Target::default() }
    }

    fn options() -> SshOptions {
        SshOptions { use_ssh_config: false, auth_sock: None, ..SshOptions::new("r") }
    }

    #[test]
    fn without_any_configuration_openssh_defaults_apply() {
        let config = build(&target(), &options(), &Words::new()).unwrap();
        assert_eq!((config.host.as_str(), config.port), ("web1", 22));
        assert_eq!(config.known_hosts.len(), 4);
        assert!(config.identities.iter().all(|identity| !identity.explicit));
    }

    #[test]
    fn what_ssh_says_of_a_host_is_understood_and_the_inventory_wins() {
        let words = parse(
            "user deploy\nhostname 10.0.0.7\nport 2222\nidentitiesonly yes\nidentityfile ~/.ssh/%r@%h_%n\n\
             identityfile ~/.ssh/id_rsa\nuserknownhostsfile /a /b\nhostkeyalias web\nproxyjump none\n",
        );
        let config = build(&target(), &options(), &words).unwrap();
        assert_eq!((config.host.as_str(), config.port, config.user.as_str()), ("10.0.0.7", 2222, "deploy"));
        assert!(config.identities[0].path.ends_with(".ssh/deploy@10.0.0.7_web1"), "{:?}", config.identities);
        assert!(config.identities[0].explicit && !config.identities[1].explicit);
        assert!(config.identities_only);
        assert_eq!(config.known_hosts[..2], [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(config.host_key_alias.as_deref(), Some("web"));
        let own = Target { port: Some(22), user: Some("ops".into()), ..target() };
        let config = build(&own, &options(), &words).unwrap();
        assert_eq!((config.port, config.user.as_str()), (22, "ops"));
    }

    #[test]
    fn a_jump_is_refused_by_name_and_never_passed_over() {
        let words = parse("proxyjump bastion.example.org\n");
        let HostError::Unreachable { message, hint, .. } = build(&target(), &options(), &words).unwrap_err() else {
            panic!("it cannot be reached");
        };
        assert!(message.contains("proxyjump bastion.example.org"), "{message}");
        assert!(hint.is_some());
    }

    #[tokio::test]
    async fn options_of_the_inventory_count() {
        let mut target = target();
        target.ssh_options.insert("UserKnownHostsFile".into(), "/x/kh".into());
        let config = resolve(&target, &options()).await.unwrap();
        assert_eq!(config.known_hosts[0], Path::new("/x/kh"));
        target.ssh_options.insert("proxycommand".into(), "nc %h %p".into());
        assert!(resolve(&target, &options()).await.is_err());
    }

    #[tokio::test]
    async fn the_ssh_program_reads_its_own_files() {
        if std::process::Command::new("ssh").arg("-V").output().is_err() {
            eprintln!("SKIPPED: the ssh program is not installed; `ssh -G` is not tested");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config");
        fs_err::write(
            &file,
            "Host web*\n  HostName %h.example.org\n  User deploy\nMatch host *.example.org\n  Port 2200\n",
        )
        .unwrap();
        let options = SshOptions { use_ssh_config: true, config_file: Some(file), ..options() };
        let config = resolve(&target(), &options).await.unwrap();
        assert_eq!((config.host.as_str(), config.port, config.user.as_str()), ("web1.example.org", 2200, "deploy"));
    }
}

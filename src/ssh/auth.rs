//! Who we are: key files, the ssh-agent, certificates. At most five offers, so that no host refuses us for trying.

use super::{
    config::{HostConfig, Identity},
    host_key::Client,
};
use crate::host::{HostError, Stage};
use russh::{
    MethodKind,
    client::{AuthResult, Handle},
    keys::{
        Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey,
        agent::{AgentIdentity, client::AgentClient},
        ssh_key,
    },
};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::net::UnixStream;

/// sshd's MaxAuthTries is 6, and OpenSSH 9.8 punishes whoever fails often (rust.md 2.4).
const OFFERS: usize = 5;

/// A key file, read.
enum KeyFile {
    Key(Arc<PrivateKey>, Option<Box<Certificate>>),
    /// Its private half is encrypted or elsewhere; the public half, if known, finds it in the ssh-agent.
    Locked(Option<PublicKey>),
    Missing,
    Unusable(String),
}

/// Key files, read once for the fleet.
#[derive(Default)]
pub(crate) struct Keyring {
    files: Mutex<HashMap<PathBuf, Arc<KeyFile>>>,
}

impl Keyring {
    fn load(&self, path: &Path) -> Arc<KeyFile> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.entry(path.to_owned()).or_insert_with(|| Arc::new(load(path))).clone()
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn load(path: &Path) -> KeyFile {
    let public = || {
        let text = fs_err::read_to_string(beside(path, ".pub")).ok()?;
        PublicKey::from_openssh(text.trim()).ok()
    };
    let text = match fs_err::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return public().map_or(KeyFile::Missing, |key| KeyFile::Locked(Some(key)));
        }
        Err(error) => return KeyFile::Unusable(error.to_string()),
    };
    // An IdentityFile may be the public half: its key is in the ssh-agent then.
    if let Ok(key) = PublicKey::from_openssh(text.trim()) {
        return KeyFile::Locked(Some(key));
    }
    match russh::keys::decode_secret_key(&text, None) {
        Ok(key) => {
            let certificate = fs_err::read_to_string(beside(path, "-cert.pub")).ok();
            let certificate = certificate.and_then(|text| Certificate::from_openssh(text.trim()).ok()).map(Box::new);
            KeyFile::Key(Arc::new(key), certificate)
        }
        Err(russh::keys::Error::KeyIsEncrypted) => {
            let inside = || PrivateKey::from_openssh(&text).ok().map(|key| key.public_key().clone());
            KeyFile::Locked(public().or_else(inside))
        }
        Err(error) => KeyFile::Unusable(error.to_string()),
    }
}

/// Proves to the host who we are.
pub(crate) async fn authenticate(
    handle: &mut Handle<Client>,
    config: &HostConfig,
    keyring: &Keyring,
) -> Result<(), HostError> {
    let mut attempt =
        Attempt { handle, config, offered: Vec::new(), seen: HashSet::new(), notes: Vec::new(), methods: None };
    let files: Vec<(&Identity, Arc<KeyFile>)> =
        config.identities.iter().map(|identity| (identity, keyring.load(&identity.path))).collect();
    // What somebody named comes first, then the ssh-agent, then the default files.
    for (identity, file) in files.iter().filter(|(identity, _)| identity.explicit) {
        if attempt.file(identity, file).await? {
            return Ok(());
        }
    }
    if attempt.agent(&files).await? {
        return Ok(());
    }
    for (identity, file) in files.iter().filter(|(identity, _)| !identity.explicit) {
        if attempt.file(identity, file).await? {
            return Ok(());
        }
    }
    Err(attempt.refused())
}

struct Attempt<'a> {
    handle: &'a mut Handle<Client>,
    config: &'a HostConfig,
    offered: Vec<String>,
    seen: HashSet<String>,
    notes: Vec<String>,
    /// What the host would take instead, once it has said so.
    methods: Option<Vec<String>>,
}

impl Attempt<'_> {
    /// False when the host takes no further key or five were offered.
    fn may_offer(&self) -> bool {
        self.offered.len() < OFFERS && self.methods.is_none()
    }

    /// Whether a key is worth an offer: each one once.
    fn fresh(&mut self, key: &ssh_key::public::KeyData, certified: bool) -> bool {
        let print = format!("{} {certified}", key.fingerprint(HashAlg::Sha256));
        self.may_offer() && self.seen.insert(print)
    }

    fn offer(&mut self, key: &ssh_key::public::KeyData, whence: &str) {
        self.offered.push(format!("{} ({whence})", key.fingerprint(HashAlg::Sha256)));
    }

    async fn rsa_hash(&self, key: &ssh_key::public::KeyData) -> Option<HashAlg> {
        if !key.is_rsa() {
            return None;
        }
        // Ancient hosts do not say what they take; sha2-256 is what they then most likely do.
        self.handle.best_supported_rsa_hash().await.ok().flatten().unwrap_or(Some(HashAlg::Sha256))
    }

    async fn file(&mut self, identity: &Identity, file: &KeyFile) -> Result<bool, HostError> {
        let path = identity.path.display().to_string();
        match file {
            KeyFile::Key(key, certificate) => {
                let data = key.public_key().key_data().clone();
                if let Some(certificate) = certificate
                    && self.fresh(&data, true)
                {
                    self.offer(&data, &format!("{path}-cert.pub"));
                    let user = self.config.user.clone();
                    let answer =
                        self.handle.authenticate_openssh_cert(user, key.clone(), certificate.as_ref().clone()).await;
                    if self.judge(answer.map_err(|error| error.to_string()))? {
                        return Ok(true);
                    }
                }
                if !self.fresh(&data, false) {
                    return Ok(false);
                }
                self.offer(&data, &path);
                let key = PrivateKeyWithHashAlg::new(key.clone(), self.rsa_hash(&data).await);
                let answer = self.handle.authenticate_publickey(self.config.user.clone(), key).await;
                self.judge(answer.map_err(|error| error.to_string()))
            }
            KeyFile::Locked(_) => {
                self.notes.push(format!("{path} is encrypted and no ssh-agent holds it (ssh-add {path})"));
                Ok(false)
            }
            KeyFile::Missing if identity.explicit => {
                self.notes.push(format!("{path} is not there"));
                Ok(false)
            }
            KeyFile::Missing => Ok(false),
            KeyFile::Unusable(why) => {
                self.notes.push(format!("{path} cannot be used: {why}"));
                Ok(false)
            }
        }
    }

    async fn agent(&mut self, files: &[(&Identity, Arc<KeyFile>)]) -> Result<bool, HostError> {
        let Some(socket) = self.config.agent_socket.clone().filter(|_| self.may_offer()) else { return Ok(false) };
        let mut client = match AgentClient::connect_uds(&socket).await {
            Ok(client) => client,
            Err(error) => {
                self.notes.push(format!("the ssh-agent at {} does not answer: {error}", socket.display()));
                return Ok(false);
            }
        };
        let held = match client.request_identities().await {
            Ok(held) => held,
            Err(error) => {
                self.notes.push(format!("the ssh-agent does not list its keys: {error}"));
                return Ok(false);
            }
        };
        // Keys that an identity file names come first; with IdentitiesOnly no others are offered.
        let named = |held: &AgentIdentity| {
            let data = held.public_key().key_data().clone();
            files.iter().any(|(_, file)| match file.as_ref() {
                KeyFile::Key(key, _) => *key.public_key().key_data() == data,
                KeyFile::Locked(Some(key)) => *key.key_data() == data,
                _ => false,
            })
        };
        let (mut first, others): (Vec<_>, Vec<_>) = held.into_iter().partition(named);
        if !self.config.identities_only {
            first.extend(others);
        }
        for held in first {
            if self.held(&held, &mut client).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn held(&mut self, held: &AgentIdentity, client: &mut AgentClient<UnixStream>) -> Result<bool, HostError> {
        let data = held.public_key().key_data().clone();
        if !self.fresh(&data, matches!(held, AgentIdentity::Certificate { .. })) {
            return Ok(false);
        }
        self.offer(&data, &format!("ssh-agent: {}", held.comment()));
        let (user, hash) = (self.config.user.clone(), self.rsa_hash(&data).await);
        let answer = match held {
            AgentIdentity::PublicKey { key, .. } => {
                self.handle.authenticate_publickey_with(user, key.clone(), hash, client).await
            }
            AgentIdentity::Certificate { certificate, .. } => {
                self.handle.authenticate_certificate_with(user, certificate.clone(), hash, client).await
            }
        };
        self.judge(answer.map_err(|error| error.to_string()))
    }

    fn judge(&mut self, answer: Result<AuthResult, String>) -> Result<bool, HostError> {
        match answer {
            Ok(AuthResult::Success) => Ok(true),
            Ok(AuthResult::Failure { partial_success: true, remaining_methods }) => Err(self.error(
                format!("took the key and wants {} besides, which is not built yet", methods(&remaining_methods)),
                Some("Let the host take a public key alone for this user.".to_owned()),
            )),
            Ok(AuthResult::Failure { remaining_methods, .. }) => {
                if !remaining_methods.contains(&MethodKind::PublicKey) {
                    self.methods = Some(remaining_methods.iter().map(String::from).collect());
                }
                if self.handle.is_closed() {
                    return Err(self.refused());
                }
                Ok(false)
            }
            Err(_) if self.handle.is_closed() => Err(self.refused()),
            Err(error) => {
                self.notes.push(error);
                Ok(false)
            }
        }
    }

    fn refused(&self) -> HostError {
        let mut message = match self.offered.as_slice() {
            [] => "cannot be tried: there is no key to offer".to_owned(),
            offered => format!("took none of the keys offered: {}", offered.join(", ")),
        };
        if let Some(methods) = &self.methods {
            message.push_str(&format!("; it would take {}", methods.join(", ")));
        }
        for note in &self.notes {
            message.push_str(&format!("; {note}"));
        }
        let hint = format!(
            "Put a public key into {}'s ~/.ssh/authorized_keys on the host, or name another key with \
                            --private-key.",
            self.config.user
        );
        self.error(message, Some(hint))
    }

    fn error(&self, message: String, hint: Option<String>) -> HostError {
        let HostConfig { user, host, port, .. } = self.config;
        let message = format!("{user}@{host}:{port} {message}");
        HostError::Unreachable { stage: Stage::Authenticate, message, hint }
    }
}

fn methods(set: &russh::MethodSet) -> String {
    set.iter().map(String::from).collect::<Vec<_>>().join(", ")
}

//! Judges the key that a host shows. No mode accepts a changed key (S6).

use super::{
    KeyNotice,
    config::HostConfig,
    known_hosts::{self, HostKey, HostName, KnownHosts, KnownHostsFile, Place, Verdict},
};
use crate::host::{HostError, Stage};
use russh::{
    client::Handler,
    keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey, PublicKeyBase64 as _, PublicKeyOrCertificate},
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// A file's time and size; none where there is no file.
type Stamp = Option<(SystemTime, u64)>;

/// known_hosts files, read once for the fleet and again when they have changed.
#[derive(Default)]
pub(crate) struct KnownHostsCache {
    files: Mutex<HashMap<PathBuf, (Stamp, Arc<KnownHostsFile>)>>,
}

impl KnownHostsCache {
    fn read(&self, paths: &[PathBuf]) -> Result<KnownHosts, HostError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for path in paths {
            let stamp = fs_err::metadata(path).ok().and_then(|meta| Some((meta.modified().ok()?, meta.len())));
            let file = match files.get(path) {
                Some((at, file)) if *at == stamp => file.clone(),
                _ => {
                    let read = KnownHostsFile::read(path)
                        .map_err(|error| refused(format!("the known hosts cannot be read: {error}"), String::new()))?;
                    let file = Arc::new(read);
                    files.insert(path.clone(), (stamp, file.clone()));
                    file
                }
            };
            found.push(file);
        }
        Ok(KnownHosts::new(found))
    }

    /// Adds a key, unless another connection has added it meanwhile. One at a time: appends do not mix.
    fn accept(&self, path: &Path, host: &HostName, key: &HostKey) -> std::io::Result<()> {
        let _one = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let now = KnownHosts::new(vec![Arc::new(KnownHostsFile::read(path)?)]);
        match now.check(host, key) {
            Verdict::Known => Ok(()),
            _ => known_hosts::append(path, host, key),
        }
    }
}

/// What is needed to judge one host's key.
pub(crate) struct HostKeyCheck {
    /// The inventory's name.
    name: String,
    host: HostName,
    files: Vec<PathBuf>,
    known: KnownHosts,
    cache: Arc<KnownHostsCache>,
    accept_new: bool,
    on_new_key: Option<KeyNotice>,
}

impl HostKeyCheck {
    pub(crate) fn new(
        name: &str,
        config: &HostConfig,
        cache: Arc<KnownHostsCache>,
        accept_new: bool,
        on_new_key: Option<KeyNotice>,
    ) -> Result<Self, HostError> {
        let host = match &config.host_key_alias {
            Some(alias) => HostName::alias(alias),
            None => HostName::new(&config.host, config.port),
        };
        let known = cache.read(&config.known_hosts)?;
        Ok(Self {
            name: name.to_owned(),
            host,
            files: config.known_hosts.clone(),
            known,
            cache,
            accept_new,
            on_new_key,
        })
    }

    /// russh's algorithms with the types known for this host first: else a host known by its RSA key alone would show
    /// another one.
    pub(crate) fn preferred(&self) -> Vec<Algorithm> {
        let all = [
            Algorithm::Ed25519,
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
            Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
            Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
        ];
        let types = self.known.key_types(&self.host);
        let known = |algorithm: &Algorithm| {
            let rsa = matches!(algorithm, Algorithm::Rsa { .. });
            types.iter().any(|name| *name == algorithm.as_str() || (rsa && name == "ssh-rsa"))
        };
        let (mut first, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(known);
        first.extend(rest);
        first
    }

    fn judge(&self, key: &HostKey) -> Result<(), HostError> {
        let (shown, name) = (format!("{} {}", key.key_type, key.fingerprint()), &self.name);
        match self.known.check(&self.host, key) {
            Verdict::Known => Ok(()),
            Verdict::Revoked(place) => Err(refused(
                format!("{name} shows {shown}, which {place} revokes"),
                "The key must not be trusted: find out why the host still uses it.".to_owned(),
            )),
            Verdict::Changed { place, known } => Err(self.changed(&shown, &place, &known)),
            Verdict::Unknown { .. } if self.accept_new => self.accept(key, &shown),
            Verdict::Unknown { authority } => Err(self.unknown(&shown, authority.as_ref())),
        }
    }

    fn changed(&self, shown: &str, place: &Place, known: &HostKey) -> HostError {
        let (file, host, name) = (place.file.display(), self.host.text(), &self.name);
        refused(
            format!(
                "the key of {name} has changed: {place} has {} {}, it shows {shown}",
                known.key_type,
                known.fingerprint()
            ),
            format!(
                "Somebody may stand between you and the host. Only if its new key is right: ssh-keygen -f {file} -R \
                 '{host}', then run again with --accept-new-host-keys."
            ),
        )
    }

    fn unknown(&self, shown: &str, authority: Option<&Place>) -> HostError {
        let files: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        let host = self.host.text();
        let mut message = format!("the key of {} is not known: it shows {shown}; no line for {host} in ", self.name);
        message.push_str(&files.join(", "));
        if let Some(place) = authority {
            message.push_str(&format!("; {place} trusts an authority for it, but host certificates are not built yet"));
        }
        refused(
            message,
            "Compare the fingerprint with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then run \
             again with --accept-new-host-keys."
                .to_owned(),
        )
    }

    fn accept(&self, key: &HostKey, shown: &str) -> Result<(), HostError> {
        let Some(file) = self.files.first() else {
            return Err(refused("no known_hosts file is configured to add the key to".to_owned(), String::new()));
        };
        self.cache
            .accept(file, &self.host, key)
            .map_err(|error| refused(format!("the new host key cannot be recorded: {error}"), String::new()))?;
        if let Some(notice) = &self.on_new_key {
            notice(&self.name, &format!("Accepted the new host key {shown}, added to {}.", file.display()));
        }
        Ok(())
    }
}

fn refused(message: String, hint: String) -> HostError {
    HostError::Unreachable { stage: Stage::HostKey, message, hint: (!hint.is_empty()).then_some(hint) }
}

/// The callbacks of one session. Says no with the reason left where the one who connects finds it.
pub(crate) struct Client {
    pub(crate) check: HostKeyCheck,
    pub(crate) refusal: Arc<Mutex<Option<HostError>>>,
}

impl Client {
    fn refuse(&self, why: HostError) -> bool {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        false
    }
}

fn host_key(key: &PublicKey) -> HostKey {
    HostKey { key_type: key.algorithm().as_str().to_owned(), blob: key.public_key_bytes() }
}

impl Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let judged = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => self.check.judge(&host_key(key)),
            PublicKeyOrCertificate::Certificate(_) => Err(refused(
                "the host shows a certificate, and host certificates are not built yet".to_owned(),
                String::new(),
            )),
        };
        Ok(judged.map_or_else(|why| self.refuse(why), |()| true))
    }
}

//! known_hosts files, as sshd(8) describes them: patterns, hashed names, `[host]:port`, `@cert-authority`, `@revoked`.
//!
//! This module knows bytes and names only; what to do about a verdict is `host_key`'s.

use super::pattern;
use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The port that needs no mention.
const DEFAULT_PORT: u16 = 22;

/// A host as known_hosts files name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostName {
    name: String,
    port: Option<u16>,
}

impl HostName {
    /// The host that a connection goes to.
    pub(crate) fn new(host: &str, port: u16) -> Self {
        Self { name: host.to_ascii_lowercase(), port: (port != DEFAULT_PORT).then_some(port) }
    }

    /// `HostKeyAlias`: stands for itself, whatever the port.
    pub(crate) fn alias(alias: &str) -> Self {
        Self { name: alias.to_ascii_lowercase(), port: None }
    }

    /// The name with its port, as files write it and `ssh-keygen -R` takes it.
    pub(crate) fn text(&self) -> String {
        self.port.map_or_else(|| self.name.clone(), |port| format!("[{}]:{port}", self.name))
    }
}

/// A host key as it travels: its type and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostKey {
    pub(crate) key_type: String,
    pub(crate) blob: Vec<u8>,
}

impl HostKey {
    /// `SHA256:...`, as `ssh-keygen -l` prints it.
    pub(crate) fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    None,
    CertAuthority,
    Revoked,
}

#[derive(Debug, Clone)]
enum Names {
    Patterns(String),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

impl Names {
    fn parse(text: &str) -> Option<Self> {
        let Some(hashed) = text.strip_prefix("|1|") else {
            return (!text.starts_with('|')).then(|| Self::Patterns(text.to_owned()));
        };
        let (salt, hash) = hashed.split_once('|')?;
        Some(Self::Hashed { salt: STANDARD.decode(salt).ok()?, hash: STANDARD.decode(hash).ok()? })
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Patterns(list) => pattern::matches_list(list, host),
            Self::Hashed { salt, hash } => Hmac::<Sha1>::new_from_slice(salt)
                .is_ok_and(|hmac| hmac.chain_update(host.as_bytes()).verify_slice(hash).is_ok()),
        }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    line: usize,
    marker: Marker,
    names: Names,
    key: HostKey,
}

/// One file, read once.
#[derive(Debug)]
pub(crate) struct KnownHostsFile {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl KnownHostsFile {
    /// Reads a file; one that is not there is empty, as for ssh. Lines that are no entries are passed over, as by ssh.
    pub(crate) fn read(path: &Path) -> std::io::Result<Self> {
        let text = match fs_err::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        Ok(Self::parse(path, &text))
    }

    fn parse(path: &Path, text: &str) -> Self {
        let entries = text.lines().enumerate().filter_map(|(index, line)| parse_line(index + 1, line)).collect();
        Self { path: path.to_owned(), entries }
    }

    fn place(&self, entry: &Entry) -> Place {
        Place { file: self.path.clone(), line: entry.line }
    }
}

fn parse_line(number: usize, line: &str) -> Option<Entry> {
    let mut words = line.split([' ', '\t', '\r']).filter(|word| !word.is_empty());
    let mut first = words.next()?;
    if first.starts_with('#') {
        return None;
    }
    let marker = match first {
        "@cert-authority" => Marker::CertAuthority,
        "@revoked" => Marker::Revoked,
        _ if first.starts_with('@') => return None,
        _ => Marker::None,
    };
    if marker != Marker::None {
        first = words.next()?;
    }
    let names = Names::parse(first)?;
    let key_type = words.next()?.to_owned();
    let blob = STANDARD.decode(words.next()?).ok()?;
    // The type stands in the blob too (RFC 4253, 6.6); a line whose two types differ is no key.
    let length = usize::try_from(u32::from_be_bytes(blob.get(..4)?.try_into().ok()?)).ok()?;
    if blob.get(4..4 + length)? != key_type.as_bytes() {
        return None;
    }
    Some(Entry { line: number, marker, names, key: HostKey { key_type, blob } })
}

/// What the files say of a host's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A line has exactly this key.
    Known,
    /// A `@revoked` line has it.
    Revoked(Place),
    /// Lines name this host, none with this key; the first of them.
    Changed { place: Place, known: HostKey },
    /// No line names this host.
    Unknown {
        /// The line that trusts an authority for this host instead.
        authority: Option<Place>,
    },
}

/// Several files as one, in order: the user's before the system's.
#[derive(Debug, Clone)]
pub(crate) struct KnownHosts {
    files: Vec<Arc<KnownHostsFile>>,
}

impl KnownHosts {
    pub(crate) fn new(files: Vec<Arc<KnownHostsFile>>) -> Self {
        Self { files }
    }

    fn matching<'a>(&'a self, host: &'a str) -> impl Iterator<Item = (&'a KnownHostsFile, &'a Entry)> {
        self.files
            .iter()
            .flat_map(|file| file.entries.iter().map(move |entry| (file.as_ref(), entry)))
            .filter(move |(_, entry)| entry.names.matches(host))
    }

    /// What the files say of this key for this host. A host on another port that no line names with its port is known
    /// by a line without one that has exactly its key, as for ssh.
    pub(crate) fn check(&self, host: &HostName, key: &HostKey) -> Verdict {
        let verdict = self.check_text(&host.text(), key);
        if host.port.is_some() && matches!(verdict, Verdict::Unknown { .. }) {
            match self.check_text(&host.name, key) {
                found @ (Verdict::Known | Verdict::Revoked(_)) => return found,
                Verdict::Changed { .. } | Verdict::Unknown { .. } => {}
            }
        }
        verdict
    }

    fn check_text(&self, host: &str, key: &HostKey) -> Verdict {
        let mut known = false;
        let mut other: Option<(Place, HostKey)> = None;
        let mut authority = None;
        for (file, entry) in self.matching(host) {
            match entry.marker {
                Marker::Revoked if entry.key.blob == key.blob => return Verdict::Revoked(file.place(entry)),
                Marker::Revoked => {}
                Marker::CertAuthority => authority = authority.or_else(|| Some(file.place(entry))),
                Marker::None if entry.key.blob == key.blob => known = true,
                // A line with the same type says more than the first one does.
                Marker::None => match &other {
                    Some((_, have)) if have.key_type == key.key_type || entry.key.key_type != key.key_type => {}
                    _ => other = Some((file.place(entry), entry.key.clone())),
                },
            }
        }
        match other {
            _ if known => Verdict::Known,
            Some((place, known)) => Verdict::Changed { place, known },
            None => Verdict::Unknown { authority },
        }
    }

    /// The key types known for a host, in the order of the lines: what to ask the host for first.
    pub(crate) fn key_types(&self, host: &HostName) -> Vec<String> {
        let mut types: Vec<String> = Vec::new();
        let bare = host.port.map(|_| host.name.clone());
        for text in std::iter::once(host.text()).chain(bare) {
            for (_, entry) in self.matching(&text) {
                if entry.marker == Marker::None && !types.contains(&entry.key.key_type) {
                    types.push(entry.key.key_type.clone());
                }
            }
            if !types.is_empty() {
                break;
            }
        }
        types
    }
}

/// Adds a line for a key that was unknown. On disk when it returns; the file is 0600, its directory 0700, if new.
pub(crate) fn append(path: &Path, host: &HostName, key: &HostKey) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let existing = match fs_err::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut line = String::new();
    if existing.last().is_some_and(|byte| *byte != b'\n') {
        line.push('\n');
    }
    line.push_str(&format!("{} {} {}\n", host.text(), key.key_type, STANDARD.encode(&key.blob)));
    let mut file =
        fs_err::OpenOptions::from_options(std::fs::OpenOptions::new().create(true).append(true).mode(0o600).clone())
            .open(path)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    if existing.is_empty()
        && let Some(directory) = path.parent()
    {
        fs_err::OpenOptions::new().read(true).open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "known_hosts_tests.rs"]
mod tests;

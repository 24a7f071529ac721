//! The agents that this controller can push: one file an architecture, found beside the controller.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// Names the agent file for every architecture, instead of looking beside the controller.
pub const AGENT_VARIABLE: &str = "ROLLGATE_AGENT";

const FILE_NAME: &str = "rollgate-agent";

/// The agent files there are. Cheap to clone; files are read when a host first asks.
#[derive(Debug, Clone)]
pub struct AgentFiles {
    files: Arc<[(String, PathBuf)]>,
    read: Arc<OnceLock<Result<Vec<Arc<AgentFile>>, String>>>,
}

impl AgentFiles {
    /// The file that `ROLLGATE_AGENT` names; else `rollgate-agent` beside the running controller, for its own
    /// architecture, and `../libexec/rollgate/<arch>/rollgate-agent` for any.
    pub fn find() -> Self {
        if let Some(path) = std::env::var_os(AGENT_VARIABLE) {
            return Self::at(std::env::consts::ARCH, Path::new(&path));
        }
        let mut files = Vec::new();
        if let Some(directory) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
            files.push((std::env::consts::ARCH.to_owned(), directory.join(FILE_NAME)));
            let libexec = directory.join("../libexec/rollgate");
            for entry in fs_err::read_dir(libexec).into_iter().flatten().flatten() {
                if let Ok(arch) = entry.file_name().into_string() {
                    files.push((arch, entry.path().join(FILE_NAME)));
                }
            }
        }
        Self::of(files)
    }

    /// One file, for hosts of one architecture (as `uname -m` names it).
    pub fn at(arch: &str, path: &Path) -> Self {
        Self::of(vec![(arch.to_owned(), path.to_owned())])
    }

    fn of(files: Vec<(String, PathBuf)>) -> Self {
        Self { files: files.into(), read: Arc::default() }
    }

    /// The agent of this machine.
    pub(crate) fn local(&self) -> Result<PathBuf, String> {
        let own = self.files.iter().find(|(arch, path)| arch == std::env::consts::ARCH && path.is_file());
        own.map(|(_, path)| path.clone()).ok_or_else(|| self.missing())
    }

    /// All agents, if they have been read already.
    pub(crate) fn ready(&self) -> Option<Result<&[Arc<AgentFile>], String>> {
        self.read.get().map(|read| read.as_deref().map_err(Clone::clone))
    }

    /// All agents, read and hashed once a process. Blocking.
    pub(crate) fn all(&self) -> Result<&[Arc<AgentFile>], String> {
        let read = self.read.get_or_init(|| {
            let mut agents: Vec<Arc<AgentFile>> = Vec::new();
            for (arch, path) in self.files.iter().filter(|(_, path)| path.is_file()) {
                if agents.iter().all(|agent| agent.arch != *arch) {
                    let bytes = fs_err::read(path).map_err(|error| error.to_string())?;
                    agents.push(Arc::new(AgentFile::new(arch.clone(), bytes)));
                }
            }
            if agents.is_empty() { Err(self.missing()) } else { Ok(agents) }
        });
        read.as_deref().map_err(Clone::clone)
    }

    fn missing(&self) -> String {
        let places: Vec<String> = self.files.iter().map(|(_, path)| path.display().to_string()).collect();
        format!("no agent to push: no file at {}", places.join(", "))
    }
}

/// One agent.
#[derive(Debug)]
pub(crate) struct AgentFile {
    /// As `uname -m` names it.
    pub(crate) arch: String,
    /// Of the file, lower-case hexadecimal.
    pub(crate) sha256: String,
    pub(crate) bytes: Bytes,
    gzip: OnceLock<Bytes>,
}

impl AgentFile {
    fn new(arch: String, bytes: Vec<u8>) -> Self {
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { arch, sha256, bytes: bytes.into(), gzip: OnceLock::new() }
    }

    /// The file compressed, once a process. Blocking.
    pub(crate) fn gzip(&self) -> Bytes {
        let packed = self.gzip.get_or_init(|| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            // Writing into memory does not fail; were it to, an empty upload is refused on the host by its digest.
            if encoder.write_all(&self.bytes).is_err() {
                return Bytes::new();
            }
            encoder.finish().unwrap_or_default().into()
        });
        packed.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_is_not_there_is_named() {
        let error = AgentFiles::at("x86_64", Path::new("/nowhere/rollgate-agent")).all().unwrap_err();
        assert!(error.contains("/nowhere/rollgate-agent"), "{error}");
    }

    #[test]
    fn an_agent_is_known_by_its_digest_and_compresses() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        fs_err::write(&path, vec![b'x'; 100_000]).unwrap();
        let files = AgentFiles::at("x86_64", &path);
        let agent = files.all().unwrap()[0].clone();
        assert_eq!(agent.sha256.len(), 64);
        assert!(agent.gzip().len() < 1000);
        let mut back = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(&*agent.gzip()), &mut back).unwrap();
        assert_eq!(back, agent.bytes);
    }
}

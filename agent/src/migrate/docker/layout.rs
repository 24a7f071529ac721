//! Which part of a data root is whose under a remap (docker-userns design, section 2): what is the container's is shifted,
//! what leads to it is for the remapped group to pass, and everything else stays root's.

use super::container::Container;
use crate::migrate::MigrateError;
use crate::migrate::beneath::{Base, names};
use rustix::fs::{AtFlags, FileType, statat};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What goes into the remapped root. The rest (builder cache, run-time state) stays where it is, unused, and is found again
/// on the way back.
pub const MOVED: [&str; 9] =
    ["containers", "engine-id", "image", "network", "overlay2", "plugins", "swarm", "trust", "volumes"];

/// Files of a container that its processes own.
const OWNED: [&str; 3] = ["hostname", "hosts", "resolv.conf"];

/// Device nodes that the engine makes again.
pub(super) const NODES: [&str; 2] = ["overlay2/backingFsBlockDev", "volumes/backingFsBlockDev"];

/// A data root, by ownership; all paths are below it.
#[derive(Debug, Default)]
pub struct Layout {
    /// What is to be shifted, with everything in it.
    pub trees: Vec<PathBuf>,
    /// Directories that the remapped group passes, and root owns.
    pub passed: Vec<PathBuf>,
    /// The containers.
    pub containers: Vec<Container>,
    /// Names of local volumes.
    pub volumes: BTreeSet<String>,
}

impl Layout {
    /// Reads a data root. Volumes of `left` are not shifted.
    ///
    /// # Errors
    /// [`MigrateError`].
    pub fn read(base: &Base, left: &BTreeSet<String>) -> Result<Self, MigrateError> {
        let mut layout = Self::default();
        layout.read_containers(base)?;
        layout.read_layers(base)?;
        layout.read_volumes(base, left)?;
        Ok(layout)
    }

    fn read_containers(&mut self, base: &Base) -> Result<(), MigrateError> {
        let all = Path::new("containers");
        self.pass(base, all)?;
        for id in directories(base, all)? {
            let directory = all.join(&id);
            self.passed.push(directory.clone());
            for name in OWNED {
                self.tree(base, directory.join(name))?;
            }
            let mounts = directory.join("mounts");
            self.pass(base, &mounts)?;
            for name in names(base, &mounts)? {
                self.trees.push(mounts.join(name));
            }
            let id = id.to_string_lossy();
            let text = |name: &str| read_text(&base.full(&directory.join(name)));
            let (config, host) = (text("config.v2.json")?, text("hostconfig.json")?);
            // The engine forgets a container without these files when it starts.
            let (Some(config), Some(host)) = (config, host) else { continue };
            let container = Container::read(&id, &config, &host)
                .map_err(|what| MigrateError::Refused(format!("{}: {what}", base.full(&directory).display())))?;
            self.containers.push(container);
        }
        Ok(())
    }

    fn read_layers(&mut self, base: &Base) -> Result<(), MigrateError> {
        let all = Path::new("overlay2");
        self.pass(base, all)?;
        for id in directories(base, all)? {
            if id == "l" {
                continue;
            }
            let directory = all.join(id);
            for name in ["diff", "work", "merged"] {
                self.tree(base, directory.join(name))?;
            }
            self.passed.push(directory);
        }
        Ok(())
    }

    fn read_volumes(&mut self, base: &Base, left: &BTreeSet<String>) -> Result<(), MigrateError> {
        let all = Path::new("volumes");
        for name in directories(base, all)? {
            let text = name.to_string_lossy().into_owned();
            if !left.contains(&text) {
                self.tree(base, all.join(&name).join("_data"))?;
            }
            self.volumes.insert(text);
        }
        Ok(())
    }

    fn tree(&mut self, base: &Base, path: PathBuf) -> Result<(), MigrateError> {
        if kind(base, &path)?.is_some() {
            self.trees.push(path);
        }
        Ok(())
    }

    fn pass(&mut self, base: &Base, path: &Path) -> Result<(), MigrateError> {
        if kind(base, path)? == Some(FileType::Directory) {
            self.passed.push(path.to_owned());
        }
        Ok(())
    }
}

/// What is at a path whose directory may be missing.
pub(super) fn kind(base: &Base, path: &Path) -> Result<Option<FileType>, MigrateError> {
    let (below, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or(OsStr::new(".")));
    let dir = match base.dir(below) {
        Ok(dir) => dir,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(MigrateError::system("look at", base.full(path), error)),
    }
}

/// The directories in a directory; none where there is no such directory.
fn directories(base: &Base, below: &Path) -> Result<Vec<OsString>, MigrateError> {
    let mut found = Vec::new();
    for name in names(base, below)? {
        if kind(base, &below.join(&name))? == Some(FileType::Directory) {
            found.push(name);
        }
    }
    Ok(found)
}

/// A file's text; none where there is no file.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, MigrateError> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(MigrateError::Refused(error.to_string())),
    }
}

//! What a remap would do to each container and volume of a data root, before anything is done: what goes along, what stays
//! as it is, and what forbids it.

use super::container::{Container, is_bound};
use super::layout::{Layout, MOVED, kind, read_text};
use crate::migrate::MigrateError;
use crate::migrate::beneath::Base;
use crate::migrate::ids::Mapping;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How data comes into the remapped root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// It is shifted where it is and renamed. No room is needed, and nothing is left behind.
    #[default]
    Move,
    /// Files of the original and of the copy share their bytes until one is written to (XFS, btrfs).
    Reflink,
    /// Everything is there twice.
    Copy,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The engine's data root without a remap.
    pub root: PathBuf,
    /// The ranges.
    pub mapping: Mapping,
    /// How.
    pub strategy: Strategy,
    /// Containers, by name or id, that are to run with the host's user namespace.
    pub host: BTreeSet<String>,
    /// Volumes that are not to be shifted, whoever uses them.
    pub leave: BTreeSet<String>,
    /// Volumes that are to be shifted, whoever uses them.
    pub shift: BTreeSet<String>,
    /// The engine's units, in the order in which they are stopped before everything is taken back.
    pub units: Vec<String>,
}

/// A container that is made to run with the host's user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMode {
    /// Its id.
    pub container: String,
    /// Its `UsernsMode` before.
    pub was: String,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    /// The data root.
    pub layout: Layout,
    /// Containers whose mode is to be changed.
    pub host: Vec<HostMode>,
    /// Volumes that are not shifted.
    pub left: BTreeSet<String>,
    /// What forbids it, a sentence each.
    pub refused: Vec<String>,
    /// What is to be known, a sentence each.
    pub notes: Vec<String>,
}

/// The name of the remapped root in the data root.
#[must_use]
pub fn remapped(mapping: &Mapping) -> PathBuf {
    PathBuf::from(format!("{}.{}", mapping.uid.start(), mapping.gid.start()))
}

impl Survey {
    /// Looks at a data root that is not remapped.
    ///
    /// # Errors
    /// [`MigrateError`] if it cannot be looked at; what forbids a migration is in the survey.
    pub fn of(base: &Base, wanted: &Wanted) -> Result<Self, MigrateError> {
        let whole = Layout::read(base, &BTreeSet::new())?;
        let mut survey = Self::default();
        survey.judge_root(base, &remapped(&wanted.mapping))?;
        let host = survey.judge_containers(&whole.containers, wanted);
        survey.judge_volumes(base, &whole, &host, wanted)?;
        survey.judge_binds(base.path(), &whole.containers);
        if wanted.strategy != Strategy::Move {
            survey.notes.push(
                "project ids, by which `overlay2.size` and a volume's `size` are limited, are not copied".to_owned(),
            );
        }
        survey.layout = Layout::read(base, &survey.left)?;
        Ok(survey)
    }

    /// Refuses, with everything that forbids it.
    ///
    /// # Errors
    /// [`MigrateError::Refused`].
    pub fn admit(&self) -> Result<(), MigrateError> {
        if self.refused.is_empty() { Ok(()) } else { Err(MigrateError::Refused(self.refused.join("; "))) }
    }

    fn judge_root(&mut self, base: &Base, remapped: &Path) -> Result<(), MigrateError> {
        let mut there = Vec::new();
        for name in MOVED {
            if kind(base, &remapped.join(name))?.is_some() {
                there.push(name);
            }
        }
        if !there.is_empty() {
            self.refused.push(format!(
                "{} has data of an engine that has run remapped on this host ({}), and it is in the way",
                base.full(remapped).display(),
                there.join(", ")
            ));
        }
        Ok(())
    }

    /// The ids of those that will run with the host's user namespace.
    fn judge_containers(&mut self, all: &[Container], wanted: &Wanted) -> BTreeSet<String> {
        let named = |container: &Container| wanted.host.iter().any(|name| container.is(name));
        for name in wanted.host.iter().filter(|name| !all.iter().any(|container| container.is(name))) {
            self.refused.push(format!("there is no container {name:?} that could run with the host's user namespace"));
        }
        let host: BTreeSet<String> =
            all.iter().filter(|one| one.host || named(one)).map(|one| one.id.clone()).collect();
        for container in all {
            let called = container.called();
            if container.driver != "overlay2" {
                self.refused.push(format!(
                    "container {called} is of the storage driver {:?}; only data of overlay2 can be migrated",
                    container.driver
                ));
            }
            if host.contains(&container.id) {
                if !container.host {
                    self.host.push(HostMode { container: container.id.clone(), was: String::new() });
                }
                continue;
            }
            if !container.needs_host.is_empty() {
                self.refused.push(format!(
                    "container {called} has {}, which a remapped engine does not start: let it run with the host's user \
                     namespace, or remove it",
                    container.needs_host.join(" and ")
                ));
            }
            let joined = |id: &&String| host.iter().any(|host| host == *id);
            for other in container.joins.iter().filter(joined) {
                let other = all.iter().find(|one| one.id == *other).map_or_else(|| other.clone(), Container::called);
                self.refused.push(format!(
                    "container {called} joins a namespace of {other}, which runs with the host's user namespace: it has \
                     to run with that as well"
                ));
            }
        }
        host
    }

    fn judge_volumes(
        &mut self,
        base: &Base,
        layout: &Layout,
        host: &BTreeSet<String>,
        wanted: &Wanted,
    ) -> Result<(), MigrateError> {
        let mut users: BTreeMap<&str, Vec<&Container>> = BTreeMap::new();
        for container in &layout.containers {
            for volume in &container.volumes {
                users.entry(volume.as_str()).or_default().push(container);
            }
        }
        for volume in wanted.leave.iter().chain(&wanted.shift).filter(|name| !layout.volumes.contains(*name)) {
            self.refused.push(format!("there is no volume {volume:?}"));
        }
        for volume in &layout.volumes {
            let (of_host, others): (Vec<&Container>, Vec<&Container>) =
                users.remove(volume.as_str()).unwrap_or_default().into_iter().partition(|user| host.contains(&user.id));
            if wanted.leave.contains(volume) {
                self.left.insert(volume.clone());
            } else if wanted.shift.contains(volume) || of_host.is_empty() {
                // Shifted.
            } else if others.is_empty() {
                self.left.insert(volume.clone());
            } else {
                self.refused.push(format!(
                    "volume {volume} is used by {} with the host's user namespace and by {} without: say whether it is \
                     shifted or left",
                    called(&of_host),
                    called(&others)
                ));
            }
            let options = base.full(&Path::new("volumes").join(volume).join("opts.json"));
            if read_text(&options)?.is_some_and(|text| is_bound(&text)) {
                self.notes.push(format!(
                    "volume {volume} is a bind of a directory of the host, whose files keep their owners: see {}",
                    options.display()
                ));
            }
        }
        Ok(())
    }

    fn judge_binds(&mut self, root: &Path, all: &[Container]) {
        for container in all {
            for bind in &container.binds {
                let called = container.called();
                let path = bind.display();
                if MOVED.iter().any(|name| bind.starts_with(root.join(name))) {
                    self.refused.push(format!(
                        "container {called} binds {path}, which will be elsewhere: make it again with the volume itself, \
                         or remove it"
                    ));
                } else if root.starts_with(bind) {
                    self.notes.push(format!(
                        "container {called} binds {path}, where the engine's data will be one directory deeper"
                    ));
                }
            }
        }
    }
}

fn called(containers: &[&Container]) -> String {
    containers.iter().map(|container| container.called()).collect::<Vec<_>>().join(", ")
}

//! `group_vars` and `host_vars` beside an inventory or a playbook.

use super::values::VarMap;
use crate::{
    config::{Diagnostic, Diagnostics, load_yaml},
    playbook::Template,
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Variables of groups and hosts that lie beside an inventory source or the playbook.
#[derive(Debug, Clone, Default)]
pub(super) struct Beside {
    groups: HashMap<String, Vec<Arc<VarMap>>>,
    hosts: HashMap<String, Vec<Arc<VarMap>>>,
}

/// Names that editors and systems leave behind.
fn left_behind(name: &str) -> bool {
    name.starts_with('.') || name.ends_with('~')
}

/// Endings of files of variables.
const ENDINGS: [&str; 3] = ["yml", "yaml", "json"];

impl Beside {
    /// Reads `group_vars` and `host_vars` in a directory, as far as they are there.
    ///
    /// # Errors
    /// Every mistake in them.
    pub(super) fn load(directory: &Path) -> Result<Self, Diagnostics> {
        let mut problems = Diagnostics::default();
        let groups = load_kind(&directory.join("group_vars"), &mut problems);
        let hosts = load_kind(&directory.join("host_vars"), &mut problems);
        if problems.0.is_empty() { Ok(Self { groups, hosts }) } else { Err(problems) }
    }

    /// A group's, lowest precedence first.
    pub(super) fn group(&self, name: &str) -> impl Iterator<Item = Arc<VarMap>> {
        self.groups.get(name).into_iter().flatten().cloned()
    }

    /// A host's, lowest precedence first.
    pub(super) fn host(&self, name: &str) -> impl Iterator<Item = Arc<VarMap>> {
        self.hosts.get(name).into_iter().flatten().cloned()
    }
}

fn load_kind(directory: &Path, problems: &mut Diagnostics) -> HashMap<String, Vec<Arc<VarMap>>> {
    let mut found: HashMap<String, Vec<Arc<VarMap>>> = HashMap::new();
    if !directory.is_dir() {
        return found;
    }
    for path in listed(directory, problems) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        if path.is_dir() {
            for file in files_below(&path, problems) {
                found.entry(name.clone()).or_default().extend(load_file(&file, problems));
            }
        } else if let Some(owner) = owner(&name) {
            found.entry(owner.to_owned()).or_default().extend(load_file(&path, problems));
        }
    }
    found
}

/// Whose variables a file holds: its name without a known ending. A name such as `web.example.org` has none.
fn owner(name: &str) -> Option<&str> {
    match name.rsplit_once('.') {
        Some((owner, ending)) if ENDINGS.contains(&ending) => Some(owner),
        _ => Some(name),
    }
    .filter(|owner| !owner.is_empty())
}

/// The entries of a directory in order of their names.
fn listed(directory: &Path, problems: &mut Diagnostics) -> Vec<PathBuf> {
    let entries = match fs_err::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            problems.0.push(Diagnostic {
                message: format!("cannot list a directory of variables: {error}"),
                place: None,
                label: String::new(),
                help: None,
            });
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| !entry.file_name().to_str().is_some_and(left_behind))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// The files of variables below a directory, in order of their names.
fn files_below(directory: &Path, problems: &mut Diagnostics) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in listed(directory, problems) {
        if path.is_dir() {
            files.extend(files_below(&path, problems));
        } else if path.extension().is_none_or(|ending| ending.to_str().is_some_and(|ending| ENDINGS.contains(&ending)))
        {
            files.push(path);
        }
    }
    files
}

fn load_file(path: &Path, problems: &mut Diagnostics) -> Option<Arc<VarMap>> {
    let document = match load_yaml(path) {
        Ok(document) => document,
        Err(mut found) => {
            problems.0.append(&mut found.0);
            return None;
        }
    };
    if document.root.is_null() {
        return None;
    }
    let Some(entries) = document.root.as_map() else {
        problems.0.push(Diagnostic {
            message: "a file of variables must be a mapping of names to values".to_owned(),
            place: Some(document.root.place.clone()),
            label: format!("this is {}", document.root.describe()),
            help: Some("Write `name: value`.".to_owned()),
        });
        return None;
    };
    let variables: Vec<(String, Template)> = entries
        .iter()
        .map(|entry| {
            let value = Template { value: entry.value.value(), place: Some(entry.value.place.clone()) };
            (entry.key.clone(), value)
        })
        .collect();
    Some(VarMap::of_templates(&variables))
}

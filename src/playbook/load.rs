//! From a file to a program: every mistake at once, before any host is touched.

use super::{
    program::{Play, Playbook},
    reader::Loader,
    reversibility::{irreversible, unplannable},
};
use crate::config::{Diagnostics, Kind, Node, Source, parse, read};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Loads a playbook.
///
/// # Errors
/// All mistakes, in the order of their places.
pub fn load(path: &Path) -> Result<Playbook, Diagnostics> {
    load_source(path, &read(path)?)
}

/// Loads a playbook from a source; `path` says where its files are looked for.
///
/// # Errors
/// All mistakes, in the order of their places.
pub fn load_source(path: &Path, source: &Arc<Source>) -> Result<Playbook, Diagnostics> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let dir = absolute.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
    let mut loader = Loader { problems: Diagnostics::default(), dir: dir.clone(), next_index: 0, notifies: Vec::new() };
    let root = parse(source, &mut loader.problems);
    let plays = root.map(|root| loader.plays(&root)).unwrap_or_default();
    let playbook = Playbook { path: path.display().to_string(), dir, plays };
    loader.problems.into_result(playbook)
}

impl Loader {
    fn plays(&mut self, root: &Node) -> Vec<Arc<Play>> {
        match &root.kind {
            Kind::List(items) if !items.is_empty() => items.iter().filter_map(|item| self.play(item)).collect(),
            _ => {
                let message = format!("a playbook is a list of plays, found {}", root.describe());
                self.error(&root.place, message, "expected `- hosts: …`").help =
                    Some("begin each play with `- name:` or `- hosts:`".into());
                Vec::new()
            }
        }
    }
}

/// What loads but cannot be run (R9): tasks under `rollout:` that nothing undoes and that do not accept it.
///
/// # Errors
/// One for each such task.
pub fn check_rollback(playbook: &Playbook) -> Result<(), Diagnostics> {
    each_play(playbook, &[irreversible])
}

/// What loads but cannot be planned: [`check_rollback`], and what `check_mode: false` would run for real (R23).
///
/// # Errors
/// One for each such task.
pub fn check_plan(playbook: &Playbook) -> Result<(), Diagnostics> {
    each_play(playbook, &[irreversible, unplannable])
}

fn each_play(playbook: &Playbook, checks: &[fn(&Play) -> Diagnostics]) -> Result<(), Diagnostics> {
    let mut problems = Diagnostics::default();
    for play in &playbook.plays {
        checks.iter().for_each(|check| problems.extend(check(play)));
    }
    problems.into_result(())
}

/// Loads a playbook and checks that it can be planned and run: `rollgate validate`.
///
/// # Errors
/// All mistakes; those of [`check_plan`] only where the playbook loads.
pub fn validate(path: &Path) -> Result<Playbook, Diagnostics> {
    let playbook = load(path)?;
    check_plan(&playbook)?;
    Ok(playbook)
}

//! What a plan was made of (architecture.md S15): every file that the controller reads for it, by digest.

use super::{canonical::hex, document::Input};
use crate::playbook::{Action, ModuleArgs, Playbook, Task, Template, find_file};
use fs_err as fs;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Digests of playbook, inventory sources, variable files, templates and files, and of the command line's variables.
///
/// # Errors
/// A file that cannot be read.
pub fn inputs(playbook: &Playbook, inventory: &[PathBuf], extra: &[String]) -> std::io::Result<Vec<Input>> {
    let mut found = BTreeSet::new();
    add(&mut found, "playbook", Path::new(&playbook.path))?;
    for source in inventory {
        tree(&mut found, "inventory", source)?;
        if let Some(beside) = source.parent().filter(|_| source.is_file()) {
            variables(&mut found, beside)?;
        }
    }
    variables(&mut found, &playbook.dir)?;
    for play in &playbook.plays {
        for (_, variable) in play.vars_files.iter().flatten() {
            if let Some(place) = &variable.place {
                insert(&mut found, "vars", Path::new(&place.source.path), place.source.text.as_bytes());
            }
        }
        for task in play.sections.iter().flatten().chain(&play.handlers).chain(&play.rollback) {
            sources(&mut found, playbook, task)?;
        }
    }
    if !extra.is_empty() {
        // Values of -e may be secrets: only their digest is kept.
        let sha256 = hex(&Sha256::digest(extra.join("\n")));
        found.insert(Input { kind: "extra vars".to_owned(), path: "-e".to_owned(), sha256 });
    }
    Ok(found.into_iter().collect())
}

/// `group_vars` and `host_vars` in a directory.
fn variables(found: &mut BTreeSet<Input>, dir: &Path) -> std::io::Result<()> {
    for name in ["group_vars", "host_vars"] {
        let path = dir.join(name);
        if path.is_dir() {
            tree(found, "vars", &path)?;
        }
    }
    Ok(())
}

/// What `template` and `copy` read: the file, where its name is no template; else all that could be meant.
fn sources(found: &mut BTreeSet<Input>, playbook: &Playbook, task: &Task) -> std::io::Result<()> {
    let (args, kind, dir) = match &task.action {
        Action::Template(args) => (args, "template", "templates"),
        Action::CopyFile(args) => (args, "file", "files"),
        _ => return task.undo.iter().try_for_each(|undo| sources(found, playbook, undo)),
    };
    match literal(args) {
        // That a file is missing is said where it is needed.
        Some(src) => find_file(&playbook.dir, dir, src).map_or(Ok(()), |path| tree(found, kind, &path))?,
        None if playbook.dir.join(dir).is_dir() => tree(found, kind, &playbook.dir.join(dir))?,
        None => {}
    }
    task.undo.iter().try_for_each(|undo| sources(found, playbook, undo))
}

/// `src` where it holds no template.
fn literal(args: &ModuleArgs) -> Option<&str> {
    let Template { value, .. } = args.params.get("src")?;
    value.as_str().filter(|src| !src.contains("{{") && !src.contains("{%"))
}

/// A file, or every file below a directory.
fn tree(found: &mut BTreeSet<Input>, kind: &str, path: &Path) -> std::io::Result<()> {
    if !path.is_dir() {
        return add(found, kind, path);
    }
    for entry in fs::read_dir(path)? {
        tree(found, kind, &entry?.path())?;
    }
    Ok(())
}

fn add(found: &mut BTreeSet<Input>, kind: &str, path: &Path) -> std::io::Result<()> {
    insert(found, kind, path, &fs::read(path)?);
    Ok(())
}

fn insert(found: &mut BTreeSet<Input>, kind: &str, path: &Path, bytes: &[u8]) {
    let (path, sha256) = (relative(path).display().to_string(), hex(&Sha256::digest(bytes)));
    found.insert(Input { kind: kind.to_owned(), path, sha256 });
}

/// The path from the working directory, where it lies below it: a plan made from the same files elsewhere is the same.
fn relative(path: &Path) -> PathBuf {
    let below = std::env::current_dir().ok().and_then(|dir| path.strip_prefix(dir).ok().map(Path::to_owned));
    let path = below.unwrap_or_else(|| path.to_owned());
    path.strip_prefix(".").map_or(path.clone(), Path::to_owned)
}

//! Where inventories come from: files, directories, programs, and lists on the command line.

use super::{address, ini, model::Inventory, script, yaml};
use crate::{
    config::{self, Diagnostic, Diagnostics},
    playbook::Template,
};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Endings of files in a directory of sources that are no sources (Ansible's list, as far as it can matter).
const IGNORED: [&str; 14] =
    ["pyc", "pyo", "swp", "bak", "rpm", "md", "txt", "rst", "orig", "cfg", "retry", "deb", "creator", "tmp"];

/// Reads all sources (`-i`) in order into one inventory: later ones add to and win over earlier ones.
///
/// # Errors
/// Every mistake in every source.
pub fn load(sources: &[String]) -> Result<Inventory, Diagnostics> {
    let mut inventory = Inventory::default();
    let mut problems = Diagnostics::default();
    for source in sources {
        if source.contains(',') {
            inline(source, &mut inventory, &mut problems);
            continue;
        }
        let path = Path::new(source);
        if !path.exists() {
            problem(
                &mut problems,
                format!("there is no inventory `{source}`"),
                format!("To name hosts on the command line, end the list with a comma: -i {source},"),
            );
            continue;
        }
        let directory = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        inventory.add_source(&absolute(path), &absolute(directory));
        read(path, &mut inventory, &mut problems, 0);
    }
    inventory.reconcile();
    if problems.0.is_empty() { Ok(inventory) } else { Err(problems) }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn problem(problems: &mut Diagnostics, message: String, help: String) {
    problems.0.push(Diagnostic { message, place: None, label: String::new(), help: Some(help) });
}

/// `-i web1,web2:2222,`
fn inline(list: &str, inventory: &mut Inventory, problems: &mut Diagnostics) {
    for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match address::parse(entry) {
            Err(message) => problem(problems, format!("-i {list}: {message}"), "Write -i host1,host2, .".to_owned()),
            Ok((names, port)) => {
                for name in names {
                    let port = port.map(|port| Template { value: Value::from(port), place: None });
                    inventory.host_mut(&name, None).vars.extend(port.map(|port| ("ansible_port".to_owned(), port)));
                    inventory.add_host("ungrouped", &name);
                }
            }
        }
    }
}

/// Directories of sources within directories of sources: how deep.
const DEEPEST: usize = 8;

fn read(path: &Path, inventory: &mut Inventory, problems: &mut Diagnostics, depth: usize) {
    if path.is_dir() {
        if depth >= DEEPEST {
            let message = format!("the inventory directory {} lies too deep", path.display());
            problem(problems, message, "Name it with -i.".to_owned());
            return;
        }
        for entry in entries(path, problems) {
            read(&entry, inventory, problems, depth + 1);
        }
    } else if script::is_program(path) {
        script::read(path, inventory, problems);
    } else {
        file(path, inventory, problems);
    }
}

/// The sources in a directory in order of their names.
fn entries(directory: &Path, problems: &mut Diagnostics) -> Vec<PathBuf> {
    let listed = match fs_err::read_dir(directory) {
        Ok(listed) => listed,
        Err(error) => {
            problem(problems, format!("cannot list an inventory directory: {error}"), "Check its mode.".to_owned());
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).filter(|path| is_source(path)).collect();
    paths.sort();
    paths
}

fn is_source(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    !matches!(name, "group_vars" | "host_vars" | "vars_plugins")
        && !name.starts_with('.')
        && !name.ends_with('~')
        && !IGNORED.contains(&ending)
}

fn file(path: &Path, inventory: &mut Inventory, problems: &mut Diagnostics) {
    let source = match config::read(path) {
        Ok(source) => source,
        Err(mut found) => {
            problems.0.append(&mut found.0);
            return;
        }
    };
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("toml") => problem(
            problems,
            format!("TOML inventories are not supported: {}", path.display()),
            "Write it as YAML or INI.".to_owned(),
        ),
        Some("yml" | "yaml" | "json") => as_yaml(source, inventory, problems),
        Some("ini" | "cfg") => ini::read(&source, inventory, problems),
        _ if looks_like_yaml(&source.text) => as_yaml(source, inventory, problems),
        _ => ini::read(&source, inventory, problems),
    }
}

fn as_yaml(source: std::sync::Arc<config::Source>, inventory: &mut Inventory, problems: &mut Diagnostics) {
    match config::parse_yaml(source) {
        Ok(document) => yaml::read(&document.root, inventory, problems),
        Err(mut found) => problems.0.append(&mut found.0),
    }
}

/// Whether a file without a telling name is YAML: its first line of content is `---`, `{` or a bare key.
fn looks_like_yaml(text: &str) -> bool {
    let line = text.lines().map(str::trim_end).find(|line| !line.trim().is_empty() && !line.starts_with('#'));
    line.is_some_and(|line| {
        let key = line.split('#').next().unwrap_or_default().trim_end();
        line.starts_with("---")
            || line.starts_with('{')
            || key.strip_suffix(':').is_some_and(|key| !key.contains(char::is_whitespace) && !key.contains(['[', '=']))
    })
}

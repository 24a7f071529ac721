//! Executable inventories: `PROGRAM --list` prints JSON with groups and, under `_meta`, the hosts' variables.

use super::model::Inventory;
use crate::{
    config::{Diagnostic, Diagnostics},
    playbook::Template,
};
use serde_json::{Map, Value};
use std::{
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// How long the program may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// Whether a file is a program and not a text that happens to be executable.
pub(super) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let executable = fs_err::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    let mut head = [0; 4];
    let starts = fs_err::File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok();
    executable && starts && (head.starts_with(b"#!") || head == *b"\x7fELF")
}

/// Runs the program and reads what it prints.
pub(super) fn read(path: &Path, inventory: &mut Inventory, problems: &mut Diagnostics) {
    let shown = path.display();
    let fail = |problems: &mut Diagnostics, message: String| {
        problems.0.push(Diagnostic {
            message,
            place: None,
            label: String::new(),
            help: Some(
                "It must print JSON for --list: {\"group\": {\"hosts\": [...]}, \"_meta\": {\"hostvars\": {}}}."
                    .to_owned(),
            ),
        });
    };
    let text = match run(path) {
        Ok(text) => text,
        Err(message) => return fail(problems, format!("the inventory program {shown} failed: {message}")),
    };
    let groups = match serde_json::from_str::<Map<String, Value>>(&text) {
        Ok(groups) => groups,
        Err(error) => return fail(problems, format!("the inventory program {shown} printed no JSON object: {error}")),
    };
    if !groups.contains_key("_meta") {
        fail(problems, format!("the inventory program {shown} printed no `_meta` with the hosts' variables"));
        return;
    }
    for (name, value) in &groups {
        if name == "_meta" {
            hostvars(value, inventory);
        } else if let Err(message) = group(name, value, inventory) {
            fail(problems, format!("the inventory program {shown}: {message}"));
        }
    }
}

fn run(path: &Path) -> Result<String, String> {
    let absolute = fs_err::canonicalize(path).map_err(|error| error.to_string())?;
    let mut child = Command::new(&absolute)
        .arg("--list")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut output = child.stdout.take().ok_or("its output cannot be read")?;
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let result = output.read_to_string(&mut text).map(|_| text);
        // The receiver is gone only after the deadline; then nobody wants the text.
        drop(sender.send(result));
    });
    let text = match receiver.recv_timeout(DEADLINE) {
        Ok(text) => text.map_err(|error| error.to_string())?,
        Err(_) => {
            let killed = child.kill().and_then(|()| child.wait());
            return Err(format!("no answer within {} s ({killed:?})", DEADLINE.as_secs()));
        }
    };
    drop(reader.join());
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() { Ok(text) } else { Err(format!("it ended with {status}")) }
}

fn templates(vars: &Map<String, Value>) -> impl Iterator<Item = (String, Template)> {
    vars.iter().map(|(name, value)| (name.clone(), Template { value: value.clone(), place: None }))
}

fn hostvars(meta: &Value, inventory: &mut Inventory) {
    let hosts = meta.get("hostvars").and_then(Value::as_object);
    for (host, vars) in hosts.into_iter().flatten() {
        let vars: Vec<_> = vars.as_object().map(|vars| templates(vars).collect()).unwrap_or_default();
        inventory.host_mut(host, None).vars.extend(vars);
    }
}

fn group(name: &str, value: &Value, inventory: &mut Inventory) -> Result<(), String> {
    inventory.group_mut(name, None);
    let (hosts, children) = match value {
        Value::Array(_) => (names(name, value)?, Vec::new()),
        Value::Object(keys) => {
            let list = |key| keys.get(key).map_or_else(|| Ok(Vec::new()), |value| names(name, value));
            if let Some(vars) = keys.get("vars").and_then(Value::as_object) {
                inventory.group_mut(name, None).vars.extend(templates(vars));
            }
            (list("hosts")?, list("children")?)
        }
        _ => return Err(format!("group `{name}` is neither a list nor an object")),
    };
    for host in hosts {
        inventory.host_mut(&host, None);
        inventory.add_host(name, &host);
    }
    for child in children {
        inventory.group_mut(&child, None);
        if !inventory.add_child(name, &child) {
            return Err(format!("group `{child}` would contain itself"));
        }
    }
    Ok(())
}

fn names(group: &str, value: &Value) -> Result<Vec<String>, String> {
    let wrong = || format!("hosts and children of group `{group}` must be lists of names");
    value.as_array().ok_or_else(wrong)?.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

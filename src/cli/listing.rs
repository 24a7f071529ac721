//! `--list-hosts`, `--list-tasks`, `--list-tags`, in the shape of ansible-playbook.

use super::session::PlayArgs;
use crate::playbook::{Play, Task};
use serde_json::Value;
use std::{collections::BTreeSet, fmt::Write};

/// What is to be listed of one play.
pub(super) fn play(args: &PlayArgs, index: usize, play: &Play, hosts: &[String]) -> String {
    let pattern = match &play.hosts.value {
        Value::Array(parts) => parts.iter().map(written).collect::<Vec<_>>().join(","),
        value => written(value),
    };
    let tags = list(&play.inherited.tags);
    let mut text = format!("\n  play #{} ({pattern}): {}\tTAGS: [{tags}]\n", index + 1, play.name);
    if args.list_hosts {
        let patterns: Vec<String> = pattern.split(',').map(|part| format!("'{}'", part.trim())).collect();
        let _ = writeln!(text, "    pattern: [{}]\n    hosts ({}):", patterns.join(", "), hosts.len());
        hosts.iter().for_each(|host| text.push_str(&format!("      {host}\n")));
    }
    if args.list_tasks {
        text.push_str("    tasks:\n");
        for task in tasks(args, play) {
            let _ = writeln!(text, "      {}\tTAGS: [{}]", task.name, list(&task.inherited.tags));
        }
    }
    if args.list_tags {
        let all: BTreeSet<&str> = tasks(args, play).flat_map(|task| &task.inherited.tags).map(String::as_str).collect();
        let all: Vec<&str> = all.into_iter().collect();
        let _ = writeln!(text, "      TASK TAGS: [{}]", all.join(", "));
    }
    text
}

/// A pattern as it was written.
fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn tasks<'a>(args: &'a PlayArgs, play: &'a Play) -> impl Iterator<Item = &'a Task> {
    play.sections.iter().flatten().map(AsRef::as_ref).filter(|task| args.selects(&task.inherited.tags))
}

/// Tags, each once, in order of name.
fn list(tags: &[String]) -> String {
    let tags: BTreeSet<&str> = tags.iter().map(String::as_str).collect();
    tags.into_iter().collect::<Vec<_>>().join(", ")
}

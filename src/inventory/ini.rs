//! INI inventories.

use super::{address, literal, model::Inventory, words::split_words};
use crate::{
    config::{Diagnostic, Diagnostics, Place, Source, did_you_mean},
    playbook::Template,
};
use serde_json::Value;
use std::{collections::HashMap, ops::Range, sync::Arc};

/// What the lines of a section are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Hosts,
    Children,
    Vars,
}

/// Reads an INI source into an inventory. Every mistake is noted; the rest is read.
pub(super) fn read(source: &Arc<Source>, inventory: &mut Inventory, problems: &mut Diagnostics) {
    let mut reader = Reader {
        source,
        inventory,
        problems,
        group: "ungrouped".to_owned(),
        section: Section::Hosts,
        declared: HashMap::new(),
        used: Vec::new(),
        members: Vec::new(),
    };
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        let content = line.trim_end();
        let lead = content.len() - content.trim_start().len();
        reader.line(content.trim_start(), start + lead);
        start += line.len();
    }
    reader.finish();
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    inventory: &'a mut Inventory,
    problems: &'a mut Diagnostics,
    group: String,
    section: Section,
    /// Groups that have a section of hosts or children.
    declared: HashMap<String, ()>,
    /// Groups that `:vars` or `:children` name, to be looked for at the end: name, place, as what.
    used: Vec<(String, Place, &'static str)>,
    /// Groups within groups, joined at the end, when all are known.
    members: Vec<(String, String, Place)>,
}

impl Reader<'_> {
    fn place(&self, range: Range<usize>) -> Place {
        Place { source: Arc::clone(self.source), range }
    }

    fn problem(&mut self, range: Range<usize>, message: impl Into<String>, label: &str, help: Option<String>) {
        let place = Some(self.place(range));
        self.problems.0.push(Diagnostic { message: message.into(), place, label: label.to_owned(), help });
    }

    fn line(&mut self, line: &str, start: usize) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            return;
        }
        if line.starts_with('[')
            && let Some(end) = line.find(']')
            && (self.section != Section::Hosts || is_header(line, end))
        {
            self.header(line, end, start);
            return;
        }
        match self.section {
            Section::Hosts => self.host(line, start),
            Section::Children => self.child(line, start),
            Section::Vars => self.variable(line, start),
        }
    }

    fn header(&mut self, line: &str, end: usize, start: usize) {
        let inner = line.get(1..end).unwrap_or_default();
        let (name, kind) = inner.split_once(':').map_or((inner, None), |(name, kind)| (name, Some(kind)));
        let range = start + 1..start + end;
        if name.is_empty() || name.contains(char::is_whitespace) {
            let help = "A section is [group], [group:children] or [group:vars].".to_owned();
            self.problem(range, format!("`[{inner}]` is no section"), "a group's name has no spaces", Some(help));
            return;
        }
        self.section = match kind {
            None | Some("hosts") => Section::Hosts,
            Some("children") => Section::Children,
            Some("vars") => Section::Vars,
            Some(other) => {
                let help = did_you_mean(other, ["children", "vars", "hosts"]);
                self.problem(range, format!("unknown kind of section `{other}`"), "must be children or vars", help);
                Section::Hosts
            }
        };
        self.group = name.to_owned();
        let place = self.place(start + 1..start + 1 + name.len());
        if self.section == Section::Vars {
            self.used.push((name.to_owned(), place, "vars"));
        } else {
            self.declared.insert(name.to_owned(), ());
            self.inventory.group_mut(name, Some(&place));
        }
    }

    fn host(&mut self, line: &str, start: usize) {
        let words = match split_words(line, true) {
            Ok(words) => words,
            Err(message) => {
                self.problem(start..start + line.len(), message, "in this line", None);
                return;
            }
        };
        let Some((first, assignments)) = words.split_first() else { return };
        let first_range = start + first.range.start..start + first.range.end;
        let (names, port) = match address::parse(&first.text) {
            Ok(parsed) => parsed,
            Err(message) => {
                self.problem(first_range, message, "no host", None);
                return;
            }
        };
        let place = self.place(first_range);
        let mut vars: Vec<(String, Template)> = port
            .map(|port| ("ansible_port".to_owned(), Template { value: Value::from(port), place: Some(place.clone()) }))
            .into_iter()
            .collect();
        for word in assignments {
            let range = start + word.range.start..start + word.range.end;
            let Some((key, text)) = word.text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
                let help = "Write key=value; quote values with spaces.".to_owned();
                self.problem(range, format!("`{}` is no variable", word.text), "must be key=value", Some(help));
                continue;
            };
            // The value's own place: what follows the first equals sign as written.
            let written = line.get(word.range.clone()).unwrap_or_default();
            let offset = written.find('=').map_or(0, |at| at + 1);
            let place = self.place(range.start + offset..range.end);
            vars.push((key.to_owned(), Template { value: literal::value(text), place: Some(place) }));
        }
        for name in names {
            self.inventory.host_mut(&name, Some(&place)).vars.extend(vars.iter().cloned());
            self.inventory.add_host(&self.group, &name);
        }
    }

    fn child(&mut self, line: &str, start: usize) {
        let name = line.split('#').next().unwrap_or_default().trim_end();
        let range = start..start + name.len();
        if name.is_empty() || name.contains([':', ']', '[', '=']) || name.contains(char::is_whitespace) {
            let help = "A :children section lists groups, one a line.".to_owned();
            self.problem(range, format!("`{line}` is no group's name"), "must be one name", Some(help));
            return;
        }
        let place = self.place(range);
        self.used.push((name.to_owned(), place.clone(), "children"));
        self.members.push((self.group.clone(), name.to_owned(), place));
    }

    fn variable(&mut self, line: &str, start: usize) {
        let Some((key, text)) = line.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
            let help = "A :vars section holds key=value, one a line.".to_owned();
            self.problem(
                start..start + line.len(),
                format!("`{line}` is no variable"),
                "must be key=value",
                Some(help),
            );
            return;
        };
        let lead = text.len() - text.trim_start().len();
        let begin = start + key.len() + 1 + lead;
        let place = self.place(begin..begin + text.trim().len());
        let value = Template { value: literal::value(text.trim()), place: Some(place) };
        self.inventory.group_mut(&self.group, None).vars.push((key.trim().to_owned(), value));
    }

    /// Joins groups and reports those that exist nowhere.
    fn finish(mut self) {
        for (name, place, kind) in std::mem::take(&mut self.used) {
            let known = self.declared.contains_key(&name)
                || matches!(name.as_str(), "all" | "ungrouped")
                || self.inventory.group(&name).is_some_and(|group| group.place.is_some());
            if !known {
                let names: Vec<&str> = self.declared.keys().map(String::as_str).collect();
                let help = did_you_mean(&name, names)
                    .or_else(|| Some(format!("Declare it with a section [{name}], even an empty one.")));
                let message = format!("there is no group `{name}`");
                self.problem(place.range, message, &format!("named by a :{kind} section"), help);
            }
        }
        for (parent, child, place) in std::mem::take(&mut self.members) {
            if !self.inventory.add_child(&parent, &child) {
                self.problem(place.range, format!("group `{child}` would contain itself"), "closes a circle", None);
            }
        }
    }
}

/// Whether a line that begins with `[` is a section, and not a host such as `[a:c].example.org`.
fn is_header(line: &str, end: usize) -> bool {
    let after = line.get(end + 1..).unwrap_or_default().trim_start();
    after.is_empty() || after.starts_with('#') || after.starts_with(';')
}

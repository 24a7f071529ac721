//! Reading keywords: each getter reports what does not fit and returns what does.

use super::{program::Template, syntax};
use crate::config::{Diagnostic, Diagnostics, Entry, Kind, Node, Place, did_you_mean};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};

/// What loading a playbook carries along.
pub(super) struct Loader {
    /// Mistakes so far.
    pub problems: Diagnostics,
    /// Directory of the playbook, absolute.
    pub dir: PathBuf,
    /// The next task's index.
    pub next_index: usize,
    /// Handlers notified so far in this play, and where.
    pub notifies: Vec<(String, Place)>,
}

/// The keywords of one kind of map.
pub(super) struct Keywords {
    /// What the map is: "a play".
    pub what: &'static str,
    /// Keywords that are built.
    pub known: &'static [&'static str],
    /// Keywords that Ansible or the design has and rollgate does not have yet (R27), and what to do instead.
    pub unbuilt: &'static [(&'static str, &'static str)],
}

/// Identifiers that cannot be variables: Jinja's and Python's words.
const RESERVED: &[&str] = &[
    "and", "as", "elif", "else", "false", "False", "for", "if", "import", "in", "is", "lambda", "none", "None", "not",
    "or", "true", "True", "while", "with", "def", "class", "return", "pass", "del", "from", "global", "try", "yield",
];

/// Whether text is a template.
pub(super) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// Whether a value holds a template anywhere.
pub(super) fn has_template(value: &Value) -> bool {
    match value {
        Value::String(text) => is_template(text),
        Value::Array(items) => items.iter().any(has_template),
        Value::Object(map) => map.iter().any(|(key, value)| is_template(key) || has_template(value)),
        _ => false,
    }
}

/// Whether a name can be a variable.
pub(super) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !RESERVED.contains(&name)
}

impl Loader {
    /// Reports a mistake at a node.
    pub(super) fn error(
        &mut self,
        place: &Place,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> &mut Diagnostic {
        self.problems.error(place.clone(), message, label)
    }

    /// Reports that something else than was expected stands there.
    pub(super) fn expected(&mut self, entry: &Entry, expected: &str) -> &mut Diagnostic {
        let found = entry.value.describe();
        let place = if entry.value.is_null() { &entry.key_place } else { &entry.value.place };
        let message = format!("`{}` takes {expected}, found {found}", entry.key);
        self.problems.error(place.clone(), message, format!("expected {expected}"))
    }

    /// Reports something that Ansible or the design has and rollgate has not yet.
    pub(super) fn unbuilt(&mut self, place: &Place, what: &str, instead: &str) {
        let diagnostic = self.error(place, format!("{what} is not built yet"), "not built yet");
        if !instead.is_empty() {
            diagnostic.help = Some(instead.into());
        }
    }

    /// The entries of a map whose keywords are all known; reports the others.
    pub(super) fn keywords<'n>(&mut self, node: &'n Node, at: &Place, words: &Keywords) -> Option<&'n [Entry]> {
        let Some(entries) = node.as_map() else {
            let place = if node.is_null() { at } else { &node.place };
            let message = format!("{} is a map of keywords, found {}", words.what, node.describe());
            self.error(place, message, "expected `keyword: value` lines");
            return None;
        };
        for entry in entries {
            self.keyword(entry, words);
        }
        Some(entries)
    }

    /// Reports a keyword that is not known.
    pub(super) fn keyword(&mut self, entry: &Entry, words: &Keywords) {
        let key = entry.key.as_str();
        if words.known.contains(&key) {
            return;
        }
        if let Some((_, instead)) = words.unbuilt.iter().find(|(name, _)| *name == key) {
            self.unbuilt(&entry.key_place, &format!("`{key}` of {}", words.what), instead);
            return;
        }
        let help = did_you_mean(key, words.known.iter().copied().chain(words.unbuilt.iter().map(|(name, _)| *name)));
        self.error(&entry.key_place, format!("`{key}` is not a keyword of {}", words.what), "unknown keyword").help =
            help;
    }

    /// A boolean in any of Ansible's spellings.
    pub(super) fn boolean(&mut self, entry: &Entry) -> Option<bool> {
        if let Kind::Scalar(value) = &entry.value.kind
            && let Some(flag) = super::params::boolean(value)
        {
            return Some(flag);
        }
        if self.refuse_template(entry, "a boolean") {
            return None;
        }
        self.expected(entry, "a boolean").help = Some("write true or false".into());
        None
    }

    /// Reports a template where only a literal is built.
    fn refuse_template(&mut self, entry: &Entry, wanted: &str) -> bool {
        let template = entry.value.as_str().is_some_and(is_template);
        if template {
            self.unbuilt(&entry.value.place, &format!("a template for `{}`", entry.key), &format!("write {wanted}"));
        }
        template
    }

    /// Text without templates; a number is taken as its text.
    pub(super) fn literal(&mut self, entry: &Entry) -> Option<String> {
        if self.refuse_template(entry, "the word itself") {
            return None;
        }
        let text = self.text(entry)?;
        Some(text)
    }

    /// Text, templates and all.
    pub(super) fn text(&mut self, entry: &Entry) -> Option<String> {
        match &entry.value.kind {
            Kind::Scalar(Value::String(text)) => Some(text.clone()),
            Kind::Scalar(Value::Number(number)) => Some(number.to_string()),
            _ => {
                self.expected(entry, "text");
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, entry: &Entry, choices: &[(&str, T)], unbuilt: &[&str]) -> Option<T> {
        let word = self.literal(entry)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == word) {
            return Some(*value);
        }
        if unbuilt.contains(&word.as_str()) {
            self.unbuilt(&entry.value.place, &format!("`{}: {word}`", entry.key), "");
            return None;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let help =
            did_you_mean(&word, names.iter().copied()).unwrap_or_else(|| format!("write {}", names.join(", or ")));
        let message = format!("`{word}` is not a value of `{}`", entry.key);
        self.error(&entry.value.place, message, "unknown value").help = Some(help);
        None
    }

    /// A name that can be a variable.
    pub(super) fn identifier(&mut self, entry: &Entry) -> Option<String> {
        let name = self.literal(entry)?;
        if is_identifier(&name) {
            return Some(name);
        }
        let message = format!("`{name}` cannot be the name of a variable");
        self.error(&entry.value.place, message, "expected letters, digits and underscores, no digit first").help =
            Some(format!("write `{}`", as_identifier(&name)));
        None
    }

    /// A list of texts; one text is a list of one, and commas separate where `commas` says so.
    pub(super) fn texts(&mut self, entry: &Entry, commas: bool) -> Vec<(String, Place)> {
        let nodes = match &entry.value.kind {
            Kind::List(items) => items.as_slice(),
            Kind::Scalar(Value::Null) => &[],
            _ => std::slice::from_ref(&entry.value),
        };
        let mut texts = Vec::new();
        for node in nodes {
            let text = match &node.kind {
                Kind::Scalar(Value::String(text)) => text.clone(),
                Kind::Scalar(Value::Number(number)) => number.to_string(),
                _ => {
                    let message = format!("`{}` takes names, found {}", entry.key, node.describe());
                    self.error(&node.place, message, "expected a name");
                    continue;
                }
            };
            let parts: Vec<&str> = if commas { text.split(',').map(str::trim).collect() } else { vec![&text] };
            texts.extend(
                parts.into_iter().filter(|part| !part.is_empty()).map(|part| (part.to_owned(), node.place.clone())),
            );
        }
        texts
    }

    /// A value whose strings may be templates; their syntax is checked.
    pub(super) fn template(&mut self, node: &Node) -> Template {
        self.check_templates(node);
        Template { value: node.value(), place: Some(node.place.clone()) }
    }

    /// Checks the syntax of every string in a value.
    pub(super) fn check_templates(&mut self, node: &Node) {
        match &node.kind {
            Kind::Scalar(Value::String(text)) if is_template(text) => {
                syntax::template(text, &node.place, &mut self.problems);
            }
            Kind::Scalar(_) => {}
            Kind::List(items) => items.iter().for_each(|item| self.check_templates(item)),
            Kind::Map(entries) => entries.iter().for_each(|entry| self.check_templates(&entry.value)),
        }
    }

    /// Conditions: one or a list, each an expression or a boolean.
    pub(super) fn conditions(&mut self, entry: &Entry) -> Vec<Template> {
        match &entry.value.kind {
            Kind::List(items) => items.iter().filter_map(|item| self.condition(&entry.key, item)).collect(),
            Kind::Scalar(Value::Null) => {
                self.expected(entry, "a condition");
                Vec::new()
            }
            _ => self.condition(&entry.key, &entry.value).into_iter().collect(),
        }
    }

    /// One condition.
    pub(super) fn condition(&mut self, key: &str, node: &Node) -> Option<Template> {
        match &node.kind {
            Kind::Scalar(Value::String(text)) => {
                // Ansible takes braces around a whole condition, with a warning.
                let trimmed = text.trim();
                let inner = trimmed.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).map(str::trim);
                let expression = inner.filter(|inner| !inner.contains("{{")).unwrap_or(text);
                let at = text.find(expression).unwrap_or_default();
                let place = node.place.inside(text, at..at + expression.len());
                if expression.contains("{{") {
                    self.error(&place, format!("`{key}` is an expression already"), "expected no braces").help =
                        Some("write the names in it as they are".into());
                    return None;
                }
                syntax::expression(expression, &place, &mut self.problems);
                Some(Template { value: Value::String(expression.to_owned()), place: Some(place) })
            }
            Kind::Scalar(Value::Bool(_)) => Some(Template { value: node.value(), place: Some(node.place.clone()) }),
            _ => {
                let message = format!("`{key}` takes a condition, found {}", node.describe());
                self.error(&node.place, message, "expected an expression").help =
                    Some("for example: docker_version is defined".into());
                None
            }
        }
    }

    /// `vars:`, names and values in order.
    pub(super) fn variables(&mut self, node: &Node, what: &str) -> Vec<(String, Template)> {
        if node.is_null() {
            return Vec::new();
        }
        let Some(entries) = node.as_map() else {
            let message = format!("{what} is a map of names and values, found {}", node.describe());
            self.error(&node.place, message, "expected `name: value` lines");
            return Vec::new();
        };
        let mut variables = Vec::new();
        for entry in entries {
            self.variable_name(entry);
            variables.push((entry.key.clone(), self.template(&entry.value)));
        }
        variables
    }

    /// Reports a key that cannot be a variable.
    fn variable_name(&mut self, entry: &Entry) {
        if !is_identifier(&entry.key) {
            let message = format!("`{}` cannot be the name of a variable", entry.key);
            self.error(&entry.key_place, message, "expected letters, digits and underscores, no digit first").help =
                Some(format!("write `{}`", as_identifier(&entry.key)));
        }
    }

    /// A duration: seconds as a number, or `90s`, `5m`, `1h30m`, `7d`, `250ms`.
    pub(super) fn duration(&mut self, entry: &Entry) -> Option<Duration> {
        if self.refuse_template(entry, "a duration") {
            return None;
        }
        let parsed = match &entry.value.kind {
            Kind::Scalar(Value::Number(number)) => number.as_f64().and_then(|s| Duration::try_from_secs_f64(s).ok()),
            Kind::Scalar(Value::String(text)) => super::units::duration(text),
            _ => None,
        };
        if parsed.is_none() {
            self.expected(entry, "a duration").help = Some("write seconds, or for example 30s, 5m, 1h30m".into());
        }
        parsed
    }

    /// A whole number of at least `least`.
    pub(super) fn whole(&mut self, entry: &Entry, least: u32) -> Option<u32> {
        if self.refuse_template(entry, "a number") {
            return None;
        }
        let parsed = match &entry.value.kind {
            Kind::Scalar(Value::Number(number)) => number.as_u64().and_then(|n| u32::try_from(n).ok()),
            Kind::Scalar(Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
        if parsed.is_none_or(|number| number < least) {
            self.expected(entry, &format!("a whole number of at least {least}"));
            return None;
        }
        parsed
    }
}

/// The nearest name that can be a variable.
fn as_identifier(name: &str) -> String {
    let mut text: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') || RESERVED.contains(&text.as_str()) {
        text.insert(0, '_');
    }
    text
}

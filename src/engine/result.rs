//! What `register` gets: Ansible's keys.

use rollgate_agent::protocol::{Change, TaskReport};
use serde_json::{Map, Value, json};

/// What one item of a task came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// Changed, or would be; none: cannot be known.
    pub(crate) changed: Option<bool>,
    /// Failed, and why.
    pub(crate) failed: Option<String>,
    /// Not done on purpose, and why.
    pub(crate) skipped: Option<String>,
    /// The result as registered, without the keys that the verdict sets.
    pub(crate) data: Map<String, Value>,
    /// The result cannot be known, and why (check mode).
    pub(crate) unknown: Option<String>,
}

impl Outcome {
    /// Something done, with this data.
    pub(crate) fn done(changed: bool, data: Map<String, Value>) -> Self {
        Self { changed: Some(changed), failed: None, skipped: None, data, unknown: None }
    }

    /// Something that failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        let message = message.into();
        let data = Map::from_iter([("msg".to_owned(), Value::String(message.clone()))]);
        Self { changed: Some(false), failed: Some(message), skipped: None, data, unknown: None }
    }

    /// Something not done on purpose.
    pub(crate) fn skipped(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let data = Map::from_iter([("skip_reason".to_owned(), Value::String(reason.clone()))]);
        Self { changed: Some(false), failed: None, skipped: Some(reason), data, unknown: None }
    }

    /// Something that check mode cannot know.
    pub(crate) fn unknown(because: impl Into<String>) -> Self {
        Self { changed: None, failed: None, skipped: None, data: Map::new(), unknown: Some(because.into()) }
    }

    /// A module's report.
    pub(crate) fn reported(report: &TaskReport, module: &str) -> Self {
        let changed = match report.change {
            Change::Unchanged => Some(false),
            Change::Changed => Some(true),
            Change::Unknown => None,
        };
        let unknown = (report.change == Change::Unknown && report.skipped.is_none() && report.failed.is_none())
            .then(|| format!("check mode does not run `{module}`"));
        let mut data = report.data.clone();
        for stream in ["stdout", "stderr"] {
            let lines = format!("{stream}_lines");
            if let (Some(Value::String(text)), false) = (data.get(stream), data.contains_key(&lines)) {
                let split: Vec<Value> = text.lines().map(|line| Value::String(line.to_owned())).collect();
                data.insert(lines, Value::Array(split));
            }
        }
        if let Some(message) = report.failed.as_ref().or(report.skipped.as_ref()) {
            data.entry("msg").or_insert_with(|| Value::String(message.clone()));
        }
        Self { changed, failed: report.failed.clone(), skipped: report.skipped.clone(), data, unknown }
    }

    /// The result as a playbook reads it.
    pub(crate) fn value(&self) -> Value {
        let mut data = self.data.clone();
        data.insert("changed".to_owned(), Value::Bool(self.changed.unwrap_or(false)));
        data.insert("failed".to_owned(), Value::Bool(self.failed.is_some()));
        if self.skipped.is_some() {
            data.insert("skipped".to_owned(), Value::Bool(true));
        }
        Value::Object(data)
    }
}

/// The result of a loop: each item's under `results`, and what they come to together.
pub(crate) fn of_loop(items: &[Outcome]) -> Outcome {
    let failed = items.iter().find_map(|item| item.failed.clone());
    let unknown = items.iter().find_map(|item| item.unknown.clone());
    let all_skipped = items.iter().all(|item| item.skipped.is_some());
    let changed = if items.iter().any(|item| item.changed == Some(true)) {
        Some(true)
    } else if items.iter().any(|item| item.changed.is_none()) {
        None
    } else {
        Some(false)
    };
    let message = match (&failed, all_skipped) {
        (Some(_), _) => "One or more items failed",
        (None, true) => "All items skipped",
        (None, false) => "All items completed",
    };
    let results: Vec<Value> = items.iter().map(Outcome::value).collect();
    let data = Map::from_iter([("results".to_owned(), Value::Array(results)), ("msg".to_owned(), json!(message))]);
    let skipped = all_skipped.then_some(if items.is_empty() { "No items in the list" } else { "all items skipped" });
    Outcome { changed, failed, skipped: skipped.map(str::to_owned), data, unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(change: Change) -> TaskReport {
        TaskReport {
            change,
            failed: None,
            skipped: None,
            data: Map::from_iter([("rc".to_owned(), json!(0)), ("stdout".to_owned(), json!("a\nb"))]),
            diff: Vec::new(),
            warnings: Vec::new(),
            recorded: false,
        }
    }

    #[test]
    fn a_command_registers_ansible_s_keys() {
        let value = Outcome::reported(&report(Change::Changed), "command").value();
        assert_eq!(
            value,
            json!({"rc": 0, "stdout": "a\nb", "stdout_lines": ["a", "b"], "changed": true, "failed": false})
        );
    }

    #[test]
    fn what_a_check_cannot_know_is_said() {
        let outcome = Outcome::reported(&report(Change::Unknown), "command");
        assert_eq!((outcome.changed, outcome.unknown.is_some()), (None, true));
    }

    #[test]
    fn a_loop_changed_if_one_item_did_and_is_skipped_only_if_all_were() {
        let items = [Outcome::skipped("no"), Outcome::done(true, Map::new()), Outcome::done(false, Map::new())];
        let whole = of_loop(&items);
        assert_eq!((whole.changed, whole.skipped.is_none(), whole.failed.is_none()), (Some(true), true, true));
        assert_eq!(whole.value()["results"].as_array().map(Vec::len), Some(3));
        assert!(of_loop(&[]).skipped.is_some());
        assert!(of_loop(&[Outcome::skipped("no"), Outcome::failed("broken")]).failed.is_some());
    }
}

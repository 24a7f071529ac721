//! Triggers (rollout.md 2.2, R13): conditions over probes, checked against the probes of the play.

use super::{
    probe::MODES,
    program::{Probe, ProbeMode, Scope, Trigger, TriggerAction},
    reader::{Keywords, Loader},
};
use crate::config::{Entry, Node, Place, did_you_mean};
use minijinja::Environment;

/// What a trigger can read of a probe.
pub const PROBE_FIELDS: [&str; 12] = [
    "consecutive_failures",
    "consecutive_errors",
    "all_unhealthy",
    "p95",
    "baseline",
    "json",
    "status",
    "rc",
    "verdict",
    "samples",
    "healthy",
    "flaps",
];

const KEYWORDS: Keywords =
    Keywords { what: "a trigger", known: &["name", "when", "scope", "action", "for", "mode"], unbuilt: &[] };

const SCOPES: [(&str, Scope); 3] = [("host", Scope::Host), ("batch", Scope::Batch), ("run", Scope::Run)];

const ACTIONS: [(&str, TriggerAction); 4] = [
    ("fail_host", TriggerAction::FailHost),
    ("pause", TriggerAction::Pause),
    ("abort_batch", TriggerAction::AbortBatch),
    ("rollback_run", TriggerAction::RollbackRun),
];

impl Loader {
    /// `triggers:`.
    pub(super) fn triggers(&mut self, entry: &Entry, probes: &[Probe]) -> Vec<Trigger> {
        let Some(items) = self.list_of(entry, "triggers") else { return Vec::new() };
        items.iter().filter_map(|item| self.trigger(item, probes)).collect()
    }

    fn trigger(&mut self, node: &Node, probes: &[Probe]) -> Option<Trigger> {
        let entries = self.keywords(node, &node.place, &KEYWORDS)?;
        let Some(when_entry) = node.entry("when") else {
            self.error(&node.place, "this trigger has no condition", "`when` is missing").help =
                Some("for example: when: health.consecutive_failures >= 3".into());
            return None;
        };
        let when = self.condition("when", &when_entry.value)?;
        let text = when.value.as_str().unwrap_or_default().to_owned();
        let name = node.entry("name").and_then(|entry| self.literal(entry)).unwrap_or_else(|| text.clone());
        self.trigger_names(&text, &when_entry.value.place, probes);
        let mut trigger = Trigger {
            name,
            place: when_entry.value.place.clone(),
            when,
            scope: Scope::Host,
            action: TriggerAction::AbortBatch,
            for_rounds: None,
            mode: ProbeMode::Enforce,
        };
        for entry in entries {
            match entry.key.as_str() {
                "scope" => trigger.scope = self.choice(entry, &SCOPES, &[]).unwrap_or(trigger.scope),
                "action" => trigger.action = self.choice(entry, &ACTIONS, &[]).unwrap_or(trigger.action),
                "for" => trigger.for_rounds = self.whole(entry, 1),
                "mode" => trigger.mode = self.choice(entry, &MODES, &[]).unwrap_or(trigger.mode),
                _ => {}
            }
        }
        Some(trigger)
    }

    /// Every probe and field that a condition names must exist. Other names are variables of the host.
    fn trigger_names(&mut self, text: &str, place: &Place, probes: &[Probe]) {
        let environment = Environment::new();
        let Ok(expression) = environment.compile_expression(text) else { return };
        let names = || probes.iter().map(|probe| probe.name.as_str());
        let mut paths: Vec<String> = expression.undeclared_variables(true).into_iter().collect();
        paths.sort();
        let mut named = false;
        for path in &paths {
            let (root, rest) = path.split_once('.').unwrap_or((path, ""));
            let field = rest.split('.').next().unwrap_or_default();
            if names().any(|name| name == root) {
                named = true;
                self.trigger_field(text, place, root, field);
            } else if PROBE_FIELDS.contains(&field) {
                named = true;
                let help = did_you_mean(root, names()).unwrap_or_else(|| probe_list(probes));
                let at = part(text, root, place);
                self.error(&at, format!("there is no probe named `{root}`"), "unknown probe").help = Some(help);
            }
        }
        if !named {
            self.error(place, "this condition names no probe", "expected a probe's name").help =
                Some(probe_list(probes));
        }
    }

    fn trigger_field(&mut self, text: &str, place: &Place, probe: &str, field: &str) {
        if PROBE_FIELDS.contains(&field) {
            return;
        }
        let fields = PROBE_FIELDS.join(", ");
        if field.is_empty() {
            self.error(&part(text, probe, place), format!("`{probe}` is a probe, not a value"), "a field is missing")
                .help = Some(format!("write {probe}. and one of {fields}"));
            return;
        }
        let help = did_you_mean(field, PROBE_FIELDS).unwrap_or_else(|| format!("a probe has {fields}"));
        let at = part(text, &format!("{probe}.{field}"), place);
        self.error(&at, format!("a probe has no `{field}`"), "unknown field").help = Some(help);
    }
}

fn probe_list(probes: &[Probe]) -> String {
    if probes.is_empty() {
        return "declare `probes:` first".into();
    }
    let names: Vec<&str> = probes.iter().map(|probe| probe.name.as_str()).collect();
    format!("the probes are {}", names.join(", "))
}

/// The place of a part of a condition.
fn part(text: &str, part: &str, place: &Place) -> Place {
    text.find(part).map_or_else(|| place.clone(), |at| place.inside(text, at..at + part.len()))
}

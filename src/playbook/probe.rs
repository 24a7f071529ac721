//! Probes (rollout.md 2.1, 2.2, R12).

use super::{
    program::{Probe, ProbeFrom, ProbeMode, ProbeTarget},
    reader::{Keywords, Loader, is_template},
};
use crate::config::{Entry, Kind, Node};
use serde_json::Value;
use std::time::Duration;

const KEYWORDS: Keywords = Keywords {
    what: "a probe",
    known: &[
        "name",
        "when",
        "command",
        "http",
        "unix",
        "tcp",
        "loop",
        "success_when",
        "count",
        "initial_delay",
        "interval",
        "timeout",
        "failure_threshold",
        "success_threshold",
        "max_consecutive_errors",
        "min_samples",
        "mode",
        "from",
    ],
    unbuilt: &[],
};

const TARGETS: [&str; 4] = ["command", "http", "unix", "tcp"];

/// Most samples of one round.
const MAX_COUNT: u32 = 1000;

pub(super) const MODES: [(&str, ProbeMode); 2] = [("enforce", ProbeMode::Enforce), ("dry_run", ProbeMode::DryRun)];

impl Loader {
    /// `probes:`.
    pub(super) fn probes(&mut self, entry: &Entry) -> Vec<Probe> {
        let Some(items) = self.list_of(entry, "probes") else { return Vec::new() };
        let mut probes: Vec<Probe> = Vec::new();
        for item in items {
            let Some(probe) = self.probe(item) else { continue };
            if let Some(first) = probes.iter().find(|other| other.name == probe.name) {
                let help = format!("the first is at {}", first.place);
                self.error(&probe.place, format!("two probes are named `{}`", probe.name), "named again here").help =
                    Some(help);
            }
            probes.push(probe);
        }
        probes
    }

    /// The items of a list keyword; nothing written is an empty list.
    pub(super) fn list_of<'n>(&mut self, entry: &'n Entry, what: &str) -> Option<&'n [Node]> {
        match &entry.value.kind {
            Kind::List(items) => Some(items),
            Kind::Scalar(Value::Null) => Some(&[]),
            _ => {
                self.expected(entry, &format!("a list of {what}"));
                None
            }
        }
    }

    fn probe(&mut self, node: &Node) -> Option<Probe> {
        let entries = self.keywords(node, &node.place, &KEYWORDS)?;
        let name = match node.entry("name") {
            Some(entry) => self.identifier(entry),
            None => {
                self.error(&node.place, "this probe has no name", "`name` is missing").help =
                    Some("triggers speak of probes by name".into());
                None
            }
        };
        let target = self.target(node);
        let mut probe = Probe {
            name: name?,
            place: node.entry("name").map_or_else(|| node.place.clone(), |entry| entry.value.place.clone()),
            when: Vec::new(),
            target: target?,
            from: ProbeFrom::Host,
            r#loop: None,
            success_when: None,
            count: 1,
            initial_delay: Duration::ZERO,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            failure_threshold: 3,
            success_threshold: 1,
            max_consecutive_errors: 4,
            min_samples: 20,
            mode: ProbeMode::Enforce,
        };
        for entry in entries {
            self.probe_keyword(entry, &mut probe);
        }
        self.askable(node, &probe);
        Some(probe)
    }

    fn probe_keyword(&mut self, entry: &Entry, probe: &mut Probe) {
        match entry.key.as_str() {
            "when" => probe.when = self.conditions(entry),
            "loop" => probe.r#loop = self.loop_value(entry),
            "success_when" => probe.success_when = self.condition(&entry.key, &entry.value),
            "count" => {
                probe.count = self.whole(entry, 1).unwrap_or(probe.count);
                if probe.count > MAX_COUNT {
                    self.error(&entry.value.place, "a round has at most 1,000 samples", "too many");
                }
            }
            "initial_delay" => probe.initial_delay = self.duration(entry).unwrap_or(probe.initial_delay),
            "interval" => probe.interval = self.positive(entry).unwrap_or(probe.interval),
            "timeout" => probe.timeout = self.positive(entry).unwrap_or(probe.timeout),
            "failure_threshold" => probe.failure_threshold = self.whole(entry, 1).unwrap_or(probe.failure_threshold),
            "success_threshold" => probe.success_threshold = self.whole(entry, 1).unwrap_or(probe.success_threshold),
            "max_consecutive_errors" => {
                probe.max_consecutive_errors = self.whole(entry, 0).unwrap_or(probe.max_consecutive_errors);
            }
            "min_samples" => probe.min_samples = self.whole(entry, 1).unwrap_or(probe.min_samples),
            "from" => {
                let words = [("host", ProbeFrom::Host), ("controller", ProbeFrom::Controller)];
                probe.from = self.choice(entry, &words, &[]).unwrap_or(probe.from);
            }
            "mode" => probe.mode = self.choice(entry, &MODES, &[]).unwrap_or(probe.mode),
            _ => {}
        }
    }

    /// A socket is a path of the host.
    fn askable(&mut self, node: &Node, probe: &Probe) {
        let asks_a_socket = matches!(probe.target, ProbeTarget::Unix(_)) && probe.from == ProbeFrom::Controller;
        if let (true, Some(entry)) = (asks_a_socket, node.entry("from")) {
            let message = "`from: controller` cannot ask a Unix socket of the host";
            self.error(&entry.value.place, message, "`unix` is a path on the host").help =
                Some("leave `from` out, or ask `tcp` or `http`".into());
        }
    }

    /// A duration above zero.
    fn positive(&mut self, entry: &Entry) -> Option<Duration> {
        let duration = self.duration(entry)?;
        if duration.is_zero() {
            self.error(&entry.value.place, format!("`{}` cannot be 0", entry.key), "expected a duration above 0");
            return None;
        }
        Some(duration)
    }

    /// What is asked: exactly one.
    fn target(&mut self, node: &Node) -> Option<ProbeTarget> {
        let entries = node.as_map().unwrap_or_default();
        let given: Vec<&Entry> = entries.iter().filter(|entry| TARGETS.contains(&entry.key.as_str())).collect();
        let entry = match given.as_slice() {
            [] => {
                self.error(
                    &node.place,
                    "this probe asks nothing",
                    "one of `command`, `http`, `unix`, `tcp` is missing",
                );
                return None;
            }
            [entry] => *entry,
            [first, second, ..] => {
                let message = format!("a probe asks one thing; this one has `{}` and `{}`", first.key, second.key);
                self.error(&second.key_place, message, "a second one").help = Some("make it two probes".into());
                return None;
            }
        };
        let text = self.text(entry)?;
        if entry.key == "unix" && !is_template(&text) && !text.starts_with('/') {
            self.error(&entry.value.place, "`unix` takes an absolute path", "a relative path");
            return None;
        }
        if entry.key == "http" && !is_template(&text) && !text.starts_with("http://") && !text.starts_with("https://") {
            self.error(&entry.value.place, "`http` takes a URL", "expected http:// or https://");
            return None;
        }
        let template = self.template(&entry.value);
        Some(match entry.key.as_str() {
            "command" => ProbeTarget::Command(template),
            "http" => ProbeTarget::Http(template),
            "unix" => ProbeTarget::Unix(template),
            _ => ProbeTarget::Tcp(template),
        })
    }
}

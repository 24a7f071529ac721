//! The `rollout:` stanza (rollout.md section 1), and `serial` without it.

use super::{
    guard::GuardKeys,
    program::{OnFailure, OnInconclusive, OnUnreachable, Promote, RollbackSpeed, Rollout, Size},
    reader::{Keywords, Loader},
    units::{RawSize, size},
};
use crate::config::{Entry, Kind, Node, Place};
use serde_json::Value;
use std::time::Duration;

const KEYWORDS: Keywords = Keywords {
    what: "`rollout`",
    known: &[
        "batches",
        "serial",
        "max_parallel",
        "max_unavailable",
        "failure_domain",
        "ramp",
        "rehearse",
        "max_fail",
        "max_unhealthy_upgraded",
        "on_unreachable_preflight",
        "min_healthy_time",
        "healthy_deadline",
        "progress_deadline",
        "bake_time",
        "promote",
        "on_failure",
        "on_inconclusive",
        "pause_timeout",
        "abort_grace",
        "rollback_deadline",
        "keep_undo",
        "rollback",
        "confirm",
        "guard_timeout",
        "revert_budget",
        "expect_reboot",
        "accept_irreversible",
        "probes",
        "triggers",
    ],
    unbuilt: &[("windows", "use a task that fails outside the window"), ("on_drift", "")],
};

const ROLLBACK_SPEED: Keywords =
    Keywords { what: "`rollout.rollback`", known: &["max_parallel", "min_healthy_time", "on_failure"], unbuilt: &[] };

/// What a size is for, which decides its range (R3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// How many at once: at least one host, at most all.
    Speed,
    /// How many failures are borne: none up to less than all.
    Tolerance,
    /// Ansible's `serial`: zero and less mean all hosts.
    Serial,
}

impl Loader {
    /// Reads the stanza. `serial` is the play's.
    pub(super) fn rollout(&mut self, stanza: &Entry, serial: Option<&Entry>) -> Option<Rollout> {
        let node = &stanza.value;
        let entries = self.keywords(node, &stanza.key_place, &KEYWORDS)?;
        let place = stanza.key_place.clone();
        let mut rollout = defaults(place);
        rollout.batches = self.batches(node, serial);
        let mut probes = None;
        for entry in entries {
            match entry.key.as_str() {
                "max_parallel" => rollout.max_parallel = self.size(entry, Role::Speed),
                "max_unavailable" => rollout.max_unavailable = self.size(entry, Role::Speed),
                "failure_domain" => rollout.failure_domain = self.identifier(entry),
                "ramp" => rollout.ramp = self.boolean(entry).unwrap_or(rollout.ramp),
                "rehearse" => rollout.rehearse = self.boolean(entry).unwrap_or(rollout.rehearse),
                "max_fail" => rollout.max_fail = self.size(entry, Role::Tolerance).unwrap_or(rollout.max_fail),
                "max_unhealthy_upgraded" => rollout.max_unhealthy_upgraded = self.size(entry, Role::Tolerance),
                "min_healthy_time" => self.set_duration(entry, &mut rollout.min_healthy_time, false),
                "healthy_deadline" => self.set_duration(entry, &mut rollout.healthy_deadline, true),
                "progress_deadline" => {
                    let mut limit = Duration::ZERO;
                    self.set_duration(entry, &mut limit, true);
                    rollout.progress_deadline = (!limit.is_zero()).then_some(limit);
                }
                "bake_time" => self.set_duration(entry, &mut rollout.bake_time, false),
                "pause_timeout" => self.set_duration(entry, &mut rollout.pause_timeout, true),
                "abort_grace" => self.set_duration(entry, &mut rollout.abort_grace, false),
                "rollback_deadline" => self.set_duration(entry, &mut rollout.rollback_deadline, true),
                "keep_undo" => self.set_duration(entry, &mut rollout.keep_undo, false),
                "probes" => probes = Some(entry),
                "rollback" => rollout.rollback = self.rollback_speed(entry),
                _ => {}
            }
        }
        self.words(entries, &mut rollout);
        rollout.guard = self.guard(node);
        if let Some(entry) = probes {
            rollout.probes = self.probes(entry);
        }
        if let Some(entry) = node.entry("triggers") {
            rollout.triggers = self.triggers(entry, &rollout.probes);
        }
        self.deadlines(node, &rollout);
        Some(rollout)
    }

    /// The keywords that take one of a few words.
    fn words(&mut self, entries: &[Entry], rollout: &mut Rollout) {
        let on_failure = [
            ("rollback_batch", OnFailure::RollbackBatch),
            ("rollback_run", OnFailure::RollbackRun),
            ("pause", OnFailure::Pause),
            ("continue", OnFailure::Continue),
        ];
        let on_inconclusive = [
            ("pause", OnInconclusive::Pause),
            ("abort", OnInconclusive::Abort),
            ("rollback", OnInconclusive::Rollback),
        ];
        for entry in entries {
            match entry.key.as_str() {
                "promote" => {
                    let words = [("auto", Promote::Auto), ("manual", Promote::Manual)];
                    rollout.promote = self.choice(entry, &words, &[]).unwrap_or(rollout.promote);
                }
                "on_unreachable_preflight" => {
                    let words = [("exclude", OnUnreachable::Exclude), ("abort", OnUnreachable::Abort)];
                    rollout.on_unreachable = self.choice(entry, &words, &[]).unwrap_or(rollout.on_unreachable);
                }
                "on_failure" => rollout.on_failure = self.choice(entry, &on_failure, &[]).unwrap_or(rollout.on_failure),
                "on_inconclusive" => {
                    rollout.on_inconclusive =
                        self.choice(entry, &on_inconclusive, &[]).unwrap_or(rollout.on_inconclusive);
                }
                _ => {}
            }
        }
    }

    /// `batches`, or `serial` in its place; both are an error (R3).
    fn batches(&mut self, stanza: &Node, serial: Option<&Entry>) -> Vec<Size> {
        let given: Vec<&Entry> =
            [stanza.entry("batches"), stanza.entry("serial"), serial].into_iter().flatten().collect();
        if let [first, second, ..] = given.as_slice() {
            let message = format!("`{}` and `{}` say the same thing", first.key, second.key);
            self.error(&second.key_place, message, "given again here").help = Some("keep one of them".into());
        }
        match given.first() {
            Some(entry) => self.sizes(entry, Role::Speed),
            None => vec![Size::Percent(100.0)],
        }
    }

    /// A size or a list of sizes.
    pub(super) fn sizes(&mut self, entry: &Entry, role: Role) -> Vec<Size> {
        match &entry.value.kind {
            Kind::List(items) if items.is_empty() => {
                self.expected(entry, "at least one size");
                Vec::new()
            }
            Kind::List(items) => items.iter().filter_map(|item| self.size_of(&entry.key, item, role)).collect(),
            _ => self.size(entry, role).into_iter().collect(),
        }
    }

    /// One size.
    pub(super) fn size(&mut self, entry: &Entry, role: Role) -> Option<Size> {
        if entry.value.is_null() {
            self.expected(entry, "a number of hosts or a percentage");
            return None;
        }
        self.size_of(&entry.key, &entry.value, role)
    }

    fn size_of(&mut self, key: &str, node: &Node, role: Role) -> Option<Size> {
        let raw = match &node.kind {
            Kind::Scalar(Value::Number(number)) => number.as_i64().map(RawSize::Count),
            Kind::Scalar(Value::String(text)) if super::reader::is_template(text) => {
                self.unbuilt(&node.place, &format!("a template for `{key}`"), "write a number or a percentage");
                return None;
            }
            Kind::Scalar(Value::String(text)) => size(text),
            _ => None,
        };
        let Some(raw) = raw else {
            let message = format!("`{key}` takes a number of hosts or a percentage, found {}", node.describe());
            self.error(&node.place, message, "expected for example 3 or \"10%\"");
            return None;
        };
        self.in_range(key, node, raw, role)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a non-negative count of hosts")]
    fn in_range(&mut self, key: &str, node: &Node, raw: RawSize, role: Role) -> Option<Size> {
        let problem = match (raw, role) {
            (RawSize::Count(count), Role::Serial) if count <= 0 => return Some(Size::Percent(100.0)),
            (RawSize::Percent(percent), Role::Serial) if percent <= 0.0 => return Some(Size::Percent(100.0)),
            (RawSize::Percent(percent), Role::Serial) => return Some(Size::Percent(percent.min(100.0))),
            (RawSize::Count(0), Role::Speed) => "0 would never start",
            (RawSize::Percent(0.0), Role::Speed) => "0 % would never start",
            (RawSize::Count(count), _) if count < 0 => "it cannot be negative",
            (RawSize::Percent(percent), _) if percent < 0.0 => "it cannot be negative",
            (RawSize::Percent(percent), _) if percent > 100.0 => "it cannot be over 100 %",
            (RawSize::Percent(100.0), Role::Tolerance) => "100 % would never stop",
            (RawSize::Count(count), _) => return Some(Size::Count(count as usize)),
            (RawSize::Percent(percent), _) => return Some(Size::Percent(percent)),
        };
        let written = node.place.text().to_owned();
        self.error(&node.place, format!("`{key}: {written}`: {problem}"), "out of range").help = Some(match role {
            Role::Tolerance => "write how many hosts may fail, from 0".into(),
            _ => "write at least 1, or a percentage up to 100%".into(),
        });
        None
    }

    fn set_duration(&mut self, entry: &Entry, target: &mut Duration, positive: bool) {
        let Some(duration) = self.duration(entry) else { return };
        if positive && duration.is_zero() {
            self.error(&entry.value.place, format!("`{}` cannot be 0", entry.key), "expected a duration above 0")
                .help = Some("no value means \"off\": write a long duration".into());
            return;
        }
        *target = duration;
    }

    fn rollback_speed(&mut self, entry: &Entry) -> RollbackSpeed {
        if let Kind::List(_) = entry.value.kind {
            self.error(&entry.value.place, "`rollout.rollback` is the speed of a rollback", "expected a map").help =
                Some("tasks to run after a rollback stand in the play's own `rollback:`".into());
            return RollbackSpeed::default();
        }
        self.keywords(&entry.value, &entry.key_place, &ROLLBACK_SPEED);
        let of = |key| entry.value.entry(key);
        let max_parallel = of("max_parallel").and_then(|inner| self.size(inner, Role::Speed));
        let min_healthy_time = of("min_healthy_time").and_then(|inner| self.duration(inner)).unwrap_or_default();
        let words = [("continue", false), ("pause", true)];
        let pauses = of("on_failure").and_then(|inner| self.choice(inner, &words, &[])).unwrap_or_default();
        RollbackSpeed { max_parallel, min_healthy_time, pauses }
    }

    /// Times that exclude each other.
    fn deadlines(&mut self, stanza: &Node, rollout: &Rollout) {
        for probe in rollout.probes.iter().filter(|probe| probe.initial_delay >= rollout.healthy_deadline) {
            let message = format!("the first round of `{}` comes after `healthy_deadline`", probe.name);
            self.error(&probe.place, message, "no host could ever be healthy in time").help =
                Some("shorten `initial_delay` or lengthen `healthy_deadline`".into());
        }
        if let (Some(limit), Some(entry)) = (rollout.progress_deadline, stanza.entry("progress_deadline"))
            && limit <= rollout.healthy_deadline
        {
            let message = "`progress_deadline` must be longer than `healthy_deadline`";
            self.error(&entry.value.place, message, "the run would end before a host can be said to have failed")
                .help = Some(format!("they are {limit:?} and {:?}", rollout.healthy_deadline));
        }
        if rollout.rollback.min_healthy_time >= rollout.healthy_deadline
            && let Some(entry) = stanza.entry("rollback").and_then(|entry| entry.value.entry("min_healthy_time"))
        {
            let message = "`min_healthy_time` of a rollback must be shorter than `healthy_deadline`";
            self.error(&entry.value.place, message, "no host could ever be put back in time").help =
                Some(format!("`healthy_deadline` is {:?}", rollout.healthy_deadline));
        }
        if rollout.min_healthy_time < rollout.healthy_deadline {
            return;
        }
        if let Some(entry) = stanza.entry("healthy_deadline").or_else(|| stanza.entry("min_healthy_time")) {
            let message = "`min_healthy_time` must be shorter than `healthy_deadline`";
            self.error(&entry.value.place, message, "no host could ever be healthy in time").help =
                Some(format!("they are {:?} and {:?}", rollout.min_healthy_time, rollout.healthy_deadline));
        }
    }
}

/// A stanza with nothing in it.
fn defaults(place: Place) -> Rollout {
    Rollout {
        place,
        batches: vec![Size::Percent(100.0)],
        max_parallel: None,
        max_unavailable: None,
        failure_domain: None,
        ramp: false,
        rehearse: false,
        max_fail: Size::Count(0),
        max_unhealthy_upgraded: None,
        on_unreachable: OnUnreachable::Count,
        min_healthy_time: Duration::from_secs(10),
        healthy_deadline: Duration::from_secs(300),
        progress_deadline: None,
        bake_time: Duration::ZERO,
        promote: Promote::Auto,
        on_failure: OnFailure::RollbackBatch,
        on_inconclusive: OnInconclusive::Pause,
        pause_timeout: Duration::from_secs(3600),
        abort_grace: Duration::from_secs(60),
        rollback_deadline: Duration::from_secs(600),
        keep_undo: Duration::from_secs(7 * 86_400),
        rollback: RollbackSpeed::default(),
        guard: GuardKeys::default(),
        probes: Vec::new(),
        triggers: Vec::new(),
    }
}

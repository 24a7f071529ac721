//! The numbers of a `rollout:` stanza for the hosts at hand, and the sentences that say what they come to.

use super::{
    domains::{DomainOf, Domains},
    policy::Policy,
    sizes::{batches, speed, tolerance},
    upgraded,
};
use crate::playbook::{
    Confirm, OnFailure, OnInconclusive, OnUnreachable, Play, ProbeFrom, ProbeMode, Promote, Rollout, Scope, Size,
    Trigger, TriggerAction,
};
use serde::Serialize;
use std::time::Duration;

/// A play's sizes as numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resolved {
    /// Hosts of each batch.
    pub batches: Vec<Vec<String>>,
    /// Hosts that run their tasks at once, at most (R1).
    pub max_parallel: usize,
    /// Hosts disrupted at once, at most (R4).
    pub max_unavailable: usize,
    /// The failure domains, where `failure_domain` is given.
    #[serde(skip_serializing_if = "Domains::is_empty")]
    pub domains: Domains,
    /// The rollback is rehearsed on the first host that changes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rehearse: bool,
    /// Failed hosts tolerated in the run (R5); none without `rollout:`.
    pub max_fail: Option<usize>,
    /// Hosts rolled back at once, at most.
    pub rollback_parallel: usize,
    /// What all of it comes to, a sentence each.
    pub sentences: Vec<String>,
}

impl Resolved {
    /// Resolves a play for its hosts (after `--limit`, in order), their failure domains, and `forks`.
    pub fn new(play: &Play, hosts: &[String], domain_of: &DomainOf, forks: usize) -> Self {
        let Some(rollout) = &play.rollout else {
            let batches = batches(&play.serial, hosts);
            let sentences = plain_sentences(play, &batches);
            let largest = batches.iter().map(Vec::len).max().unwrap_or(0);
            return Self {
                batches,
                max_parallel: forks,
                max_unavailable: largest,
                domains: Domains::default(),
                rehearse: false,
                max_fail: None,
                rollback_parallel: forks,
                sentences,
            };
        };
        let batches = batches(&rollout.batches, hosts);
        let largest = batches.iter().map(Vec::len).max().unwrap_or(0);
        let max_unavailable = rollout.max_unavailable.map_or(largest, |size| speed(size, hosts.len()));
        let max_parallel = rollout.max_parallel.map_or(forks, |size| speed(size, hosts.len()).min(forks));
        let rollback_parallel = rollout.rollback.max_parallel.map_or(max_parallel, |size| speed(size, hosts.len()));
        let mut resolved = Self {
            batches,
            max_parallel,
            max_unavailable,
            domains: Domains::new(hosts, domain_of, rollout.max_unavailable, largest),
            rehearse: rollout.rehearse,
            max_fail: Some(tolerance(rollout.max_fail, hosts.len())),
            rollback_parallel,
            sentences: Vec::new(),
        };
        resolved.sentences = sentences(play, rollout, &resolved, hosts.len());
        resolved
    }
}

impl Resolved {
    /// Hosts that can be at work at once: no more than a batch, and than may be unavailable (R1).
    pub fn in_flight(&self) -> usize {
        let largest = self.batches.iter().map(Vec::len).max().unwrap_or(0);
        let domains = if self.domains.is_empty() { largest } else { self.domains.at_once() };
        self.max_parallel.min(self.max_unavailable).min(largest).min(domains)
    }
}

fn plain_sentences(play: &Play, batches: &[Vec<String>]) -> Vec<String> {
    let mut lines = Vec::new();
    if batches.len() > 1 {
        lines.push(format!("{} batches of {} hosts.", batches.len(), list(&lengths(batches))));
    }
    if let Some(percent) = play.max_fail_percentage {
        lines.push(format!("Stops when more than {percent} % of a batch have failed."));
    }
    lines
}

fn batches_sentence(batches: &[Vec<String>], total: usize) -> String {
    let hosts = count(total, "host", "hosts");
    match batches {
        [] | [_] => format!("{hosts} in one batch."),
        many => format!("{} of {hosts}: {}.", count(many.len(), "batch", "batches"), list(&lengths(many))),
    }
}

fn lengths(batches: &[Vec<String>]) -> Vec<String> {
    batches.iter().map(|batch| batch.len().to_string()).collect()
}

fn list(items: &[String]) -> String {
    items.join(", ")
}

fn sentences(play: &Play, rollout: &Rollout, resolved: &Resolved, total: usize) -> Vec<String> {
    let max_fail = resolved.max_fail.unwrap_or(0);
    let mut lines = vec![
        batches_sentence(&resolved.batches, total),
        format!(
            "At most {} running their tasks and {} unavailable at once.",
            count(resolved.in_flight(), "host", "hosts"),
            resolved.max_unavailable
        ),
        format!("max_fail {max_fail}: stops at the {} failed host of {total}.", ordinal(max_fail + 1)),
    ];
    if let Some(limit) = rollout.max_unhealthy_upgraded {
        lines.push(unhealthy_upgraded(limit, &resolved.batches));
    }
    lines.extend(on_unreachable(rollout.on_unreachable).map(str::to_owned));
    if let Some(variable) = &rollout.failure_domain {
        lines.push(resolved.domains.sentence(variable));
    }
    if let Some(first) = resolved.batches.iter().flatten().next().filter(|_| rollout.rehearse) {
        lines.push(format!(
            "rehearse: {first} (or the first host that changes) is changed, put back, compared byte for byte, and \
             changed again before any other host."
        ));
    }
    if rollout.ramp {
        let most = resolved.in_flight();
        lines.push(format!(
            "ramp: hosts of a batch start 1, 2, 4, ... up to {most} at a time, as those before are well."
        ));
    }
    if let Some(percent) = play.max_fail_percentage {
        for (index, batch) in resolved.batches.iter().enumerate() {
            let tolerated = tolerance(Size::Percent(percent), batch.len());
            let at = ordinal(tolerated + 1);
            lines.push(format!("max_fail_percentage {percent}: batch {} stops at its {at} failed host.", index + 1));
        }
    }
    lines.push(format!(
        "A host is healthy after {} without a bad round, or has failed after {}.",
        span(rollout.min_healthy_time),
        span(rollout.healthy_deadline)
    ));
    if let Some(limit) = rollout.progress_deadline {
        let limit = span(limit);
        lines.push(format!("Aborts when no host has turned healthy for {limit}, pauses and bakes not counted."));
    }
    if !rollout.bake_time.is_zero() {
        lines.push(format!("Each batch bakes for {}.", span(rollout.bake_time)));
    }
    if rollout.promote == Promote::Manual {
        lines.push("Each next batch waits for `rollgate promote`.".to_owned());
    }
    lines.push(guarded(rollout, resolved));
    lines.extend(stop_sentences(rollout, resolved));
    lines.extend(rollout.probes.iter().map(|probe| {
        format!(
            "Probe {}{}: every {}, {} a round, {} each; sick at the {} unhealthy round running; inconclusive at the {} \
             error running{}.",
            probe.name,
            if probe.from == ProbeFrom::Controller { ", asked from the controller" } else { "" },
            span(probe.interval),
            count(probe.count as usize, "sample", "samples"),
            span(probe.timeout),
            ordinal(probe.failure_threshold as usize),
            ordinal(probe.max_consecutive_errors as usize + 1),
            if probe.mode == ProbeMode::DryRun { "; only reported" } else { "" },
        )
    }));
    // What cannot be compiled is refused before a run; here it is only not resolved.
    let policy = Policy::new(rollout).ok();
    lines.extend(rollout.triggers.iter().map(|trigger| trigger_sentence(trigger, policy.as_ref(), total)));
    lines
}

/// When a trigger acts, as a number wherever it is one: "at the 3rd consecutive failure".
fn trigger_sentence(trigger: &Trigger, policy: Option<&Policy>, total: usize) -> String {
    let scope = match trigger.scope {
        Scope::Host if total == 1 => "on the host".to_owned(),
        Scope::Host => format!("on any of {total} hosts"),
        Scope::Batch => "over the batch".to_owned(),
        Scope::Run => "over the run".to_owned(),
    };
    let act = if trigger.mode == ProbeMode::DryRun { "is only reported" } else { action(trigger.action) };
    let when = trigger.when.value.as_str().unwrap_or_default();
    let name = &trigger.name;
    let rounds = policy.and_then(|policy| policy.rounds(name)).or(trigger.for_rounds);
    let mut held = match rounds {
        Some(rounds) if rounds > 1 => format!(" in {rounds} rounds running"),
        _ => String::new(),
    };
    for probe in policy.into_iter().flat_map(|policy| policy.asks_for_all(name)) {
        let rounds = count(probe.failure_threshold as usize, "round", "rounds");
        held.push_str(&format!(" (all of {} for {rounds} running)", probe.name));
    }
    match policy.and_then(|policy| policy.fires_at(name)).filter(|_| rounds.is_none_or(|rounds| rounds <= 1)) {
        Some(at) => format!(
            "Trigger “{name}”: at the {} {} of {} {scope} ({when}), {act}.",
            ordinal(at.count as usize),
            at.what,
            at.probe
        ),
        None => format!("Trigger “{name}”: when {when}{held}, {scope}, {act}."),
    }
}

/// What stops the run, and what follows.
fn stop_sentences(rollout: &Rollout, resolved: &Resolved) -> Vec<String> {
    let mut lines =
        vec![on_failure(rollout.on_failure).to_owned(), on_inconclusive(rollout.on_inconclusive).to_owned()];
    let pauses = rollout.on_failure == OnFailure::Pause
        || rollout.on_inconclusive == OnInconclusive::Pause
        || rollout.triggers.iter().any(|trigger| trigger.action == TriggerAction::Pause);
    if pauses {
        let wait = span(rollout.pause_timeout);
        lines.push(format!("A pause that nobody answers within {wait} ends with the rollback of its batch."));
    }
    let speed = &rollout.rollback;
    let (total, at_once) = (resolved.batches.iter().map(Vec::len).sum(), resolved.rollback_parallel);
    if at_once < total {
        lines.push(format!("At most {} rolled back at once.", count(at_once, "host is", "hosts are")));
    }
    if !speed.min_healthy_time.is_zero() {
        let healthy = span(speed.min_healthy_time);
        lines.push(format!("A host counts as rolled back when it has been as healthy as before for {healthy}."));
    }
    if speed.pauses {
        lines.push("A rollback that fails pauses the rollback of the other hosts.".to_owned());
    }
    lines
}

/// What a trigger's action does, as the end of a sentence.
pub(super) fn action(action: TriggerAction) -> &'static str {
    match action {
        TriggerAction::FailHost => "the host fails and is rolled back alone",
        TriggerAction::Pause => "the run pauses",
        TriggerAction::AbortBatch => "the batch is aborted",
        TriggerAction::RollbackRun => "the run is aborted and rolled back",
    }
}

/// How hosts are guarded, and when the last of them has put itself back without us.
fn guarded(rollout: &Rollout, resolved: &Resolved) -> String {
    let guard = &rollout.guard;
    let (armed, when) = match guard.confirm {
        Confirm::None => return "No guard: what is under way when the controller dies stays as it is.".to_owned(),
        Confirm::PerHost => (resolved.in_flight(), "once it has been healthy for long enough"),
        Confirm::PerBatch => {
            (resolved.batches.iter().map(Vec::len).max().unwrap_or(0), "with its batch, after the bake")
        }
    };
    let last = guard.last_deadline(armed, resolved.max_unavailable);
    let reboot = if guard.expect_reboot {
        format!(" A host that reboots waits for {} more before it puts itself back, once.", span(guard.timeout))
    } else {
        String::new()
    };
    format!(
        "Guard: a changed host puts itself back {} after it last heard of the controller, unless it was confirmed over a \
         new connection {when}; without a controller the last one begins within {} and takes at most {}.{reboot} A host \
         without systemd has the weak form, which no reboot survives.",
        span(guard.timeout),
        span(last),
        span(guard.revert_budget)
    )
}

fn on_failure(on_failure: OnFailure) -> &'static str {
    match on_failure {
        OnFailure::RollbackBatch => "After an abort every touched host of the batch is rolled back, healthy ones too.",
        OnFailure::RollbackRun => "After an abort every touched host of the run is rolled back, latest batch first.",
        OnFailure::Pause => "After an abort nothing more starts and an operator decides what becomes of the batch.",
        OnFailure::Continue => "Failed hosts are rolled back, the rest of their batch is kept, and the run goes on.",
    }
}

fn on_unreachable(on: OnUnreachable) -> Option<&'static str> {
    match on {
        OnUnreachable::Count => None,
        OnUnreachable::Exclude => {
            Some("A host out of reach before its change is left out: it takes up max_unavailable, and is no failure.")
        }
        OnUnreachable::Abort => {
            Some("A host out of reach before its change ends the run before it changes anything more.")
        }
    }
}

/// `max_unhealthy_upgraded`: at which unhealthy host it stops, batch by batch where that differs.
fn unhealthy_upgraded(limit: Size, batches: &[Vec<String>]) -> String {
    let (shown, of) = match limit {
        Size::Count(count) => (count.to_string(), "in the run"),
        Size::Percent(percent) => (format!("{percent} %"), "of the batches begun so far"),
    };
    let mut stops: Vec<String> = Vec::new();
    let mut last = None;
    for (index, tolerated) in upgraded::tolerated(limit, batches).into_iter().enumerate() {
        if last.replace(tolerated) != Some(tolerated) {
            let from = if index == 0 { String::new() } else { format!(" from batch {} on", index + 1) };
            stops.push(format!("at the {}{from}", ordinal(tolerated + 1)));
        }
    }
    format!("max_unhealthy_upgraded {shown}: stops {} changed host {of} that is unhealthy.", stops.join(", "))
}

fn on_inconclusive(on: OnInconclusive) -> &'static str {
    match on {
        OnInconclusive::Pause => "A probe that cannot be run pauses the run.",
        OnInconclusive::Abort => "A probe that cannot be run aborts the batch.",
        OnInconclusive::Rollback => "A probe that cannot be run aborts the batch and rolls it back.",
    }
}

/// `1st`, `2nd`, `3rd`, `11th`.
pub fn ordinal(n: usize) -> String {
    let suffix = match (n % 10, n % 100) {
        (1, tens) if tens != 11 => "st",
        (2, tens) if tens != 12 => "nd",
        (3, tens) if tens != 13 => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

/// A duration as the stanza writes it: `90s`, `5m`, `1h`, `7d`, `1.5s`.
pub fn span(duration: Duration) -> String {
    let ms = duration.as_millis();
    if !ms.is_multiple_of(1000) {
        return if ms < 1000 { format!("{ms}ms") } else { format!("{:.1}s", duration.as_secs_f64()) };
    }
    let s = ms / 1000;
    match s {
        s if s >= 86_400 && s.is_multiple_of(86_400) => format!("{}d", s / 86_400),
        s if s >= 3600 && s.is_multiple_of(3600) => format!("{}h", s / 3600),
        s if s > 60 && s.is_multiple_of(60) => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// `1 host`, `3 hosts`.
pub fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", plural(n, one, many))
}

fn plural<'a>(n: usize, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_and_spans_read_as_people_write_them() {
        assert_eq!(
            [1, 2, 3, 4, 11, 12, 13, 21, 112].map(ordinal),
            ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th"]
        );
        assert_eq!(span(Duration::from_secs(30)), "30s");
        assert_eq!(span(Duration::from_secs(300)), "5m");
        assert_eq!(span(Duration::from_secs(90)), "90s");
        assert_eq!(span(Duration::from_secs(7 * 86_400)), "7d");
        assert_eq!(span(Duration::from_millis(250)), "250ms");
    }
}

//! An event as lines of text: what the plain output prints and the live view prints above its rows.

use super::{
    account::{RunFiles, account, starred, without_evidence},
    diff::painted,
    paint::{Paint, Style},
    text::{clean, one_line},
    view::RunView,
    words,
};
use crate::{
    journal::{Event, EventKind, HostState, StepId, StepInfo, StepStatus, StopCause},
    rollout::{count, span, verdict::Verdict},
};
use rollgate_agent::protocol::{Diff, GuardCause, GuardForm, Prospect, TxnStanding, WouldUndo};
use std::{collections::HashMap, fmt::Write, time::Duration};

/// What to show.
#[derive(Debug, Clone)]
pub struct LineOptions {
    /// 0: changes, failures, what stops a run. 1: every step and probe. 2: also what was skipped.
    pub verbosity: u8,
    /// Print differences (`-D`).
    pub diff: bool,
    /// Colours.
    pub paint: Paint,
    /// Where the run's files are, for the account.
    pub files: Option<RunFiles>,
}

/// Turns events into lines.
pub struct Lines {
    options: LineOptions,
    view: RunView,
    /// When it was last said how far the step of a host has come.
    told: HashMap<String, u64>,
}

/// How often that is said, in milliseconds.
const TOLD_EVERY: u64 = 60_000;

impl Lines {
    /// Lines of a run from its first event.
    pub fn new(options: LineOptions) -> Self {
        Self { options, view: RunView::default(), told: HashMap::new() }
    }

    /// The view so far.
    pub fn view(&self) -> &RunView {
        &self.view
    }

    /// The lines of one event, each ended; often none.
    pub fn event(&mut self, event: &Event) -> String {
        // What a step is, and what a probe said before, is known only before the event is folded in.
        let text = self.before(event);
        self.view.apply(event);
        text + &self.progress(event) + &self.after(event)
    }

    /// How far a step has come that takes minutes.
    fn progress(&mut self, event: &Event) -> String {
        let EventKind::StepProgress { id, work } = &event.kind else { return String::new() };
        let current = self.view.hosts.get(&id.host).and_then(|host| host.current.as_ref());
        let Some((_, _, info, since)) = current else { return String::new() };
        let last = self.told.get(&id.host).copied().unwrap_or_default().max(*since);
        if event.elapsed_ms.saturating_sub(last) < TOLD_EVERY {
            return String::new();
        }
        self.told.insert(id.host.clone(), event.elapsed_ms);
        let (host, task) = (one_line(&id.host), one_line(&info.task));
        format!("{}\n", self.paint(Style::Dim, &format!("going on: [{host}] {task}: {}", words::progress(work))))
    }

    fn paint(&self, style: Style, text: &str) -> String {
        self.options.paint.paint(style, text)
    }

    fn before(&self, event: &Event) -> String {
        match &event.kind {
            EventKind::StepResult { id, status, diff, message, warnings, took_ms } => {
                let step = self.view.hosts.get(&id.host).and_then(|host| host.current.as_ref());
                let info =
                    step.filter(|(play, seq, ..)| (*play, *seq) == (id.play, id.seq)).map(|(_, _, info, _)| info);
                let mut text = self.step(id, info, *status, message.as_deref(), *took_ms);
                for undo in info.iter().flat_map(|info| &info.undo) {
                    text.push_str(&format!("  undo: {}\n", one_line(undo)));
                }
                if self.options.diff {
                    diff.iter().for_each(|diff| text.push_str(&self.diff(diff)));
                }
                for warning in warnings {
                    text.push_str(&self.warning(Some(&id.host), warning));
                }
                text
            }
            EventKind::StepSkipped { id, task, reason } if self.options.verbosity >= 2 => {
                let line = format!("skipping: [{}] {}: {}\n", one_line(&id.host), one_line(task), one_line(reason));
                self.paint(Style::Dim, &line)
            }
            EventKind::Probed { host, probe, verdict, evidence, .. } => {
                let before = self.view.hosts.get(host).and_then(|view| view.probes.get(probe)).copied();
                let news = before.unwrap_or(Verdict::Healthy) != *verdict;
                if !news && self.options.verbosity == 0 {
                    return String::new();
                }
                let style = if *verdict == Verdict::Healthy { Style::Good } else { Style::Warn };
                let detail = if evidence.detail.is_empty() {
                    String::new()
                } else {
                    format!(": {}", one_line(&evidence.detail))
                };
                let (host, probe) = (one_line(host), one_line(probe));
                format!("{}\n", self.paint(style, &format!("probe: [{host}] {probe} is {}{detail}", verdict.word())))
            }
            _ => String::new(),
        }
    }

    fn step(
        &self,
        id: &StepId,
        info: Option<&StepInfo>,
        status: StepStatus,
        message: Option<&str>,
        took: u64,
    ) -> String {
        let again = words::is_tried_again(status, message);
        let (word, style, least) = match status {
            StepStatus::Ignored if again => ("retrying", Style::Warn, 0),
            StepStatus::Changed => ("changed", Style::Changed, 0),
            StepStatus::Failed => ("failed", Style::Bad, 0),
            StepStatus::Ignored => ("ignored", Style::Warn, 0),
            StepStatus::Unreachable => ("unreachable", Style::Bad, 0),
            StepStatus::Unknown => ("unknown", Style::Warn, 0),
            StepStatus::Ok => ("ok", Style::Good, 1),
            StepStatus::Skipped => ("skipping", Style::Dim, 2),
        };
        // What an assertion says by itself when it holds is no news.
        let says = info.is_some_and(|info| match info.module.as_str() {
            "debug" => true,
            "assert" => message != Some("All assertions passed"),
            _ => false,
        });
        if self.options.verbosity < least && !(says && message.is_some() && status == StepStatus::Ok) {
            return String::new();
        }
        let handler = if info.is_some_and(|info| info.handler) { "handler " } else { "" };
        let task = info.map_or_else(String::new, |info| one_line(&info.task));
        let item = info
            .and_then(|info| info.item.as_deref())
            .map_or_else(String::new, |item| format!(" (item={})", one_line(item)));
        let slow = if self.options.verbosity > 0 { format!(" in {}", words::took(took)) } else { String::new() };
        let bad = matches!(status, StepStatus::Failed | StepStatus::Ignored | StepStatus::Unreachable);
        let place = info
            .filter(|_| bad || self.options.verbosity >= 2)
            .map_or_else(String::new, |info| format!(" at {}", info.place));
        let head = format!("{word}: [{}] {handler}{task}{item}{place}{slow}", one_line(&id.host));
        let mut text = format!("{}\n", self.paint(style, &head));
        if let Some(message) = message.filter(|_| bad || says || self.options.verbosity > 0) {
            for line in clean(message).lines() {
                let _ = writeln!(text, "    {line}");
            }
        }
        text
    }

    fn diff(&self, diff: &Diff) -> String {
        painted(diff, self.options.paint, "    ")
    }

    fn warning(&self, host: Option<&str>, message: &str) -> String {
        let host = host.map_or_else(String::new, |host| format!("[{}] ", one_line(host)));
        format!("{}\n", self.paint(Style::Warn, &format!("[WARNING]: {host}{}", one_line(message))))
    }

    fn after(&self, event: &Event) -> String {
        let clock = event.at.strftime("%H:%M:%SZ");
        match &event.kind {
            EventKind::RunStarted { run, playbook, check, .. } => {
                let mode = if *check { ", check mode: nothing is changed" } else { "" };
                let line = format!(
                    "Run {} of {} at {}{mode}.",
                    one_line(run),
                    one_line(playbook),
                    event.at.strftime("%FT%TZ")
                );
                format!("{}\n", self.paint(Style::Dim, &line))
            }
            EventKind::PlayStarted { name, batches, resolved, rollout, .. } => {
                let hosts = batches.iter().map(Vec::len).sum();
                let mut text =
                    format!("\n{}\n", self.paint(Style::Strong, &starred(&format!("PLAY [{}]", one_line(name)))));
                let shown = if self.options.verbosity > 0 { resolved.len() } else { usize::from(*rollout) * 3 };
                if resolved.is_empty() || shown == 0 {
                    let _ = writeln!(text, "{}.", count(hosts, "host", "hosts"));
                }
                for line in resolved.iter().take(shown) {
                    let _ = writeln!(text, "{}", one_line(line));
                }
                text
            }
            EventKind::BatchStarted { play, batch, hosts } => {
                let of = self.view.plays.iter().find(|view| view.index == *play).map_or(0, |view| view.batches.len());
                if of < 2 {
                    return String::new();
                }
                let head = format!("BATCH {}/{of}", batch + 1);
                format!("\n{} at {clock}: {}\n", self.paint(Style::Strong, &head), words::some(hosts, 8))
            }
            EventKind::BakeStarted { batch, bake_ms, .. } => {
                let head = format!("BAKE of batch {}", batch + 1);
                format!(
                    "{} at {clock}: for {}\n",
                    self.paint(Style::Strong, &head),
                    span(Duration::from_millis(*bake_ms))
                )
            }
            EventKind::BatchEnded { play, batch, outcome } => {
                let play = self.view.plays.iter().find(|view| view.index == *play);
                if play.is_none_or(|play| play.batches.len() < 2 && !play.rollout) {
                    return String::new();
                }
                let style = if outcome == "aborted" { Style::Bad } else { Style::Strong };
                let head = format!("BATCH {} {}", batch + 1, one_line(outcome));
                if outcome == "aborted" || self.options.verbosity > 0 {
                    format!("{} at {clock}\n", self.paint(style, &head))
                } else {
                    String::new()
                }
            }
            EventKind::HostConnected { host, clock_skew_ms, .. } if self.options.verbosity > 0 => {
                format!("connected: [{}], its clock is {clock_skew_ms} ms off\n", one_line(host))
            }
            EventKind::HostChanged { host, state, reason, .. } => self.host(host, *state, reason.as_deref()),
            EventKind::RollbackStep { host, step } if self.options.verbosity > 0 || step.failed.is_some() => {
                let failed = step.failed.as_deref().map_or_else(String::new, |why| format!(": {}", one_line(why)));
                format!("undo: [{}] {}{failed}\n", one_line(host), one_line(&step.what))
            }
            EventKind::RollbackResult { host, compared, different, failed, no_op, took_ms, .. } => {
                let mut text = self.rolled_back(host, *compared, failed.as_deref(), *no_op, *took_ms);
                for difference in different {
                    let _ = writeln!(text, "    {}", one_line(difference));
                }
                text
            }
            EventKind::GuardArmed { host, timeout_ms, delay_ms, form, .. } if self.options.verbosity > 0 => {
                guard_armed(host, Duration::from_millis(*timeout_ms), Duration::from_millis(*delay_ms), *form)
            }
            EventKind::ConfirmResult { host, refused, .. } => match refused {
                None if self.options.verbosity == 0 => String::new(),
                None => format!("confirm: [{}] its change is kept\n", one_line(host)),
                Some(why) => {
                    let text = format!("confirm: [{}] refused: {}", one_line(host), one_line(why));
                    format!("{}\n", self.paint(Style::Bad, &text))
                }
            },
            EventKind::GuardFired { host, cause, failed, .. } => {
                let (style, text) = guard_fired(host, *cause, failed.as_deref());
                format!("{}\n", self.paint(style, &text))
            }
            EventKind::RollbackPreviewed { host, txn, standing, would } => {
                would_undo(&one_line(host), &one_line(txn), *standing, would)
            }
            EventKind::RollbackPlanned { host, tasks, .. } => {
                let line = |task: &String| format!("on rollback: [{}] {}\n", one_line(host), one_line(task));
                tasks.iter().map(line).collect()
            }
            EventKind::RehearsalStarted { host, .. } => {
                let head = format!("REHEARSAL on {}", one_line(host));
                let text = "healthy with its change; it is put back now to see that this works";
                format!("{} at {clock}: {text}\n", self.paint(Style::Strong, &head))
            }
            EventKind::Rehearsed { host, failed, .. } => {
                let (style, what) = match failed {
                    Some(why) => (Style::Bad, format!("failed: {}", one_line(why))),
                    None => (Style::Good, "as before; it is changed again".to_owned()),
                };
                format!("{}\n", self.paint(style, &format!("rehearsal: [{}] {what}", one_line(host))))
            }
            EventKind::Warning { host, message } => self.warning(host.as_deref(), message),
            EventKind::RunEnded { .. } => account(&self.view, self.options.files.as_ref(), self.options.paint),
            _ => self.stop(event),
        }
    }

    fn rolled_back(&self, host: &str, compared: u64, failed: Option<&str>, no_op: bool, took_ms: u64) -> String {
        let (style, what) = match failed {
            Some(why) => (Style::Bad, format!("could not be put back: {}", one_line(why))),
            None if no_op => (Style::Good, "had nothing to put back".to_owned()),
            None => {
                let objects = count(usize::try_from(compared).unwrap_or(usize::MAX), "object", "objects");
                (Style::Good, format!("is as before: {objects} compared, in {}", words::took(took_ms)))
            }
        };
        format!("{}\n", self.paint(style, &format!("rollback: [{}] {what}", one_line(host))))
    }

    fn host(&self, host: &str, state: HostState, reason: Option<&str>) -> String {
        let (style, least) = match state {
            HostState::Failed | HostState::RollbackFailed | HostState::Unknown => (Style::Bad, 0),
            HostState::RollingBack | HostState::RolledBack => (Style::Warn, 0),
            HostState::NeverStarted if reason.is_some() => (Style::Warn, 0),
            HostState::Healthy => (Style::Good, 0),
            _ => (Style::Dim, 1),
        };
        // The step that failed has said it already.
        let failed = matches!(state, HostState::Failed | HostState::NeverStarted);
        let told = failed && self.view.hosts.get(host).is_some_and(|view| view.failure.is_some());
        if self.options.verbosity < least || (told && self.options.verbosity == 0) {
            return String::new();
        }
        // Why it is rolled back was said when that began.
        let reason = reason.filter(|_| state != HostState::RolledBack);
        let told = |reason: &str| without_evidence(&self.view, &one_line(reason), false);
        let why = reason.map_or_else(String::new, |reason| format!(": {}", told(reason)));
        format!("{}\n", self.paint(style, &format!("host: [{}] {}{why}", one_line(host), words::state(state))))
    }

    fn stop(&self, event: &Event) -> String {
        let clock = event.at.strftime("%H:%M:%SZ");
        let (style, head, text) = match &event.kind {
            EventKind::TriggerFired { trigger, host, evidence, action, dry_run, .. } => {
                let host = host.as_deref().map_or_else(String::new, |host| format!(" on {}", one_line(host)));
                let then = if *dry_run { "only reported".to_owned() } else { words::then(action) };
                (
                    Style::Bad,
                    format!("TRIGGER [{}]{host}", one_line(trigger)),
                    format!("{} → {then}", one_line(evidence)),
                )
            }
            EventKind::Aborted { cause, evidence, then } => {
                // The trigger's own line has just said it.
                let said = evidence.is_empty() || matches!(cause, StopCause::Trigger { .. });
                let evidence = one_line(evidence);
                let evidence = if said { String::new() } else { format!(": {}", evidence.trim_end_matches('.')) };
                let text = format!("{}{evidence} → {}", words::cause(cause), words::then(then));
                (Style::Bad, "ABORTED".to_owned(), text)
            }
            EventKind::Paused { cause } => (Style::Warn, "PAUSED".to_owned(), self.paused(cause)),
            EventKind::Waits { what, timeout_ms, then, armed, guards_ms, .. } => {
                let text = words::waits(what, self.run_id());
                let guards = guards_ms.map(|ms| (*armed, ms));
                let text = format!("{text}{}", words::unanswered(*timeout_ms, then, guards));
                (Style::Warn, "WAITS".to_owned(), text)
            }
            EventKind::Promoted { cause } => (Style::Strong, "PROMOTED".to_owned(), words::cause(cause)),
            EventKind::Resumed { cause } => (Style::Strong, "RESUMED".to_owned(), words::cause(cause)),
            EventKind::Killed { cause } => (Style::Bad, "KILLED".to_owned(), words::cause(cause)),
            _ => return String::new(),
        };
        format!("{} at {clock}: {text}\n", self.paint(style, &head))
    }

    fn run_id(&self) -> &str {
        self.view.head.as_ref().map_or("RUN", |head| head.run.as_str())
    }

    fn paused(&self, cause: &StopCause) -> String {
        let cause_of = words::cause(cause);
        if matches!(cause, StopCause::Environment | StopCause::Rollback { .. }) {
            return format!("{cause_of}; no further host is rolled back");
        }
        let run = one_line(self.run_id());
        format!(
            "{cause_of}; no new host starts, those in flight finish. `rollgate resume {run}` goes on, \
             `rollgate abort {run}` ends the run"
        )
    }
}

fn guard_armed(host: &str, timeout: Duration, delay: Duration, form: GuardForm) -> String {
    let form = match form {
        GuardForm::Systemd => "a systemd unit",
        GuardForm::Process => "a process, the weak form",
    };
    let wait = if delay.is_zero() { String::new() } else { format!(" and its slot's {}", span(delay)) };
    format!("guard: [{}] armed for {}{wait} by {form}\n", one_line(host), span(timeout))
}

fn guard_fired(host: &str, cause: GuardCause, failed: Option<&str>) -> (Style, String) {
    let because = match cause {
        GuardCause::Deadline => "its deadline passed",
        GuardCause::Reboot => "it was booted",
        GuardCause::Cancelled => "it was told to",
        GuardCause::Operator => "an operator said so on the host",
    };
    let host = one_line(host);
    match failed {
        None => (Style::Warn, format!("guard: [{host}] it has put itself back: {because}")),
        Some(why) => {
            (Style::Bad, format!("guard: [{host}] it could not put itself back ({because}): {}", one_line(why)))
        }
    }
}

/// What undoing a transaction would do, a line each.
fn would_undo(host: &str, txn: &str, standing: TxnStanding, would: &[WouldUndo]) -> String {
    let head = match standing {
        TxnStanding::Gone => "there is no undo record",
        TxnStanding::Reverted => "it has been rolled back already",
        TxnStanding::Open | TxnStanding::Kept | TxnStanding::Reverting if would.is_empty() => "nothing to put back",
        TxnStanding::Open => "its change is neither kept nor undone",
        TxnStanding::Kept => "its change is kept",
        TxnStanding::Reverting => "its rollback was begun and has not ended",
    };
    let mut text = format!("would undo: [{host}] transaction {txn}: {head}\n");
    for part in would {
        let what = one_line(&part.what);
        let _ = match part.prospect {
            Prospect::Restore => {
                let (before, found) = (one_line(&part.before), one_line(&part.found));
                writeln!(text, "    put back {what}: was {before}, is {found}")
            }
            Prospect::AsBefore => writeln!(text, "    leave {what}: it is as before"),
            Prospect::Drifted => {
                writeln!(text, "    keep {what}: changed by somebody else since ({})", one_line(&part.found))
            }
            Prospect::Run => writeln!(text, "    run {what}"),
        };
    }
    text
}

//! The final account: Ansible's recap, every host in exactly one state, why the run stopped, and what to do next.

use super::{
    paint::{Paint, Style},
    text::one_line,
    view::{HostView, RunView},
    words,
};
use crate::{
    journal::{HostState, StopCause},
    rollout::count,
};
use std::{fmt::Write, path::PathBuf};

/// Where a run's files are, for the account to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFiles {
    /// The journal.
    pub journal: PathBuf,
    /// The HTML report.
    pub report: PathBuf,
}

/// `PLAY RECAP` as Ansible prints it: scripts look for `ok=`, `changed=` and the others.
fn recap(view: &RunView, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.paint(Style::Strong, &starred("PLAY RECAP")));
    for name in &view.order {
        let Some(host) = view.hosts.get(name) else { continue };
        let recap = host.recap;
        let style = style(host.state);
        let padded = format!("{:<26}", one_line(name));
        let _ = writeln!(
            text,
            "{} : ok={:<4} changed={:<4} unreachable={:<4} failed={:<4} skipped={:<4} rescued={:<4} ignored={:<4}",
            paint.paint(style, &padded),
            recap.ok,
            recap.changed,
            recap.unreachable,
            recap.failed,
            recap.skipped,
            recap.rescued,
            recap.ignored
        );
    }
    text
}

/// A heading filled with stars to 79 columns, as Ansible does.
pub fn starred(heading: &str) -> String {
    let stars = 78_usize.saturating_sub(heading.chars().count()).max(3);
    format!("{heading} {}", "*".repeat(stars))
}

fn style(state: HostState) -> Style {
    match state {
        HostState::Unchanged => Style::Good,
        HostState::Changed => Style::Changed,
        HostState::RolledBack | HostState::NeverStarted => Style::Warn,
        HostState::Failed | HostState::RollbackFailed | HostState::Unknown => Style::Bad,
        _ => Style::Dim,
    }
}

/// The whole account, from the recap to where the report is.
pub fn account(view: &RunView, files: Option<&RunFiles>, paint: Paint) -> String {
    let mut text = format!("\n{}\n", recap(view, paint));
    let check = view.head.as_ref().is_some_and(|head| head.check);
    let _ = writeln!(text, "{}", paint.paint(Style::Strong, &headline(view, check)));
    for state in words::FINAL {
        text.push_str(&hosts_in(view, state, check, paint));
    }
    if let Some(why) = why(view) {
        let _ = writeln!(text, "Why: {why}");
    }
    for next in next(view) {
        let _ = writeln!(text, "Next: {next}");
    }
    if let Some(files) = files {
        let _ = writeln!(text, "Journal: {}", files.journal.display());
        let _ = writeln!(text, "Report: {}", files.report.display());
    }
    text
}

/// `Run … took 12 s and ended with exit code 2: 1 failed, 2 changed of 3 hosts.`
fn headline(view: &RunView, check: bool) -> String {
    let counts: Vec<String> = words::FINAL
        .iter()
        .map(|state| (view.in_state(*state).len(), word(*state, check)))
        .filter(|(hosts, _)| *hosts > 0)
        .map(|(hosts, word)| format!("{hosts} {word}"))
        .collect();
    let run = view.head.as_ref().map_or("?", |head| head.run.as_str());
    let of = count(view.order.len(), "host", "hosts");
    let counts =
        if counts.is_empty() { "no host took part".to_owned() } else { format!("{} of {of}", counts.join(", ")) };
    match view.exit_code {
        Some(code) => {
            format!("Run {run} ended with exit code {code} after {}: {counts}.", words::took(view.elapsed_ms))
        }
        None => format!("Run {run} has not ended; its journal ends after {}.", words::took(view.elapsed_ms)),
    }
}

/// A state's word; in check mode nothing was changed.
fn word(state: HostState, check: bool) -> &'static str {
    if check && state == HostState::Changed { "would change" } else { words::state(state) }
}

/// Hosts of a state: those with a reason on a line each, the others on one.
fn hosts_in(view: &RunView, state: HostState, check: bool, paint: Paint) -> String {
    let label = |text: &str| paint.paint(style(state), &format!("  {text:<16}"));
    let mut text = String::new();
    let mut plain = Vec::new();
    for name in view.in_state(state) {
        let Some(host) = view.hosts.get(name) else { continue };
        match reason(host).map(|reason| without_evidence(view, &reason, true)) {
            Some(reason) => {
                let _ = writeln!(text, "{}{}: {reason}", label(word(state, check)), one_line(name));
            }
            None => plain.push(one_line(name)),
        }
    }
    if !plain.is_empty() {
        let _ = writeln!(text, "{}{}", label(word(state, check)), plain.join(", "));
    }
    text
}

/// Characters of a message by which it is known again in a reason.
const HEAD: usize = 100;

/// Why a host is in its state: the reason given, and the task that failed. What is in both is said once.
pub(super) fn reason(host: &HostView) -> Option<String> {
    let done = matches!(host.state, HostState::Changed | HostState::Unchanged);
    let reason = host.reason.as_deref().map(one_line);
    let task = host.failure.as_ref().filter(|_| !done).map(|(task, place, message)| {
        let at = if place.is_empty() { String::new() } else { format!(" ({place})") };
        // A reason has the beginning of what the task says, and of much that it says no more.
        let head: String = message.lines().next().unwrap_or_default().chars().take(HEAD).collect();
        let said = reason.as_ref().is_some_and(|reason| reason.contains(&one_line(&head)));
        if said { format!("at {}{at}", one_line(task)) } else { format!("{}{at}: {}", one_line(task), short(message)) }
    });
    let rollback = host.rollback.as_ref().and_then(|rollback| rollback.failed.as_deref()).map(one_line);
    let rollback = rollback.filter(|why| reason.as_ref().is_none_or(|reason| !reason.contains(why)));
    let parts: Vec<String> = [reason, task, rollback].into_iter().flatten().filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// A reason without the evidence of a trigger that is told elsewhere: in the line of the trigger or, where only why the
/// run stopped is told beside it, there.
pub(super) fn without_evidence(view: &RunView, reason: &str, in_account: bool) -> String {
    let told = |evidence: &str| !in_account || view.stopped().is_some_and(|stop| stop.evidence == evidence);
    let mut reason = reason.to_owned();
    for trigger in view.triggers.iter().filter(|trigger| told(&trigger.evidence)) {
        let (name, evidence) = (one_line(&trigger.name), one_line(&trigger.evidence));
        reason = reason.replace(&format!("trigger '{name}': {evidence}"), &format!("trigger “{name}” fired"));
    }
    reason
}

/// The first 200 characters of a message, on one line.
fn short(message: &str) -> String {
    let line = one_line(message);
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// Why the run stopped, a sentence; none if it went to its end.
pub fn why(view: &RunView) -> Option<String> {
    let stop = view.stopped()?;
    let mut sentence = format!("The run was {} because {}", stop.what, words::cause(&stop.cause));
    if !stop.evidence.is_empty() {
        sentence.push_str(": ");
        sentence.push_str(&one_line(&stop.evidence));
    }
    let mut sentence = words::ended(&sentence);
    if !stop.then.is_empty() {
        sentence.push_str(&format!(" Then: {}.", words::then(&stop.then)));
    }
    Some(sentence)
}

/// What to do next, a sentence a kind of trouble.
pub fn next(view: &RunView) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(head) = &view.head else { return lines };
    let unknown = view.in_state(HostState::Unknown);
    if !unknown.is_empty() {
        lines.push(format!(
            "get {} back within reach and look at it before anything else runs there: nobody knows what its last step \
             did. Its undo record is below /var/lib/rollgate/txn{}.",
            words::some(&unknown, 5),
            txns(view, &unknown)
        ));
    }
    let failed = view.in_state(HostState::RollbackFailed);
    if !failed.is_empty() {
        lines.push(format!(
            "put {} right by hand: the pre-images are below /var/lib/rollgate/txn{}, what differs is above and in the \
             report.",
            words::some(&failed, 5),
            txns(view, &failed)
        ));
    }
    if view.exit_code.is_some() && view.stops.last().is_some_and(|stop| stop.what == "paused") {
        lines.push(
            "the run ended while it was paused: hosts already changed keep their change. Clear up why it paused, then \
             run the playbook again."
                .to_owned(),
        );
    }
    if head.command == "rollback" {
        return lines;
    }
    let failed = view.in_state(HostState::Failed);
    let back = view.in_state(HostState::RolledBack);
    let never = view.in_state(HostState::NeverStarted);
    let by_operator =
        view.stopped().is_some_and(|stop| matches!(stop.cause, StopCause::Signal { .. } | StopCause::Operator { .. }));
    if by_operator && failed.is_empty() {
        lines.push("run the playbook again when you are ready: hosts already done stay unchanged.".to_owned());
    } else if !failed.is_empty() || !back.is_empty() {
        lines.push("mend what failed, then run the playbook again: hosts already done stay unchanged.".to_owned());
    } else if !never.is_empty() {
        let names = if never.len() <= 20 { format!(" -l {}", never.join(",")) } else { String::new() };
        lines.push(format!("run the rest once it is in reach: rollgate run{names} {}", one_line(&head.playbook)));
    }
    lines
}

/// `/<id>` of the hosts' transactions, where there are few.
fn txns(view: &RunView, hosts: &[&str]) -> String {
    let ids: Vec<&str> =
        hosts.iter().filter_map(|host| view.hosts.get(*host)?.txns.last()).map(String::as_str).collect();
    match ids.as_slice() {
        [] => String::new(),
        [one] => format!("/{one}"),
        many => format!("/ ({})", words::some(many, 5)),
    }
}

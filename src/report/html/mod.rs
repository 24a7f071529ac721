//! The HTML report: one file, no scripts, nothing loaded from elsewhere. Text of hosts is escaped (architecture.md S13).

mod hosts;
mod timeline;

use super::{account, text::html, view::RunView, words};
use crate::{journal::HostState, rollout::count};
use base64::Engine as _;
use sha2::{Digest, Sha256};
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// The report of a run, from a detailed view of its events.
pub fn report(view: &RunView) -> String {
    let run = view.head.as_ref().map_or("?", |head| head.run.as_str());
    // Only this very style is allowed; scripts, images, frames and connections are not.
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>rollgate run {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        html(run)
    );
    page.push_str(&head(view));
    page.push_str(&stops(view));
    page.push_str(&accounts(view));
    page.push_str("<h2>Timeline</h2>\n");
    page.push_str(&timeline::timeline(view));
    page.push_str(&plays(view));
    page.push_str(&warnings(view));
    page.push_str("<h2>Hosts</h2>\n");
    for name in &view.order {
        if let Some(host) = view.hosts.get(name) {
            page.push_str(&hosts::host(name, host));
        }
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn head(view: &RunView) -> String {
    let Some(head) = &view.head else { return String::new() };
    let mut text = format!("<h1>{} {}</h1>\n<p class=\"lead\">", html(&head.command), html(&head.playbook));
    let _ = write!(
        text,
        "run {} · inventory {} · by {} · rollgate {} · began {} · {}",
        html(&head.run),
        html(&head.inventory.join(", ")),
        html(&head.user),
        html(&head.version),
        head.at.strftime("%F %T UTC"),
        if head.check { "check mode, nothing was changed · " } else { "" },
    );
    let _ = match view.exit_code {
        Some(code) => write!(text, "took {} · exit code {code}", words::took(view.elapsed_ms)),
        None => write!(text, "has not ended"),
    };
    text + "</p>\n"
}

fn stops(view: &RunView) -> String {
    let mut text = String::new();
    if let Some(why) = account::why(view) {
        let _ = writeln!(text, "<div class=\"box\"><b>Why it stopped.</b> {}</div>", html(&why));
    }
    for next in account::next(view) {
        let _ = writeln!(text, "<div class=\"box note\"><b>Next.</b> {}</div>", html(&next));
    }
    for rehearsal in &view.rehearsals {
        let class = if rehearsal.failed.is_some() { "box" } else { "box note" };
        let _ = writeln!(text, "<div class=\"{class}\"><b>Backout.</b> {}</div>", html(&words::rehearsal(rehearsal)));
    }
    if view.triggers.is_empty() {
        return text;
    }
    text.push_str(
        "<h2>Triggers that fired</h2>\n<table><tr><th>When<th>Trigger<th>Host<th>Condition<th>Evidence<th>Then</tr>\n",
    );
    for trigger in &view.triggers {
        let then = if trigger.dry_run { "only reported".to_owned() } else { words::then(&trigger.action) };
        let _ = writeln!(
            text,
            "<tr><td>{}<td>{}<td>{}<td><code>{}</code><td>{}<td>{}</tr>",
            trigger.at.strftime("%T"),
            html(&trigger.name),
            html(trigger.host.as_deref().unwrap_or("all of the scope")),
            html(&trigger.when),
            html(&trigger.evidence),
            html(&then),
        );
    }
    text + "</table>\n"
}

fn accounts(view: &RunView) -> String {
    let mut text = String::from("<h2>Final account</h2>\n<p>");
    let counts: Vec<String> = words::FINAL
        .iter()
        .map(|state| (*state, view.in_state(*state).len()))
        .filter(|(_, hosts)| *hosts > 0)
        .map(|(state, hosts)| format!("<span class=\"{}\">{hosts} {}</span>", class(state), words::state(state)))
        .collect();
    let _ = write!(text, "{} of {}</p>\n<table>", counts.join(", "), count(view.order.len(), "host", "hosts"));
    text.push_str("<tr><th>Host<th>State<th>Why<th>ok<th>changed<th>failed<th>skipped</tr>\n");
    for state in words::FINAL {
        for name in view.in_state(state) {
            let Some(host) = view.hosts.get(name) else { continue };
            let _ = writeln!(
                text,
                "<tr><td><a href=\"#{0}\">{1}</a><td class=\"state {2}\">{3}<td>{4}<td class=\"n\">{5}<td class=\"n\">{6}\
                 <td class=\"n\">{7}<td class=\"n\">{8}</tr>",
                anchor(name),
                html(name),
                class(state),
                words::state(state),
                html(&account::reason(host).unwrap_or_default()),
                host.recap.ok,
                host.recap.changed,
                host.recap.failed + host.recap.unreachable,
                host.recap.skipped,
            );
        }
    }
    text + "</table>\n"
}

fn plays(view: &RunView) -> String {
    let mut text = String::new();
    for play in &view.plays {
        let _ = writeln!(text, "<h2>Play: {}</h2>", html(&play.name));
        if !play.resolved.is_empty() {
            text.push_str("<ul>\n");
            play.resolved.iter().for_each(|line| text.push_str(&format!("<li>{}\n", html(line))));
            text.push_str("</ul>\n");
        }
        if play.batches.len() > 1 {
            text.push_str("<table><tr><th>Batch<th>Outcome<th>Hosts</tr>\n");
            for (index, batch) in play.batches.iter().enumerate() {
                let outcome = match &batch.state {
                    super::view::BatchState::Waiting => "not begun",
                    super::view::BatchState::Running => "running",
                    super::view::BatchState::Baking { .. } => "baking",
                    super::view::BatchState::Ended(outcome) => outcome,
                };
                let hosts = html(&batch.hosts.join(", "));
                let _ = writeln!(text, "<tr><td>{}<td>{}<td>{hosts}</tr>", index + 1, html(outcome));
            }
            text.push_str("</table>\n");
        }
    }
    text
}

fn warnings(view: &RunView) -> String {
    if view.warnings.is_empty() {
        return String::new();
    }
    let mut text = String::from("<h2>Warnings</h2>\n<ul>\n");
    for (host, message) in &view.warnings {
        let host = host.as_deref().map_or_else(String::new, |host| format!("<b>{}</b>: ", html(host)));
        let _ = writeln!(text, "<li>{host}{}", html(message));
    }
    text + "</ul>\n"
}

/// A state as a class name: the word of the event format.
fn class(state: HostState) -> String {
    serde_json::to_value(state).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// An id for links that no host name can break.
fn anchor(host: &str) -> String {
    let hex: String = host.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("h{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Event, EventKind, FinalHost, Recap, StepId, StepInfo, StepStatus, StopCause};
    use rollgate_agent::protocol::Diff;

    const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=y>\u{1b}[2J";

    fn events() -> Vec<Event> {
        let hostile = || HOSTILE.to_owned();
        let id = StepId { play: 0, host: hostile(), seq: 1 };
        let info = StepInfo {
            task: hostile(),
            module: "copy".to_owned(),
            place: hostile(),
            item: Some(hostile()),
            attempt: 1,
            handler: false,
            mutating: true,
            digest: String::new(),
            undo: Vec::new(),
        };
        let diff = vec![Diff { object: hostile(), before: hostile(), after: hostile() + "\nx" }];
        let kinds = vec![
            EventKind::PlayStarted {
                play: 0,
                name: hostile(),
                batches: vec![vec![hostile()], vec!["b".to_owned()]],
                rollout: true,
                resolved: vec![hostile()],
            },
            EventKind::StepIntent { id: id.clone(), info },
            EventKind::StepResult {
                id,
                status: StepStatus::Failed,
                diff,
                message: Some(hostile()),
                warnings: vec![hostile()],
                took_ms: 5,
            },
            EventKind::Warning { host: Some(hostile()), message: hostile() },
            EventKind::TriggerFired {
                play: 0,
                trigger: hostile(),
                host: Some(hostile()),
                when: hostile(),
                evidence: hostile(),
                action: hostile(),
                dry_run: false,
            },
            EventKind::Aborted {
                cause: StopCause::Trigger { trigger: hostile(), host: None },
                evidence: hostile(),
                then: hostile(),
            },
            EventKind::RunEnded {
                exit_code: 2,
                hosts: vec![FinalHost {
                    host: hostile(),
                    state: HostState::Failed,
                    reason: Some(hostile()),
                    recap: Recap::default(),
                }],
            },
        ];
        let numbered = kinds.into_iter().zip(1..);
        numbered.map(|(kind, seq)| Event { seq, at: jiff::Timestamp::UNIX_EPOCH, elapsed_ms: seq, kind }).collect()
    }

    #[test]
    fn what_hosts_say_is_never_markup() {
        let page = report(&RunView::of(&events()));
        assert!(page.contains("&lt;script&gt;alert(1)"), "it is shown");
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains('\u{1b}'), "but as text");
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn the_account_names_every_host_and_its_state() {
        let page = report(&RunView::of(&events()));
        assert!(page.contains("1 failed"));
        assert!(page.contains("Why it stopped."));
    }
}

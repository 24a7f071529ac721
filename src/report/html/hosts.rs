//! One host: its steps that did something, its probes, its rollback.

use super::{anchor, class, html};
use crate::{
    journal::StepStatus,
    report::{
        diff::unified,
        view::{HostView, RollbackView, StepView},
        words,
    },
    rollout::{count, verdict::Verdict},
};
use rollgate_agent::protocol::Diff;
use std::fmt::Write;

/// Most probe rounds listed a host, the latest; verdicts that differ from the one before are always listed.
const ROUNDS: usize = 60;

/// The section of a host.
pub(super) fn host(name: &str, host: &HostView) -> String {
    let open =
        if matches!(class(host.state).as_str(), "unchanged" | "changed" | "never_started") { "" } else { " open" };
    let mut text = format!(
        "<details id=\"{}\"{open}><summary><b>{}</b> <span class=\"state {}\">{}</span> <small>{} ok, {} changed, {} skipped</small></summary>\n",
        anchor(name),
        html(name),
        class(host.state),
        words::state(host.state),
        host.recap.ok,
        host.recap.changed,
        host.recap.skipped,
    );
    let shown: Vec<&StepView> = host.steps.iter().filter(|step| !quiet(step)).collect();
    if !shown.is_empty() {
        text.push_str("<table><tr><th>At<th>Task<th>Result<th>Took</tr>\n");
        shown.iter().for_each(|step| text.push_str(&self::step(step)));
        text.push_str("</table>\n");
    }
    text.push_str(&rounds(host));
    if let Some(rollback) = &host.rollback {
        text.push_str(&self::rollback(rollback));
    }
    text + "</details>\n"
}

/// Steps that did nothing and say nothing.
fn quiet(step: &StepView) -> bool {
    matches!(step.status, StepStatus::Ok | StepStatus::Skipped) && step.diff.is_empty() && step.warnings.is_empty()
}

fn step(step: &StepView) -> String {
    let status = match step.status {
        StepStatus::Ok => "ok",
        StepStatus::Changed => "changed",
        StepStatus::Unknown => "unknown",
        StepStatus::Skipped => "skipped",
        StepStatus::Failed => "failed",
        StepStatus::Ignored if words::is_tried_again(step.status, step.message.as_deref()) => "retried",
        StepStatus::Ignored => "ignored",
        StepStatus::Unreachable => "unreachable",
    };
    let item = step.info.as_ref().and_then(|info| info.item.as_deref());
    let item = item.map_or_else(String::new, |item| format!(" <small>({})</small>", html(item)));
    let place = step.info.as_ref().map_or("", |info| info.place.as_str());
    let mut text = format!(
        "<tr><td class=\"n\">{}<td>{}{item} <small>{}</small>",
        words::took(step.ended_ms),
        html(&step.task),
        html(place)
    );
    for line in step.message.iter().chain(&step.warnings) {
        let _ = write!(text, "<pre>{}</pre>", html(line));
    }
    step.diff.iter().for_each(|diff| text.push_str(&self::diff(diff)));
    let _ = writeln!(text, "<td class=\"state {status}\">{status}<td class=\"n\">{}</tr>", words::took(step.took_ms));
    text
}

fn diff(diff: &Diff) -> String {
    let mut text = String::from("<pre>");
    for line in unified(diff).lines() {
        let class = match line.chars().next() {
            Some('+') => "add",
            Some('-') => "del",
            Some('@') => "at",
            _ => "",
        };
        let _ = writeln!(text, "<span class=\"{class}\">{}</span>", html(line));
    }
    text + "</pre>"
}

fn rounds(host: &HostView) -> String {
    if host.rounds.is_empty() {
        return String::new();
    }
    let mut text = String::from("<table><tr><th>At<th>Probe<th>Phase<th>Verdict<th>Evidence</tr>\n");
    let mut last: std::collections::BTreeMap<&str, Verdict> = std::collections::BTreeMap::new();
    let late = host.rounds.len().saturating_sub(ROUNDS);
    for (index, round) in host.rounds.iter().enumerate() {
        let news = last.insert(&round.probe, round.verdict) != Some(round.verdict);
        if index < late && !news {
            continue;
        }
        let verdict = serde_json::to_value(round.verdict).unwrap_or_default();
        let evidence = &round.evidence;
        let p95 = crate::rollout::p95(&evidence.elapsed_ms).map_or_else(String::new, |p95| format!(", p95 {p95:.2} s"));
        let _ = writeln!(
            text,
            "<tr><td class=\"n\">{}<td>{}<td>{}<td class=\"state {}\">{}<td>{} of {} healthy{p95} {}</tr>",
            words::took(round.at_ms),
            html(&round.probe),
            format!("{:?}", round.phase).to_lowercase(),
            verdict.as_str().unwrap_or_default(),
            round.verdict.word(),
            evidence.healthy,
            evidence.samples,
            html(&evidence.detail),
        );
    }
    text + "</table>\n"
}

fn rollback(rollback: &RollbackView) -> String {
    let mut text = String::from("<p><b>Rollback.</b> ");
    let _ = match (&rollback.failed, rollback.no_op, rollback.ended) {
        (Some(why), ..) => write!(text, "Failed: {}", html(why)),
        (None, true, _) => write!(text, "There was nothing to put back."),
        (None, false, true) => {
            let compared = count(usize::try_from(rollback.compared).unwrap_or(usize::MAX), "object", "objects");
            write!(text, "{compared} compared, {} differ.", rollback.different.len())
        }
        (None, false, false) => write!(text, "It has not ended."),
    };
    text.push_str("</p>\n<ol>\n");
    for step in &rollback.steps {
        let note = match (&step.failed, step.changed) {
            (Some(why), _) => format!(" <span class=\"failed\">{}</span>", html(why)),
            (None, true) => String::new(),
            (None, false) => " <small>was as it should be</small>".to_owned(),
        };
        let _ = writeln!(text, "<li>{}{note}", html(&step.what));
    }
    text.push_str("</ol>\n");
    if !rollback.different.is_empty() {
        text.push_str("<p class=\"failed\">Differs:</p><ul>\n");
        rollback.different.iter().for_each(|line| text.push_str(&format!("<li>{}\n", html(line))));
        text.push_str("</ul>\n");
    }
    text
}

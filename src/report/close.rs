//! The close report of a change ticket, in Markdown.

use super::{account, text::markdown, view::RunView, words};
use crate::{journal::HostState, rollout::count};
use std::fmt::Write;

/// `successful`, `successful_issues` or `unsuccessful`, with the account of every host.
pub fn close_report(view: &RunView) -> String {
    let Some(head) = &view.head else { return String::new() };
    let bad = [HostState::Unknown, HostState::RollbackFailed, HostState::Failed, HostState::RolledBack];
    let bad: usize = bad.iter().map(|state| view.in_state(*state).len()).sum();
    let good = view.in_state(HostState::Changed).len() + view.in_state(HostState::Unchanged).len();
    let code = match (view.exit_code, bad, good) {
        (Some(0), 0, _) if view.warnings.is_empty() => "successful",
        (Some(0), 0, _) => "successful_issues",
        (_, _, 0) => "unsuccessful",
        (Some(4), 0, _) => "successful_issues",
        _ => "unsuccessful",
    };
    let mut text = format!("# Close report\n\n- Close code: {code}\n- Run: {}\n", markdown(&head.run));
    let _ = writeln!(text, "- Playbook: {}\n- Began: {}", markdown(&head.playbook), head.at.strftime("%F %T UTC"));
    let _ = writeln!(text, "- Took: {}", words::took(view.elapsed_ms));
    if let Some(exit) = view.exit_code {
        let _ = writeln!(text, "- Exit code: {exit}");
    }
    if let Some(why) = account::why(view) {
        let _ = writeln!(text, "\n## Why it stopped\n\n{}", markdown(&why));
    }
    for trigger in &view.triggers {
        let host = trigger.host.as_deref().map_or_else(String::new, |host| format!(" on {}", markdown(host)));
        let _ = writeln!(
            text,
            "- {}: trigger “{}”{host}: {}",
            trigger.at.strftime("%T"),
            markdown(&trigger.name),
            markdown(&trigger.evidence)
        );
    }
    if !view.rehearsals.is_empty() {
        text.push_str("\n## Backout\n\n");
        view.rehearsals.iter().for_each(|it| text.push_str(&format!("- {}\n", markdown(&words::rehearsal(it)))));
    }
    let _ = writeln!(text, "\n## Hosts\n\n{}\n", count(view.order.len(), "host", "hosts"));
    text.push_str("| Host | State | Why |\n|---|---|---|\n");
    for state in words::FINAL {
        for name in view.in_state(state) {
            let why = view.hosts.get(name).and_then(account::reason).unwrap_or_default();
            let why = account::without_evidence(view, &why, false);
            let _ = writeln!(text, "| {} | {} | {} |", markdown(name), words::state(state), markdown(&why));
        }
    }
    let next = account::next(view);
    if !next.is_empty() {
        text.push_str("\n## Next\n\n");
        next.iter().for_each(|line| text.push_str(&format!("- {}\n", markdown(line))));
    }
    text
}

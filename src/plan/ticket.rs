//! A plan as a change ticket, in Markdown (rollout.md 2.8).

use super::{
    document::{Answer, HostPlan, Plan, PlayPlan, StepPlan, Undo},
    text::groups,
};
use crate::{
    report::{fenced, markdown, words},
    rollout::{count, ordinal},
};
use std::{fmt::Write, time::Duration};

/// The ticket. `digest` is what an approval names.
pub fn ticket(plan: &Plan, digest: &str) -> String {
    let mut text = format!("# Change: {}\n\n## Summary\n\n{}\n", title(plan), summary(plan));
    text.push_str("\n## Justification\n\n_To be filled in by the requester._\n");
    let problems = plan.problems();
    if !problems.is_empty() {
        text.push_str("\n## Problems found while planning\n\n");
        for (host, why) in problems {
            let _ = writeln!(text, "- **{}**: {}", markdown(host), markdown(why));
        }
    }
    text.push_str(&found(plan));
    text.push_str("\n## Implementation plan\n");
    plan.plays.iter().for_each(|play| text.push_str(&implementation(play)));
    text.push_str("\n## Risk and impact\n\n");
    plan.plays.iter().for_each(|play| text.push_str(&risk(play)));
    text.push_str("\n## Backout plan\n\n");
    plan.plays.iter().for_each(|play| text.push_str(&backout(play)));
    text.push_str("\n## Test plan\n\n");
    plan.plays.iter().for_each(|play| text.push_str(&tests(play)));
    text.push_str("\n## Schedule\n\n");
    plan.plays.iter().for_each(|play| text.push_str(&schedule(play)));
    text.push_str(&items(plan));
    text.push_str(&approvals(plan, digest));
    text
}

fn title(plan: &Plan) -> String {
    let names: Vec<String> = plan.plays.iter().map(|play| markdown(&play.name)).collect();
    if names.is_empty() { markdown(&plan.playbook) } else { names.join("; ") }
}

/// What `debug` tasks say of hosts, as it is laid out.
fn found(plan: &Plan) -> String {
    let said = plan.said();
    if said.is_empty() {
        return String::new();
    }
    let mut text = "\n## What was found on the hosts\n".to_owned();
    for (one, hosts) in said {
        let hosts: Vec<String> = hosts.iter().map(|host| markdown(host)).collect();
        let item = one.item.as_deref().map_or_else(String::new, |item| format!(" ({})", markdown(item)));
        let block = fenced("text", &one.text);
        let _ = writeln!(text, "\n**{}**: {}{item}\n\n{}", hosts.join(", "), markdown(&one.task), block.trim_end());
    }
    text
}

/// At most 160 characters.
fn summary(plan: &Plan) -> String {
    let hosts = plan.plays.iter().map(|play| play.hosts.len()).max().unwrap_or(0);
    let changing = plan.plays.iter().flat_map(|play| &play.hosts).filter(|host| !host.quiet()).count();
    let batches = plan.plays.iter().map(|play| play.resolved.batches.len()).max().unwrap_or(0);
    let tail = format!(" on {} of {hosts} hosts in {}.", changing, count(batches, "batch", "batches"));
    let room = 160_usize.saturating_sub(tail.chars().count());
    let title = title(plan);
    let cut: String = if title.chars().count() > room {
        title.chars().take(room.saturating_sub(1)).chain(std::iter::once('…')).collect()
    } else {
        title
    };
    cut + &tail
}

fn implementation(play: &PlayPlan) -> String {
    let mut text = format!("\n### {}\n", markdown(&play.name));
    let of = play.resolved.batches.len();
    for (index, batch) in play.resolved.batches.iter().enumerate() {
        let canary = if index == 0 && of > 1 { " (canary)" } else { "" };
        let hosts: Vec<String> = batch.iter().map(|host| markdown(host)).collect();
        let _ = writeln!(text, "\n#### Batch {} of {of}{canary}: {}\n", index + 1, hosts.join(", "));
        for group in groups(play.hosts.iter().filter(|plan| batch.contains(&plan.host))) {
            text.push_str(&alike(&group));
        }
    }
    text
}

fn alike(group: &[&HostPlan]) -> String {
    let Some(first) = group.first() else { return String::new() };
    let names: Vec<String> = group.iter().map(|host| markdown(&host.host)).collect();
    if first.quiet() {
        return format!("**{}**: {}.\n\n", names.join(", "), first.idle());
    }
    let mut text = format!("**{}**:\n\n", names.join(", "));
    for (index, step) in first.steps.iter().enumerate() {
        text.push_str(&self::step(index + 1, step));
    }
    if !first.rollback.is_empty() {
        text.push_str("\nOn rollback, after its state is back:\n\n");
        first.rollback.iter().for_each(|line| text.push_str(&format!("- {}\n", markdown(line))));
    }
    text.push('\n');
    text
}

fn step(number: usize, step: &StepPlan) -> String {
    let answer = match step.answer {
        Answer::Changes => "changes",
        Answer::Unknown => "cannot be known before it runs",
    };
    let handler = if step.handler { "handler: " } else { "" };
    let item = step.item.as_deref().map_or_else(String::new, |item| format!(" ({})", markdown(item)));
    let mut text = format!("{number}. {handler}{}{item} (`{}`): {answer}", markdown(&step.task), step.module);
    if let Some(note) = &step.note {
        let _ = write!(text, "; {}", markdown(note));
    }
    text.push('\n');
    if !step.undo_tasks.is_empty() {
        text.push('\n');
        step.undo_tasks.iter().for_each(|line| text.push_str(&format!("   - undo: {}\n", markdown(line))));
    }
    for diff in &step.diff {
        let block = fenced("diff", diff);
        text.push('\n');
        block.lines().for_each(|line| text.push_str(&format!("   {line}\n")));
        text.push('\n');
    }
    text
}

/// The steps of all hosts of a play, each task once.
fn distinct(play: &PlayPlan) -> Vec<&StepPlan> {
    let mut steps: Vec<&StepPlan> = Vec::new();
    for step in play.hosts.iter().flat_map(|host| &host.steps) {
        if !steps.iter().any(|other| (&other.place, &other.task) == (&step.place, &step.task)) {
            steps.push(step);
        }
    }
    steps
}

fn risk(play: &PlayPlan) -> String {
    let steps = distinct(play);
    let mut text = format!("- {}: ", markdown(&play.name));
    let _ = writeln!(
        text,
        "at most {} of {} unavailable at any moment, {} running their tasks at once.",
        play.resolved.max_unavailable,
        count(play.hosts.len(), "host", "hosts"),
        play.resolved.in_flight()
    );
    for domain in play.resolved.domains.all() {
        let hosts = count(domain.hosts.len(), "host", "hosts");
        let _ = writeln!(text, "- In {}: at most {} of {hosts}.", markdown(&domain.name), domain.max_unavailable);
    }
    let restarts: Vec<String> = steps.iter().filter(|step| step.handler).map(|step| markdown(&step.task)).collect();
    if !restarts.is_empty() {
        let _ = writeln!(text, "- Handlers that would run: {}.", restarts.join(", "));
    }
    let irreversible: Vec<String> =
        steps.iter().filter(|step| step.undo == Some(Undo::Irreversible)).map(|step| markdown(&step.task)).collect();
    match (play.rollout, irreversible.is_empty()) {
        (true, true) => text.push_str("- No irreversible step.\n"),
        (true, false) => text.push_str(&format!("- **Irreversible steps: {}.**\n", irreversible.join(", "))),
        (false, _) => text.push_str("- **The play has no `rollout:` stanza: nothing is undone by itself.**\n"),
    }
    if let Some(max_fail) = play.resolved.max_fail {
        let _ = writeln!(text, "- Stops at the {} failed host of {}.", ordinal(max_fail + 1), play.hosts.len());
    }
    text
}

fn backout(play: &PlayPlan) -> String {
    if !play.rollout {
        return format!("- {}: none; the play has no `rollout:` stanza.\n", markdown(&play.name));
    }
    let mut text = format!("{}: steps are undone on each host in reverse order.\n\n", markdown(&play.name));
    text.push_str("| Step | Module | Undo |\n|---|---|---|\n");
    for step in distinct(play).iter().rev().filter(|step| step.mutating) {
        let undo = step.undo.as_ref().map_or_else(|| "–".to_owned(), Undo::words);
        let _ = writeln!(text, "| {} | {} | {} |", markdown(&step.task), markdown(&step.module), markdown(&undo));
    }
    text.push_str(
        "\nThen handlers that had started run again, unit states are restored, and every recorded object is compared \
         with its state before the change.\n",
    );
    if play.resolved.rehearse {
        text.push_str(
            "\nRehearsed in the run itself: the first host that changes is put back, compared and changed again before any \
             other host; the close report has the evidence.\n",
        );
    }
    for task in &play.rollback {
        let _ = writeln!(text, "- After that: {} (`{}`).", markdown(&task.name), task.module);
    }
    text
}

fn tests(play: &PlayPlan) -> String {
    let mut text = format!("{}:\n\n", markdown(&play.name));
    if play.probes.is_empty() {
        text.push_str("- No probe is configured; a host counts as healthy when its tasks have ended well.\n");
    }
    play.resolved.sentences.iter().for_each(|line| text.push_str(&format!("- {}\n", markdown(line))));
    text.push('\n');
    text
}

fn schedule(play: &PlayPlan) -> String {
    let least = words::took(u64::try_from(Duration::from_secs(play.at_least_s).as_millis()).unwrap_or(u64::MAX));
    format!(
        "- {}: {}, one after the other; health checks and bakes take at least {least}, the steps come on top.\n",
        markdown(&play.name),
        count(play.resolved.batches.len(), "batch", "batches"),
    )
}

fn items(plan: &Plan) -> String {
    let mut hosts: Vec<&str> = Vec::new();
    for host in plan.plays.iter().flat_map(|play| &play.hosts) {
        if !hosts.contains(&host.host.as_str()) {
            hosts.push(&host.host);
        }
    }
    let list: Vec<String> = hosts.iter().map(|host| markdown(host)).collect();
    format!("\n## Configuration items\n\n{}: {}\n", count(hosts.len(), "host", "hosts"), list.join(", "))
}

fn approvals(plan: &Plan, digest: &str) -> String {
    let mut text = format!(
        "\n## Approvals\n\nAn approval is for exactly this plan: `sha256:{digest}`. The digest names a plan; it is not a \
         signature.\n\n| Input | Path | SHA-256 |\n|---|---|---|\n"
    );
    for input in &plan.inputs {
        let _ = writeln!(text, "| {} | {} | `{}` |", input.kind, markdown(&input.path), input.sha256);
    }
    let _ = writeln!(text, "| agent | rollgate-agent | `{}` |\n| tool | rollgate | {} |", plan.agent_sha256, plan.tool);
    text
}

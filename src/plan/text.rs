//! A plan for a terminal. Hosts with the same steps are shown together.

use super::document::{Answer, HostPlan, Plan, PlayPlan, StepPlan};
use crate::{
    report::{Paint, Style, clean, one_line, starred, words},
    rollout::count,
};
use std::fmt::Write;

/// The plan, with its digest.
pub fn text(plan: &Plan, digest: &str, paint: Paint) -> String {
    let mut text = String::new();
    for play in &plan.plays {
        text.push_str(&self::play(play, paint));
    }
    if plan.plays.is_empty() {
        text.push_str("No play has hosts: there is nothing to do.\n");
    }
    let said = plan.said();
    if !said.is_empty() {
        let _ = writeln!(text, "\n{}", paint.paint(Style::Strong, &starred("FOUND")));
        for (one, hosts) in said {
            let item = one.item.as_deref().map_or_else(String::new, |item| format!(" (item={})", one_line(item)));
            let _ = writeln!(text, "{}: {}{item}", words::some(&hosts, 20), one_line(&one.task));
            for line in clean(&one.text).lines() {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    let problems = plan.problems();
    if !problems.is_empty() {
        let _ = writeln!(text, "\n{}", paint.paint(Style::Bad, &starred("PROBLEMS")));
        for (host, why) in problems {
            let _ = writeln!(text, "{}: {}", paint.paint(Style::Bad, &one_line(host)), one_line(why));
        }
    }
    for (host, warning) in &plan.warnings {
        let host = host.as_deref().map_or_else(String::new, |host| format!("[{}] ", one_line(host)));
        let _ = writeln!(text, "{}", paint.paint(Style::Warn, &format!("[WARNING]: {host}{}", one_line(warning))));
    }
    let _ = writeln!(text, "\n{}", summary(plan));
    let _ = writeln!(text, "Nothing was changed on any host; each has the agent {} now.", short(&plan.agent_sha256));
    let _ = writeln!(text, "Plan digest: sha256:{digest}");
    text
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// `2 of 3 hosts would change: 7 changes, 2 steps that cannot be known.`
fn summary(plan: &Plan) -> String {
    let hosts: Vec<&HostPlan> = plan.plays.iter().flat_map(|play| &play.hosts).collect();
    let changing = hosts.iter().filter(|host| !host.quiet()).count();
    let answers = |answer| hosts.iter().flat_map(|host| &host.steps).filter(|step| step.answer == answer).count();
    let changes = count(answers(Answer::Changes), "change", "changes");
    let failed = plan.problems().len();
    let failed =
        if failed == 0 { String::new() } else { format!(" {} could not be planned.", count(failed, "host", "hosts")) };
    let said = match (changing, answers(Answer::Unknown)) {
        (0, _) => format!("No change on {}.", count(hosts.len(), "host", "hosts")),
        (_, 0) => format!("{changing} of {} would change: {changes}.", count(hosts.len(), "host", "hosts")),
        (_, unknown) => format!(
            "{changing} of {} would change: {changes}, {} that cannot be known before.",
            count(hosts.len(), "host", "hosts"),
            count(unknown, "step", "steps")
        ),
    };
    said + &failed
}

fn play(play: &PlayPlan, paint: Paint) -> String {
    let mut text = format!("\n{}\n", paint.paint(Style::Strong, &starred(&format!("PLAY [{}]", one_line(&play.name)))));
    for line in &play.resolved.sentences {
        let _ = writeln!(text, "{}", one_line(line));
    }
    let of = play.resolved.batches.len();
    for (index, batch) in play.resolved.batches.iter().enumerate() {
        if of > 1 {
            let head = format!("BATCH {}/{of}", index + 1);
            let _ = writeln!(text, "\n{}: {}", paint.paint(Style::Strong, &head), words::some(batch, 20));
        }
        let hosts = play.hosts.iter().filter(|plan| batch.contains(&plan.host));
        for group in groups(hosts) {
            text.push_str(&hosts_alike(&group, paint));
        }
    }
    if !play.rollback.is_empty() {
        let names: Vec<String> =
            play.rollback.iter().map(|task| format!("{} ({})", one_line(&task.name), task.module)).collect();
        let _ = writeln!(text, "\nOn rollback, after each host's state is back: {}.", names.join(", "));
    }
    text
}

/// Hosts whose steps are the same, in order.
pub(super) fn groups<'a>(hosts: impl Iterator<Item = &'a HostPlan>) -> Vec<Vec<&'a HostPlan>> {
    let mut groups: Vec<Vec<&HostPlan>> = Vec::new();
    for host in hosts {
        match groups.iter_mut().find(|group| {
            group.first().is_some_and(|first| {
                (&first.steps, &first.rollback, &first.problem) == (&host.steps, &host.rollback, &host.problem)
            })
        }) {
            Some(group) => group.push(host),
            None => groups.push(vec![host]),
        }
    }
    groups
}

fn hosts_alike(group: &[&HostPlan], paint: Paint) -> String {
    let Some(first) = group.first() else { return String::new() };
    let names: Vec<&str> = group.iter().map(|host| host.host.as_str()).collect();
    let names = words::some(&names, 20);
    if first.quiet() {
        let style = if first.problem.is_some() { Style::Bad } else { Style::Good };
        return format!("{}: {}\n", paint.paint(style, &names), first.idle());
    }
    let mut text = format!("{}:\n", paint.paint(Style::Changed, &names));
    first.steps.iter().for_each(|step| text.push_str(&self::step(step, paint)));
    for line in first.rollback.iter().filter(|_| !first.steps.is_empty()) {
        let _ = writeln!(text, "  on rollback: {}", one_line(line));
    }
    text
}

fn step(step: &StepPlan, paint: Paint) -> String {
    let (word, style) = match step.answer {
        Answer::Changes => ("would change", Style::Changed),
        Answer::Unknown => ("cannot know", Style::Warn),
    };
    let handler = if step.handler { "handler " } else { "" };
    let item = step.item.as_deref().map_or_else(String::new, |item| format!(" (item={})", one_line(item)));
    let undo = step.undo.as_ref().map_or_else(String::new, |undo| format!("; {}", undo.words()));
    let what = paint.paint(style, word);
    let mut text = format!("  {what}: {handler}{}{item} [{}]{undo}\n", one_line(&step.task), step.module);
    if let Some(note) = &step.note {
        let _ = writeln!(text, "      {}", one_line(note));
    }
    for line in &step.undo_tasks {
        let _ = writeln!(text, "      undo: {}", one_line(line));
    }
    for line in step.diff.iter().flat_map(|diff| diff.lines()) {
        let style = match line.chars().next() {
            Some('+') => Style::Good,
            Some('-') => Style::Bad,
            Some('@') => Style::Dim,
            _ => {
                let _ = writeln!(text, "      {line}");
                continue;
            }
        };
        let _ = writeln!(text, "      {}", paint.paint(style, line));
    }
    text
}

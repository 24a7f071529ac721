//! From the view of a run in check mode to a plan.

use super::document::{Answer, HostPlan, Input, PLAN_VERSION, Plan, PlayPlan, Said, StepPlan, TaskText, Undo};
use crate::{
    journal::{HostState, StepStatus},
    playbook::{Action, Play, Playbook, Reversibility, Task, reversibility},
    report::{HostView, RunView, StepView, one_line, unified},
    rollout::{DomainOf, Resolved},
};
use std::collections::HashMap;

/// Builds the plan from a detailed view of a run in check mode.
///
/// `forks` is the limit on hosts in flight, `domains` tells the failure domains of a play; `inputs` come from [`super::inputs`].
pub fn build(
    view: &RunView,
    playbook: &Playbook,
    inputs: Vec<Input>,
    agent_sha256: &str,
    forks: usize,
    domains: &dyn Fn(&Play, &[String]) -> DomainOf,
) -> Plan {
    let mut plays = Vec::new();
    for played in &view.plays {
        let Some(play) = playbook.plays.get(played.index) else { continue };
        let hosts: Vec<String> = played.batches.iter().flat_map(|batch| batch.hosts.clone()).collect();
        let resolved = Resolved::new(play, &hosts, &domains(play, &hosts), forks);
        let tasks = by_place(play);
        plays.push(PlayPlan {
            name: played.name.clone(),
            rollout: play.rollout.is_some(),
            at_least_s: at_least(play, resolved.batches.len()),
            probes: names(play.rollout.iter().flat_map(|rollout| rollout.probes.iter().map(|probe| &probe.name))),
            triggers: names(
                play.rollout.iter().flat_map(|rollout| rollout.triggers.iter().map(|trigger| &trigger.name)),
            ),
            rollback: play.rollback.iter().map(|task| task_text(task)).collect(),
            hosts: hosts.iter().map(|host| host_plan(view, played.index, host, play, &tasks)).collect(),
            resolved,
        });
    }
    let head = view.head.as_ref();
    Plan {
        version: PLAN_VERSION,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        agent_sha256: agent_sha256.to_owned(),
        playbook: playbook.path.clone(),
        inventory: head.map(|head| head.inventory.clone()).unwrap_or_default(),
        inputs,
        plays,
        warnings: view.warnings.clone(),
    }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    names.cloned().collect()
}

fn by_place(play: &Play) -> HashMap<String, &Task> {
    let tasks = play.sections.iter().flatten().chain(&play.handlers);
    tasks.map(|task| (task.place.to_string(), task.as_ref())).collect()
}

/// Shortest time of health checks and bakes: batches follow each other, hosts of a batch wait together.
fn at_least(play: &Play, batches: usize) -> u64 {
    let Some(rollout) = &play.rollout else { return 0 };
    (rollout.min_healthy_time + rollout.bake_time).as_secs().saturating_mul(batches as u64)
}

/// Why a host could not be planned: out of reach, or a task that fails in check mode, too.
fn problem(host: &HostView) -> Option<String> {
    let failed = matches!(host.state, HostState::Failed | HostState::Unknown)
        || host.recap.unreachable > 0
        || (host.state == HostState::NeverStarted && host.reason.is_some());
    let why = || match (&host.failure, &host.reason) {
        (Some((_, place, message)), _) if place.is_empty() => one_line(message),
        (Some((task, place, message)), _) => format!("{} ({place}): {}", one_line(task), one_line(message)),
        (None, Some(reason)) => one_line(reason),
        (None, None) => "it could not be planned".to_owned(),
    };
    failed.then(why)
}

fn host_plan(view: &RunView, index: usize, host: &str, play: &Play, tasks: &HashMap<String, &Task>) -> HostPlan {
    let seen = view.hosts.get(host);
    let problem = seen.and_then(problem);
    let rollback = seen.map(|host| host.would_roll_back.as_slice()).unwrap_or_default();
    let mut plan = HostPlan {
        host: host.to_owned(),
        steps: Vec::new(),
        said: Vec::new(),
        rollback: rollback.iter().filter(|(play, _)| *play == index).map(|(_, task)| task.clone()).collect(),
        unchanged: 0,
        harmless: 0,
        skipped: 0,
        problem,
    };
    let steps = seen.map(|host| host.steps.as_slice()).unwrap_or_default();
    for step in steps.iter().filter(|step| step.play == index) {
        match step.status {
            StepStatus::Changed => plan.steps.push(step_plan(step, Answer::Changes, play, tasks)),
            StepStatus::Unknown if step.info.as_ref().is_some_and(|info| !info.mutating) => plan.harmless += 1,
            StepStatus::Unknown => plan.steps.push(step_plan(step, Answer::Unknown, play, tasks)),
            StepStatus::Skipped => plan.skipped += 1,
            StepStatus::Ok | StepStatus::Ignored => {
                plan.said.extend(said(step));
                plan.unchanged += 1;
            }
            StepStatus::Failed | StepStatus::Unreachable => {}
        }
    }
    plan
}

fn said(step: &StepView) -> Option<Said> {
    let info = step.info.as_ref().filter(|info| info.module == "debug")?;
    Some(Said { task: step.task.clone(), item: info.item.clone(), text: step.message.clone()? })
}

fn step_plan(step: &StepView, answer: Answer, play: &Play, tasks: &HashMap<String, &Task>) -> StepPlan {
    let info = step.info.as_ref();
    let place = info.map(|info| info.place.clone()).unwrap_or_default();
    let undo = play.rollout.as_ref().and_then(|_| tasks.get(&place)).map(|task| undo(task));
    StepPlan {
        task: step.task.clone(),
        module: info.map(|info| info.module.clone()).unwrap_or_default(),
        item: info.and_then(|info| info.item.clone()),
        handler: info.is_some_and(|info| info.handler),
        mutating: info.is_none_or(|info| info.mutating),
        answer,
        note: step.message.clone(),
        diff: step.diff.iter().map(unified).collect(),
        undo_tasks: info.map(|info| info.undo.clone()).unwrap_or_default(),
        undo,
        place,
    }
}

fn undo(task: &Task) -> Undo {
    match reversibility(task) {
        Reversibility::Exact => Undo::Exact,
        Reversibility::Tasks => Undo::Tasks(task.undo.iter().map(|task| task_text(task)).collect()),
        Reversibility::NotNeeded => Undo::NotNeeded,
        Reversibility::None => Undo::Irreversible,
    }
}

fn task_text(task: &Task) -> TaskText {
    let module = match &task.action {
        Action::Agent(args) => args.module.clone(),
        Action::Template(_) => "template".to_owned(),
        Action::CopyFile(_) => "copy".to_owned(),
        Action::Raw(_) => "raw".to_owned(),
        Action::Assert { .. } => "assert".to_owned(),
        Action::Fail { .. } => "fail".to_owned(),
        Action::Debug { .. } => "debug".to_owned(),
        Action::SetFact { .. } => "set_fact".to_owned(),
        Action::Meta(_) => "meta".to_owned(),
    };
    TaskText { name: task.name.clone(), module, place: task.place.to_string() }
}

//! A play with `rollout:` in check mode: each host runs its own list, and nothing is changed.

use super::{
    check_sick::{sickness, weigh},
    context::{PlayCx, RunCx},
    domains::domains_of,
    once::Once,
    rollout_play::{HostEnd, PlayEnd},
    stop::Level,
    task_end::ListEnd,
    undo_text,
    unit::Unit,
};
use crate::{
    journal::{EventKind, HostState},
    playbook::{OnUnreachable, Play},
    rollout::Resolved,
    vars::Batch,
};
use futures::StreamExt;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;

/// Checks a play over these units, in order.
pub(crate) async fn check_play(run: &Arc<RunCx>, play: &Arc<Play>, index: usize, units: Vec<Unit>) -> PlayEnd {
    let order: Vec<String> = units.iter().map(|unit| unit.name.clone()).collect();
    // What is wrong with them was said before the run began.
    let domains = domains_of(&run.world, play, &order).unwrap_or_default();
    let resolved = Resolved::new(play, &order, &domains, run.options.forks);
    let forks = run.options.forks.max(1);
    run.desk.emit(EventKind::PlayStarted {
        play: index,
        name: play.name.clone(),
        batches: resolved.batches.clone(),
        rollout: true,
        resolved: resolved.sentences.clone(),
    });
    let batch = Batch { all: order.clone(), active: order.clone(), batch: order.clone() };
    run.world.set_batch(play, &batch);
    let once = Once::default();
    order.iter().for_each(|host| once.enter(host));
    let cx = Arc::new(PlayCx {
        index,
        play: Arc::clone(play),
        once: Some(once),
        batch: order.clone(),
        check: true,
        guard: None,
    });
    let work = units.into_iter().map(|mut unit| {
        unit.play = Arc::clone(&cx);
        async move {
            // In a task of its own, so that hosts are served by all cores.
            let work = tokio::spawn(async move {
                say(&unit, HostState::Running, None);
                say_rollback(&unit);
                let end = unit.run_list().await;
                let rollout = unit.play.play.rollout.clone().filter(|_| end == ListEnd::Done);
                let sick = match rollout {
                    Some(rollout) => sickness(&unit, &rollout).await,
                    None => String::new(),
                };
                (unit, end, sick)
            });
            AbortOnDropHandle::new(work).await.ok()
        }
    });
    let all = futures::stream::iter(work).buffered(forks).collect::<Vec<_>>();
    let ends = tokio::select! {
        ends = all => ends,
        () = run.desk.until(Level::Kill) => Vec::new(),
    };
    let (mut hosts, mut kept) = (Vec::new(), Vec::new());
    let mut ends: Vec<_> = ends.into_iter().flatten().collect();
    weigh(&resolved, &mut ends);
    for (unit, end, _) in ends {
        hosts.push(host_end(&unit, end));
        kept.push(unit);
    }
    run.desk.emit(EventKind::PlayEnded { play: index });
    let level = run.desk.stopped().level;
    let (stop, paused, aborted) = (level > Level::None, level == Level::Pause, level >= Level::Abort);
    PlayEnd { hosts, units: kept, stop, paused, aborted }
}

fn host_end(unit: &Unit, end: ListEnd) -> HostEnd {
    let lost = matches!(end, ListEnd::Unreachable(_));
    let (state, reason) = match end {
        ListEnd::Done if unit.changed => (HostState::Changed, None),
        ListEnd::Done => (HostState::Unchanged, None),
        ListEnd::Failed(why) => (HostState::Failed, Some(why)),
        ListEnd::Unreachable(why) => (HostState::NeverStarted, Some(format!("{}unreachable: {why}", excluded(unit)))),
        ListEnd::Stopped => (HostState::NeverStarted, Some("stopped".to_owned())),
    };
    say(unit, state, reason.clone());
    HostEnd {
        host: unit.name.clone(),
        state,
        reason,
        recap: unit.recap,
        unreachable_before: lost,
        out: !matches!(state, HostState::Changed | HostState::Unchanged),
    }
}

fn say_rollback(unit: &Unit) {
    let scope = unit.scope();
    let tasks = undo_text::lines(&unit.play.play.rollback, |task| scope.task(task));
    if !tasks.is_empty() {
        let (host, play) = (unit.name.clone(), unit.play.index);
        unit.run.desk.emit(EventKind::RollbackPlanned { host, play, tasks });
    }
}

/// What a run does without (`on_unreachable_preflight`).
fn excluded(unit: &Unit) -> &'static str {
    let rollout = unit.play.play.rollout.as_ref();
    if rollout.is_some_and(|rollout| rollout.on_unreachable == OnUnreachable::Exclude) { "excluded: " } else { "" }
}

fn say(unit: &Unit, state: HostState, reason: Option<String>) {
    let host = unit.name.clone();
    unit.run.desk.emit(EventKind::HostChanged { play: unit.play.index, host, state, reason });
}

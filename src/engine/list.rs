//! A host's own list: facts, the three sections, handlers after each (rollout.md R1).

use super::{
    prepare::Turn,
    step::{Ran, StepPlan, StepRun, Work},
    task_end::{ListEnd, TaskEnd},
    unit::Unit,
};
use crate::{
    host::RunAs,
    journal::{StepInfo, StepStatus},
    playbook::{Action, Task},
};
use std::sync::Arc;

impl Unit {
    /// Runs the host's whole list.
    pub(crate) async fn run_list(&mut self) -> ListEnd {
        let play = Arc::clone(&self.play);
        let end = self.sections(&play).await;
        if let Some(once) = &play.once {
            once.leave(&self.name);
        }
        end
    }

    async fn sections(&mut self, play: &super::context::PlayCx) -> ListEnd {
        match self.gather_facts().await {
            TaskEnd::Failed(why) => return ListEnd::Failed(why),
            TaskEnd::Unreachable(why) => return ListEnd::Unreachable(why),
            TaskEnd::Stopped => return ListEnd::Stopped,
            _ => {}
        }
        let run = Arc::clone(&self.run);
        for section in &play.play.sections {
            for task in section.iter().filter(|task| play.selects(task, &run.options)) {
                match self.run_task(task, None).await {
                    TaskEnd::Failed(why) => return ListEnd::Failed(why),
                    TaskEnd::Unreachable(why) => return ListEnd::Unreachable(why),
                    TaskEnd::Stopped => return ListEnd::Stopped,
                    TaskEnd::Left => return ListEnd::Done,
                    TaskEnd::Ok { .. } | TaskEnd::Skipped | TaskEnd::Unknown => {}
                }
                if is_flush(task) {
                    match self.flush_handlers().await {
                        ListEnd::Done => {}
                        other => return other,
                    }
                }
            }
            match self.flush_handlers().await {
                ListEnd::Done => {}
                other => return other,
            }
        }
        ListEnd::Done
    }

    /// `gather_facts`, unless tags leave it out.
    pub(crate) async fn gather_facts(&mut self) -> TaskEnd {
        let play = Arc::clone(&self.play);
        let selected =
            super::tags::selected(&["always".to_owned()], &self.run.options.tags, &self.run.options.skip_tags);
        if !play.play.gather_facts || !selected {
            return TaskEnd::Skipped;
        }
        let run_as = match self.play_run_as() {
            Ok(run_as) => run_as,
            Err(why) => return TaskEnd::Failed(why),
        };
        let plan = facts_plan(&play.play.place.to_string(), run_as);
        match self.step(plan).await {
            StepRun::Ran(ran) => {
                let Ran { id, outcome, took_ms, .. } = *ran;
                match outcome.failed {
                    None => {
                        self.result(&id, StepStatus::Ok, None, took_ms);
                        self.recap.ok += 1;
                        TaskEnd::Ok { changed: false }
                    }
                    Some(why) => {
                        self.result(&id, StepStatus::Failed, Some(why.clone()), took_ms);
                        self.recap.failed += 1;
                        TaskEnd::Failed(why)
                    }
                }
            }
            StepRun::Unreachable(why) => {
                self.recap.unreachable += 1;
                TaskEnd::Unreachable(why)
            }
            StepRun::Stopped => TaskEnd::Stopped,
        }
    }

    /// `meta`: what it means for this host. Flushing is the list's.
    pub(crate) fn meta(&mut self, what: &str, turn: &Turn<'_>) -> TaskEnd {
        match super::values::all(turn.scope, &turn.task.when) {
            Ok(crate::template::Rendered::Known(true)) => {}
            Ok(_) => return TaskEnd::Skipped,
            Err(why) => return TaskEnd::Failed(why),
        }
        match what {
            "end_host" | "end_play" => TaskEnd::Left,
            _ => TaskEnd::Ok { changed: false },
        }
    }
}

/// Whether a task flushes the handlers.
pub(crate) fn is_flush(task: &Task) -> bool {
    matches!(&task.action, Action::Meta(what) if what == "flush_handlers")
}

fn facts_plan(place: &str, run_as: RunAs) -> StepPlan {
    StepPlan {
        info: StepInfo {
            task: "Gathering Facts".to_owned(),
            module: "setup".to_owned(),
            place: place.to_owned(),
            item: None,
            attempt: 1,
            handler: false,
            mutating: false,
            digest: String::new(),
            undo: Vec::new(),
        },
        work: Work::Facts,
        run_as,
        delegated: false,
        timeout: None,
        handler: None,
        notify: Vec::new(),
        no_log: false,
    }
}

//! Handlers: notified by name or topic, run once a flush in the order defined (ansible.md 18, rollout.md R22).

use super::{
    task_end::{ListEnd, TaskEnd},
    unit::Unit,
};
use crate::playbook::Task;
use std::{collections::BTreeSet, sync::Arc};

impl Unit {
    /// The handlers that these names and topics mean, with their positions; of several with the same name the last.
    pub(crate) fn handlers_notified<'a>(
        &'a self,
        names: &'a [String],
    ) -> impl Iterator<Item = (usize, &'a Arc<Task>)> + 'a {
        let handlers = &self.play.play.handlers;
        let shadowed = |index: usize, handler: &Task| {
            handlers.iter().skip(index + 1).any(|later| later.name == handler.name && handler.listen.is_empty())
        };
        handlers.iter().enumerate().filter(move |(index, handler)| {
            let by_name = names.contains(&handler.name) && !shadowed(*index, handler);
            by_name || handler.listen.iter().any(|topic| names.contains(topic))
        })
    }

    /// Notes what a changed task notifies.
    pub(crate) fn notify(&mut self, task: &Task) {
        let notified: Vec<usize> = self.handlers_notified(&task.notify).map(|(index, _)| index).collect();
        self.notified.extend(notified);
    }

    /// Runs the notified handlers, each once. One that a handler notifies runs too, also where it is defined earlier.
    pub(crate) async fn flush_handlers(&mut self) -> ListEnd {
        let play = Arc::clone(&self.play);
        let mut ran = BTreeSet::new();
        while let Some(index) = self.notified.iter().copied().find(|index| !ran.contains(index)) {
            self.notified.remove(&index);
            ran.insert(index);
            let Some(handler) = play.play.handlers.get(index) else { continue };
            match self.run_task(handler, Some(index)).await {
                TaskEnd::Failed(why) => return ListEnd::Failed(why),
                TaskEnd::Unreachable(why) => return ListEnd::Unreachable(why),
                TaskEnd::Stopped => return ListEnd::Stopped,
                TaskEnd::Ok { .. } | TaskEnd::Skipped | TaskEnd::Unknown | TaskEnd::Left => {}
            }
        }
        self.notified.clear();
        ListEnd::Done
    }
}

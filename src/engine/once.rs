//! `run_once` where each host runs its own list: the first host that began runs the task, the others take what came of
//! it (rollout.md R1).

use super::task_end::TaskEnd;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Board {
    /// Hosts that run their lists, in the order in which they began: the first one leads.
    live: Vec<String>,
    running: HashSet<usize>,
    done: HashMap<usize, TaskEnd>,
}

/// What came of the `run_once` tasks of a batch.
#[derive(Debug, Default)]
pub(crate) struct Once {
    board: Mutex<Board>,
    changed: Notify,
}

/// What a host is to do about a `run_once` task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Run it, then say so with [`Once::finish`].
    Run,
    /// It was run on another host, with this end.
    Done(TaskEnd),
}

impl Once {
    /// A host begins its list. In the order in which they begin, the first one leads.
    pub(crate) fn enter(&self, host: &str) {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).live.push(host.to_owned());
    }

    /// Waits until the task was run, or until it is this host's turn to run it.
    pub(crate) async fn turn(&self, task: usize, host: &str) -> Turn {
        loop {
            let changed = self.changed.notified();
            {
                let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(end) = board.done.get(&task) {
                    return Turn::Done(end.clone());
                }
                let leads = board.live.first().is_some_and(|first| first == host);
                if leads && board.running.insert(task) {
                    return Turn::Run;
                }
            }
            changed.await;
        }
    }

    /// Says what came of a task.
    pub(crate) fn finish(&self, task: usize, end: TaskEnd) {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).done.insert(task, end);
        self.changed.notify_waiters();
    }

    /// A host runs no more tasks: where it led, the next one leads.
    pub(crate) fn leave(&self, host: &str) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.live.retain(|live| live != host);
        board.running.clear();
        drop(board);
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn board() -> Arc<Once> {
        let once = Arc::new(Once::default());
        ["a", "b", "c"].iter().for_each(|host| once.enter(host));
        once
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_host_runs_it_and_the_others_wait_for_what_comes_of_it() {
        let once = board();
        let waiting = tokio::spawn({
            let once = Arc::clone(&once);
            async move { once.turn(7, "b").await }
        });
        assert_eq!(once.turn(7, "a").await, Turn::Run);
        once.finish(7, TaskEnd::Ok { changed: true });
        assert_eq!(waiting.await.expect("no panic"), Turn::Done(TaskEnd::Ok { changed: true }));
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_first_host_is_gone_the_next_one_runs_it() {
        let once = board();
        once.leave("a");
        assert_eq!(once.turn(7, "b").await, Turn::Run);
        let waiting = tokio::spawn({
            let once = Arc::clone(&once);
            async move { once.turn(7, "c").await }
        });
        once.leave("b");
        assert_eq!(waiting.await.expect("no panic"), Turn::Run, "b left before it was done");
    }
}

//! Work on one host in a task of its own, and what it gives back.

use super::{driver::Driver, row::Doing};
use crate::{
    engine::{
        dispatcher::{Permission, Permit},
        guard::ConfirmEnd,
        rollback::{RollbackEnd, RollbackPlan},
        stop::Level,
        task_end::ListEnd,
        unit::Unit,
        watch::Watch,
    },
    journal::{EventKind, HostState},
};
use std::future::Future;

/// A host's task has ended.
pub(super) struct JobDone {
    pub(super) unit: Box<Unit>,
    pub(super) what: What,
}

/// What it came to.
pub(super) enum What {
    /// Connected, or why not.
    Preflight(Result<(), String>),
    /// Nothing left to ask, or cancelled.
    Watched,
    /// Refused before it began.
    NotStarted,
    /// Its list.
    List(ListEnd),
    /// Its rollback.
    RolledBack(RollbackEnd),
    /// Its confirmation.
    Confirmed(ConfirmEnd),
    /// Its transaction is closed.
    Kept,
}

impl Driver {
    fn spawn<F>(&mut self, host: &str, doing: Doing, work: impl FnOnce(Box<Unit>) -> F)
    where
        F: Future<Output = JobDone> + Send + 'static,
    {
        let Some(row) = self.rows.get_mut(host) else { return };
        let Some(unit) = row.unit.take() else { return };
        row.doing = doing;
        let handle = self.jobs.spawn(work(unit));
        self.running.insert(handle.id(), host.to_owned());
    }

    pub(super) fn spawn_preflight(&mut self, host: &str) {
        self.spawn(host, Doing::Prepare, |mut unit| async move {
            let what = What::Preflight(unit.preflight().await);
            JobDone { unit, what }
        });
    }

    pub(super) fn spawn_watch(&mut self, host: &str, doing: Doing, watch: Watch) {
        self.spawn(host, doing, |unit| async move {
            unit.watch(&watch).await;
            JobDone { unit, what: What::Watched }
        });
    }

    /// The start of a host is asked for like a step: after a pause or an abort none is granted.
    pub(super) fn spawn_list(&mut self, host: &str) {
        let start =
            EventKind::HostChanged { play: self.index, host: host.to_owned(), state: HostState::Running, reason: None };
        let desk = self.run.desk.clone();
        let cx = self.cx.clone();
        if let Some(once) = &cx.once {
            once.enter(host);
        }
        self.spawn(host, Doing::List, |mut unit| async move {
            if desk.ask(Permission::Start, start).await == Permit::Denied {
                if let Some(once) = &cx.once {
                    once.leave(&unit.name);
                }
                return JobDone { unit, what: What::NotStarted };
            }
            let end = unit.run_list().await;
            if unit.is_armed() && !unit.is_touched() && !matches!(end, ListEnd::Unreachable(_)) {
                unit.let_go().await;
            }
            JobDone { unit, what: What::List(end) }
        });
    }

    pub(super) fn spawn_rollback(&mut self, host: &str, plan: RollbackPlan) {
        self.spawn(host, Doing::Rollback, |mut unit| async move {
            let what = What::RolledBack(unit.roll_back(plan).await);
            JobDone { unit, what }
        });
    }

    pub(super) fn spawn_confirm(&mut self, host: &str) {
        let (desk, cut) = (self.run.desk.clone(), !self.finishing);
        self.spawn(host, Doing::Confirm, move |mut unit| async move {
            let end = tokio::select! {
                end = unit.confirm() => end,
                // What an abort puts back needs no confirmation, and one that had arrived keeps nobody from it.
                () = desk.until(Level::Abort), if cut => ConfirmEnd::Denied,
            };
            JobDone { unit, what: What::Confirmed(end) }
        });
    }

    pub(super) fn spawn_keep(&mut self, host: &str) {
        self.spawn(host, Doing::Keep, |unit| async move {
            unit.keep().await;
            JobDone { unit, what: What::Kept }
        });
    }
}

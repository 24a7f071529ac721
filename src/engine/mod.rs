//! The engine: one dispatcher, one unit a host, plays that drive them.

mod account;
mod args;
mod base;
mod by_hand;
mod calls;
mod check_play;
mod check_sick;
mod context;
mod control;
mod dispatcher;
mod domains;
mod failure;
mod guard;
mod guard_status;
mod handlers;
mod hosts;
mod linear_play;
mod list;
mod local;
mod once;
mod operator;
mod prepare;
mod probe;
mod result;
mod rollback;
mod rollout_play;
mod run;
mod signals;
mod spec;
mod step;
mod stop;
mod tags;
mod task_end;
mod task_run;
mod txn;
mod undo_tasks;
mod undo_text;
mod unit;
mod values;
mod watch;

#[cfg(test)]
mod tests;

pub use base::RunBase;
pub use by_hand::{RecordedHost, RecordedRun, RecordedTxn, RollbackSpec, roll_back_run};
pub use control::{ControlReply, ControlRequest, ask_run, is_live};
pub use domains::domains_of;
pub use hosts::{HostsOf, hosts_of};
pub use prepare::{may_change, module_name};
pub use run::run;
pub use signals::listen;
pub use spec::{Options, RunOutcome, RunSpec, TargetOf};
pub use stop::{Command, Order, Signal};
pub use tags::selected;

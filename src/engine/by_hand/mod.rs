//! `rollgate rollback RUN`: what a run did is undone later, from what its journal and the hosts have kept.

mod recorded;
mod rollback;
mod turns;

pub use recorded::{RecordedHost, RecordedRun, RecordedTxn};
pub use rollback::{RollbackSpec, roll_back_run};

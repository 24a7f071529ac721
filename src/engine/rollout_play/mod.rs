//! A play with `rollout:`: batches as barriers, each host on its own inside one, judged, and put back when it must be.

mod batch;
mod confirm;
mod driver;
mod end;
mod findings;
mod hold;
mod jobs;
mod rehearsal;
mod row;
mod tolerances;
mod undo;
mod vigil;

pub(crate) use driver::Driver;
pub(crate) use end::{HostEnd, PlayEnd};

//! Playbooks: as written, with places, then resolved: validated and immutable.

mod action;
mod files;
mod free_form;
mod guard;
mod handlers;
mod inherited;
mod keywords;
mod load;
mod params;
mod play;
mod probe;
mod program;
mod reader;
mod reversibility;
mod rollout;
mod syntax;
mod task;
mod trigger;
mod units;

pub use files::find_file;
pub use guard::{Confirm, GuardKeys};
pub use load::{check_plan, check_rollback, load, load_source, validate};
pub use program::{
    Action, Become, Inherited, LoopControl, ModuleArgs, OnFailure, OnInconclusive, OnUnreachable, Play, Playbook,
    Probe, ProbeFrom, ProbeMode, ProbeTarget, Promote, RollbackSpeed, Rollout, Scope, Size, Task, Template, Trigger,
    TriggerAction, Until,
};
pub use reversibility::{Reversibility, irreversible, reversibility, unplannable};
pub use trigger::PROBE_FIELDS;

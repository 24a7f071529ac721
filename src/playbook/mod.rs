//! Playbooks: as written, with places, then resolved: validated and immutable.

mod program;

pub use program::{
    Action, Become, Inherited, LoopControl, ModuleArgs, OnFailure, OnInconclusive, Play, Playbook, Probe, ProbeMode,
    ProbeTarget, Promote, RollbackSpeed, Rollout, Scope, Size, Task, Template, Trigger, TriggerAction, Until,
};

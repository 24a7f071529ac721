//! One file a module: parameters, check, apply, undo.

mod attributes;
mod command;
mod context;
mod docker_daemon_json;
mod docker_facts;
mod execute;
mod group;
mod module;
mod params;
mod programs;
mod report;
mod shell;
mod slurp;
mod spec;
mod stat;
mod systemd;
mod uri;
mod user;
mod validators;
mod wait_for;
mod words;

pub use attributes::{AttributeError, Attributes, ModeChange};
pub use context::Context;
pub use module::{Module, ModuleError, build, spec, specs};
pub use params::{ParamError, decode, normalise};
pub use spec::{CheckClass, ModuleSpec, ParamKind, ParamSpec, UndoClass};
pub use validators::{VALIDATORS, validate};

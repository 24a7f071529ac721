//! One file a module: parameters, check, apply, undo.

mod attributes;
mod command;
mod context;
mod copy;
mod docker_daemon_json;
mod docker_facts;
mod execute;
mod file;
mod file_link;
mod group;
mod line_edit;
mod line_template;
mod lineinfile;
mod merge_lines;
mod module;
mod ownership;
mod params;
mod place;
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

//! One file a module: parameters, check, apply, undo.

mod spec;

pub use spec::{CheckClass, ModuleSpec, ParamKind, ParamSpec, UndoClass};

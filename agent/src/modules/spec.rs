//! What a module accepts, as data: the controller checks playbooks against it before any host is touched.

/// A module's name, parameters and how it is undone.
#[derive(Debug)]
pub struct ModuleSpec {
    /// The short name; `ansible.builtin.NAME` means the same.
    pub name: &'static str,
    /// Parameters.
    pub params: &'static [ParamSpec],
    /// Whether a plain string instead of a map is accepted, and which parameter it is.
    pub free_form: Option<&'static str>,
    /// How it is undone (rollout.md R9).
    pub undo: UndoClass,
    /// What check mode can say.
    pub check: CheckClass,
    /// At least one of each group must be given.
    pub require_one_of: &'static [&'static [&'static str]],
}

/// One parameter.
#[derive(Debug)]
pub struct ParamSpec {
    /// The canonical name.
    pub name: &'static str,
    /// Other names that Ansible accepts.
    pub aliases: &'static [&'static str],
    /// The type.
    pub kind: ParamKind,
    /// Whether it must be given.
    pub required: bool,
    /// The only values allowed, if the kind is `Str`; empty for any.
    pub choices: &'static [&'static str],
}

impl ParamSpec {
    /// A parameter that need not be given and has one name and any value of its type.
    #[must_use]
    pub const fn optional(name: &'static str, kind: ParamKind) -> Self {
        Self { name, aliases: &[], kind, required: false, choices: &[] }
    }

    /// A parameter that must be given.
    #[must_use]
    pub const fn required(name: &'static str, kind: ParamKind) -> Self {
        Self { name, aliases: &[], kind, required: true, choices: &[] }
    }
}

/// A parameter's type. Strings are converted as Ansible does (`"yes"` is a boolean, `"22"` an integer).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// Text.
    Str,
    /// An absolute path on the host.
    Path,
    /// A boolean.
    Bool,
    /// An integer.
    Int,
    /// A number.
    Float,
    /// An octal (`"0644"`, `0o644`) or symbolic mode; an unquoted decimal such as 644 is an error.
    Mode,
    /// A list of strings; a comma-separated string is split.
    List,
    /// A map.
    Dict,
    /// Anything.
    Any,
}

/// How a module's change is undone (rollout.md R9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndoClass {
    /// From recorded pre-images.
    Exact,
    /// It may change something and records nothing: the task needs `undo:` or `accept_irreversible: true`.
    None,
    /// It changes nothing that needs undoing.
    NotNeeded,
}

/// What a module's check mode can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckClass {
    /// Changes, or does not, with a diff.
    Exact,
    /// It only reads: check mode runs it for real.
    ReadOnly,
    /// It cannot know.
    Unknown,
}

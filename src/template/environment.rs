//! The engine set up as Ansible sets up Jinja: strict undefined values, Python's texts, Ansible's filters and tests.

use super::{
    checks,
    context::Context,
    filters, lookup,
    python::{is_omit, text},
};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, syntax::SyntaxConfig,
};
use std::sync::LazyLock;

/// Instructions that one rendering may execute: a runaway loop ends as an error within a second.
const FUEL: u64 = 3_000_000;

/// Calls within calls within one template.
const RECURSION: usize = 120;

static PLAYBOOK: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = base();
    set_syntax(&mut environment, true, false);
    environment
});

/// The engine for strings of playbooks, inventories and vars files.
pub(super) fn playbook() -> &'static Environment<'static> {
    &PLAYBOOK
}

/// An engine of its own for a template file and the files it includes.
pub(super) fn for_files(trim_blocks: bool, lstrip_blocks: bool) -> Environment<'static> {
    let mut environment = PLAYBOOK.clone();
    set_syntax(&mut environment, trim_blocks, lstrip_blocks);
    environment
}

fn set_syntax(environment: &mut Environment<'static>, trim_blocks: bool, lstrip_blocks: bool) {
    let syntax = SyntaxConfig::builder()
        .trim_blocks(trim_blocks)
        .lstrip_blocks(lstrip_blocks)
        .keep_trailing_newline(true)
        .build();
    // The default delimiters are always valid; an error would leave the default syntax in place.
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
}

fn base() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // Without it errors carry no ranges.
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(format);
    environment.set_unknown_method_callback(filters::method);
    filters::register(&mut environment);
    checks::register(&mut environment);
    lookup::register(&mut environment);
    environment
}

/// Writes a value as Ansible does: Python's text, nothing for none.
fn format(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    if is_omit(value) {
        return Err(Error::new(ErrorKind::InvalidOperation, "`omit` cannot be part of a text"));
    }
    if value.is_none() {
        return Ok(());
    }
    let written = text(value)?;
    out.write_str(&written)?;
    if let Some(context) = Context::of(state) {
        context.note_written(value, written.len());
    }
    Ok(())
}

/// Whether a name is a function or constant of the engine's.
pub(super) fn is_global(name: &str) -> bool {
    PLAYBOOK.globals().any(|(global, _)| global == name)
}

/// Names of all filters, for suggestions.
pub(super) fn filter_names() -> Vec<String> {
    ENGINE_FILTERS.iter().chain(filters::NAMES).map(|name| (*name).to_owned()).collect()
}

/// Names of all tests, for suggestions.
pub(super) fn test_names() -> Vec<String> {
    ENGINE_TESTS.iter().chain(checks::NAMES).map(|name| (*name).to_owned()).collect()
}

/// The engine's own filters; it does not list them itself.
const ENGINE_FILTERS: [&str; 46] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];

/// The engine's own tests.
const ENGINE_TESTS: [&str; 24] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "true",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_names_exist() {
        for name in filter_names() {
            assert_eq!(
                PLAYBOOK.render_str(&format!("{{{{ '{name}' is filter }}}}"), ()).expect("renders"),
                "True",
                "{name}"
            );
        }
        for name in test_names() {
            assert_eq!(
                PLAYBOOK.render_str(&format!("{{{{ '{name}' is test }}}}"), ()).expect("renders"),
                "True",
                "{name}"
            );
        }
    }
}

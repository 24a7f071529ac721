//! Values from templates, and what to say when there is none.

use crate::{config::Diagnostic, playbook::Template, template::Rendered, vars::Scope};
use serde_json::Value;

/// A mistake found while running, as a sentence with its place.
pub(crate) fn said(diagnostic: &Diagnostic) -> String {
    let place = diagnostic.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
    let help = diagnostic.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{place}{}{help}", diagnostic.message)
}

/// The value of a template that must be known.
pub(crate) fn known(scope: &Scope, template: &Template) -> Result<Value, String> {
    match scope.render(template).map_err(|error| said(&error))? {
        Rendered::Known(value) => Ok(value),
        Rendered::Unknown { because } => Err(format!("its value cannot be known: {because}")),
    }
}

/// The value of a variable; none where it is not defined, null, or cannot be known.
pub(crate) fn lookup(scope: &Scope, name: &str) -> Result<Option<Value>, String> {
    let value = scope.expression(&format!("{name} | default(none)"), None).map_err(|error| said(&error))?;
    Ok(value.known().filter(|value| !value.is_null()))
}

/// A name or a message, rendered; as written where that fails: it is only shown.
pub(crate) fn shown(scope: &Scope, template: &Template) -> String {
    match scope.render_text(template) {
        Ok(Rendered::Known(text)) => text,
        _ => text(&template.value),
    }
}

/// A number, from a number or a text that is one.
pub(crate) fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// A value as the text that a command line or a name needs.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A template that is a name as written.
pub(crate) fn named(name: &str, place: Option<crate::config::Place>) -> Template {
    Template { value: Value::String(name.to_owned()), place }
}

/// What all of several conditions come to.
pub(crate) fn all(scope: &Scope, conditions: &[Template]) -> Result<Rendered<bool>, String> {
    scope.all(conditions).map_err(|error| said(&error))
}

//! Rendering values, conditions and expressions.

use super::{
    context::{Context, Found},
    environment,
    failure::{Failure, Site, explain},
    node::Node,
    prepare,
    python::{describe, from_json, is_omit, text, to_json},
    scan::{self, PartKind},
};
use crate::config::{Diagnostic, Place};
use crate::playbook::Template;
use minijinja::{Value, value::ValueKind};
use serde_json::Value as Json;

/// What rendering gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Rendered<T> {
    /// A value.
    Known(T),
    /// It reads something that check mode cannot know.
    Unknown {
        /// What cannot be known, a clause: "`x` is the result of a command that check mode did not run".
        because: String,
    },
}

impl<T> Rendered<T> {
    /// The same with the value changed.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Rendered<U> {
        match self {
            Self::Known(value) => Rendered::Known(change(value)),
            Self::Unknown { because } => Rendered::Unknown { because },
        }
    }

    /// The value, if known.
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown { .. } => None,
        }
    }
}

/// Sorts a failure: not knowing is no error.
///
/// # Errors
/// What was wrong.
pub fn settle<T>(result: Result<T, Failure>) -> Result<Rendered<T>, Diagnostic> {
    match result {
        Ok(value) => Ok(Rendered::Known(value)),
        Err(Failure::Unknown(because)) => Ok(Rendered::Unknown { because }),
        Err(Failure::Error { diagnostic, .. }) => Err(*diagnostic),
    }
}

/// Renders a value as written: native types, nested containers, `omit` leaves entries out.
///
/// # Errors
/// What is wrong in it, and where. `omit` as the whole value is an error; see [`render_optional`].
pub fn render(context: &Context, template: &Template) -> Result<Rendered<Json>, Diagnostic> {
    match render_optional(context, template)? {
        Rendered::Known(Some(value)) => Ok(Rendered::Known(value)),
        Rendered::Known(None) => Err(Diagnostic {
            message: "`omit` stands where a value is needed".to_owned(),
            place: template.place.clone(),
            label: "this becomes `omit`".to_owned(),
            help: Some("`omit` leaves out a parameter or an entry; give a default here instead.".to_owned()),
        }),
        Rendered::Unknown { because } => Ok(Rendered::Unknown { because }),
    }
}

/// Like [`render`]; none for `omit`.
///
/// # Errors
/// What is wrong in it, and where.
pub fn render_optional(context: &Context, template: &Template) -> Result<Rendered<Option<Json>>, Diagnostic> {
    settle(render_node(context, template))
}

fn render_node(context: &Context, template: &Template) -> Result<Option<Json>, Failure> {
    let node = Node::new(&template.value, template.place.as_ref());
    let value = match &node {
        Node::Text(written) => render_text(context, &written.text, written.place.as_ref())?,
        other => context.lazy(other, "this value"),
    };
    if is_omit(&value) {
        return Ok(None);
    }
    finish(context, &value, template.place.as_ref()).map(Some)
}

/// Plain data of a rendered value.
pub(super) fn finish(context: &Context, value: &Value, place: Option<&Place>) -> Result<Json, Failure> {
    to_json(value).map_err(|error| {
        if error.kind() == minijinja::ErrorKind::UndefinedError
            && let Some(reason) = context.last_reason()
        {
            return Failure::Error { diagnostic: Box::new(reason), undefined: true };
        }
        let prepared = prepare::expression("", false);
        explain(&error, context, &Site { text: "", prepared: &prepared, offset: 0, place })
    })
}

/// Renders one string: natively where it is one expression, else to text.
pub(super) fn render_text(context: &Context, source: &str, place: Option<&Place>) -> Result<Value, Failure> {
    if !scan::is_template(source) {
        return Ok(Value::from(source));
    }
    let prepared = prepare::template(source, true);
    // One newline at the end is not the template's but the block scalar's; a text keeps it, a native value has none.
    let body = prepared.text.strip_suffix('\n').unwrap_or(&prepared.text);
    let value = match scan::parts(body).as_slice() {
        [only] if only.kind == PartKind::Output && only.whole == (0..body.len()) => {
            let site = Site { text: source, prepared: &prepared, offset: only.inner.start, place };
            evaluate(context, body.get(only.inner.clone()).unwrap_or_default(), &site)?
        }
        _ => {
            let site = Site { text: source, prepared: &prepared, offset: 0, place };
            write(context, body, &site)?
        }
    };
    if value.is_undefined() {
        let site = Site { text: source, prepared: &prepared, offset: 0, place };
        return Err(explain(&minijinja::ErrorKind::UndefinedError.into(), context, &site));
    }
    Ok(match value.as_str() {
        Some(text) => Value::from(with_newlines_of(text, source)),
        None => value,
    })
}

/// Puts back newlines at the end that the engine has taken, as Ansible does.
pub(super) fn with_newlines_of(text: &str, source: &str) -> String {
    let count = |text: &str| text.len() - text.trim_end_matches('\n').len();
    let missing = count(source).saturating_sub(count(text));
    format!("{text}{}", "\n".repeat(missing))
}

fn evaluate(context: &Context, expression: &str, site: &Site<'_>) -> Result<Value, Failure> {
    environment::playbook()
        .compile_expression(expression)
        .and_then(|compiled| compiled.eval(context.root()))
        .map_err(|error| explain(&error, context, site))
}

/// Renders a text with more in it than one expression. If only one value was written after all, it keeps its type.
fn write(context: &Context, body: &str, site: &Site<'_>) -> Result<Value, Failure> {
    context.begin_writing();
    let rendered = environment::playbook().render_named_str("template", body, context.root());
    let written = context.end_writing();
    let output = rendered.map_err(|error| explain(&error, context, site))?;
    Ok(match written.first {
        Some((value, length)) if written.count == 1 && length == output.len() => value,
        None if output.is_empty() => Value::from(()),
        _ => Value::from(output),
    })
}

/// Evaluates a condition: an expression without braces that must be true or false (Ansible 2.19).
///
/// # Errors
/// What is wrong in it; a result that is not a boolean included.
pub fn condition(context: &Context, template: &Template) -> Result<Rendered<bool>, Diagnostic> {
    let place = template.place.as_ref();
    let source = match &template.value {
        Json::Bool(known) => return Ok(Rendered::Known(*known)),
        Json::String(source) => source,
        other => return Err(not_boolean(&from_json(other), place)),
    };
    let trimmed = source.trim();
    let value = if trimmed.is_empty() {
        Err(Failure::message("the condition is empty", Some("Write an expression, or leave the key out.".to_owned())))
    } else if trimmed.starts_with("{{") && trimmed.ends_with("}}") {
        render_text(context, trimmed, place).and_then(|value| match value.as_str() {
            Some(expression) if names_written_text(context, trimmed) => eval(context, expression.trim(), place, false),
            _ => Ok(value),
        })
    } else {
        eval(context, trimmed, place, false)
    };
    match settle(value.map_err(|failure| failure.at(place)))? {
        Rendered::Known(value) if value.kind() == ValueKind::Bool => Ok(Rendered::Known(value.is_true())),
        Rendered::Known(value) => Err(not_boolean(&value, place)),
        Rendered::Unknown { because } => Ok(Rendered::Unknown { because }),
    }
}

/// Whether a condition is `{{ name }}` and the variable a text that the user wrote: then that text is the condition.
/// What came from a host is never an expression (S12).
fn names_written_text(context: &Context, template: &str) -> bool {
    let parts = scan::parts(template);
    let [only] = parts.as_slice() else { return false };
    let [name] = only.tokens.as_slice() else { return false };
    let name = template.get(name.range.clone()).unwrap_or_default();
    match context.variables().find(name) {
        Some(Found::Node(Node::Plain(value))) => value.kind() == ValueKind::String,
        _ => false,
    }
}

fn not_boolean(value: &Value, place: Option<&Place>) -> Diagnostic {
    let shown = text(value).unwrap_or_default();
    let shown: String = shown.chars().take(40).collect();
    let help = match value.kind() {
        ValueKind::String => "Compare it (`... != ''`), or write `... | bool` if it holds yes or no.",
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => "Ask for its length: `... | length > 0`.",
        ValueKind::Number => "Compare it: `... != 0`.",
        _ => "Compare it, or ask `is defined`.",
    };
    Diagnostic {
        message: format!("the condition is {} ({shown}), not true or false", describe(value)),
        place: place.cloned(),
        label: "must come to a boolean".to_owned(),
        help: Some(help.to_owned()),
    }
}

/// Evaluates an expression without braces.
///
/// # Errors
/// What is wrong in it.
pub fn expression(context: &Context, source: &str, place: Option<&Place>) -> Result<Rendered<Json>, Diagnostic> {
    settle(eval(context, source.trim(), place, true).and_then(|value| finish(context, &value, place)))
}

fn eval(context: &Context, source: &str, place: Option<&Place>, literal_backslashes: bool) -> Result<Value, Failure> {
    let prepared = prepare::expression(source, literal_backslashes);
    let site = Site { text: source, prepared: &prepared, offset: 0, place };
    let value = evaluate(context, &prepared.text, &site)?;
    if value.is_undefined() {
        return Err(explain(&minijinja::ErrorKind::UndefinedError.into(), context, &site));
    }
    Ok(value)
}

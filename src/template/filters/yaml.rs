//! to_yaml, to_nice_yaml, from_yaml: the layout of PyYAML's dump. Lines are not folded, and a text of several lines is
//! written in double quotes; a YAML reader sees the same values.

use super::arguments::{Arguments, Given, string, wrong};
use crate::{
    config::{Source, parse_yaml},
    template::python::{from_json, repr, to_json},
};
use minijinja::{Environment, Error, Value};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("to_yaml", |value: &Value, arguments: Given| dump(value, arguments, 2, None));
    environment.add_filter("to_nice_yaml", |value: &Value, arguments: Given| dump(value, arguments, 4, Some(false)));
    environment.add_filter("from_yaml", |value: &Value| {
        if value.is_none() {
            return Ok::<_, Error>(Value::from(()));
        }
        Ok(from_json(&parse(&string(value)?)?))
    });
}

/// Parses YAML as playbooks are parsed.
pub(in crate::template) fn parse(text: &str) -> Result<Json, Error> {
    let source = Arc::new(Source { path: "text".to_owned(), text: text.to_owned() });
    parse_yaml(source).map(|document| document.value()).map_err(|problems| {
        wrong(format!("not YAML: {}", problems.0.first().map(|first| first.message.as_str()).unwrap_or_default()))
    })
}

struct Style {
    indent: usize,
    sort_keys: bool,
    /// All in flow style, none, or only the innermost collections.
    flow: Option<bool>,
    explicit_start: bool,
}

fn dump(value: &Value, arguments: Given, indent: usize, flow: Option<bool>) -> Result<String, Error> {
    let arguments = Arguments::new(
        arguments,
        &["indent", "sort_keys", "default_flow_style", "explicit_start", "width", "allow_unicode"],
    )?;
    let style = Style {
        // PyYAML takes an indent of 2 to 9.
        indent: arguments.count("indent")?.filter(|indent| (2..10).contains(indent)).unwrap_or(indent),
        sort_keys: arguments.value("sort_keys").is_none_or(Value::is_true),
        flow: match arguments.value("default_flow_style") {
            None => flow,
            Some(value) if value.is_none() => None,
            Some(value) => Some(value.is_true()),
        },
        explicit_start: arguments.flag("explicit_start"),
    };
    let json = to_json(value)?;
    let mut out = String::new();
    if style.explicit_start {
        out.push_str("---");
    }
    if flows(&json, &style) {
        if style.explicit_start {
            out.push(' ');
        }
        write_flow(&mut out, &json, &style)?;
        out.push('\n');
    } else {
        if style.explicit_start {
            out.push('\n');
        }
        write_block(&mut out, &json, &style, 0)?;
    }
    Ok(out)
}

fn is_scalar(value: &Json) -> bool {
    !value.is_array() && !value.is_object()
}

/// Whether a value is written on one line.
fn flows(value: &Json, style: &Style) -> bool {
    match value {
        Json::Array(items) if !items.is_empty() => style.flow.unwrap_or_else(|| items.iter().all(is_scalar)),
        Json::Object(entries) if !entries.is_empty() => style.flow.unwrap_or_else(|| entries.values().all(is_scalar)),
        _ => true,
    }
}

fn sorted<'a>(entries: &'a Map<String, Json>, style: &Style) -> Vec<(&'a String, &'a Json)> {
    let mut entries: Vec<_> = entries.iter().collect();
    if style.sort_keys {
        entries.sort_by(|one, other| one.0.cmp(other.0));
    }
    entries
}

fn write_flow(out: &mut String, value: &Json, style: &Style) -> Result<(), Error> {
    match value {
        Json::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                write_flow(out, item, style)?;
            }
            out.push(']');
        }
        Json::Object(entries) => {
            out.push('{');
            for (at, (key, entry)) in sorted(entries, style).into_iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                out.push_str(&text(key, true)?);
                out.push_str(": ");
                write_flow(out, entry, style)?;
            }
            out.push('}');
        }
        other => out.push_str(&scalar(other, true)?),
    }
    Ok(())
}

/// Writes a collection in block style, its first line at the current place, the others at `depth` columns.
fn write_block(out: &mut String, value: &Json, style: &Style, depth: usize) -> Result<(), Error> {
    match value {
        Json::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(&" ".repeat(depth));
                }
                out.push('-');
                if flows(item, style) {
                    out.push(' ');
                    write_value(out, item, style)?;
                } else {
                    out.push_str(&" ".repeat(style.indent - 1));
                    write_block(out, item, style, depth + style.indent)?;
                }
            }
        }
        Json::Object(entries) => {
            for (at, (key, entry)) in sorted(entries, style).into_iter().enumerate() {
                if at > 0 {
                    out.push_str(&" ".repeat(depth));
                }
                out.push_str(&text(key, false)?);
                out.push(':');
                if flows(entry, style) {
                    out.push(' ');
                    write_value(out, entry, style)?;
                } else {
                    // Lists within a mapping are not indented.
                    let inner = if entry.is_array() { depth } else { depth + style.indent };
                    out.push('\n');
                    out.push_str(&" ".repeat(inner));
                    write_block(out, entry, style, inner)?;
                }
            }
        }
        other => write_value(out, other, style)?,
    }
    Ok(())
}

fn write_value(out: &mut String, value: &Json, style: &Style) -> Result<(), Error> {
    match value {
        Json::Array(_) | Json::Object(_) => write_flow(out, value, style)?,
        other => out.push_str(&scalar(other, false)?),
    }
    out.push('\n');
    Ok(())
}

fn scalar(value: &Json, in_flow: bool) -> Result<String, Error> {
    match value {
        Json::String(string) => text(string, in_flow),
        Json::Number(number) if number.is_f64() => {
            let text = repr(&Value::from(number.as_f64().unwrap_or_default()))?;
            // PyYAML's own reader takes `1e+16` for a string.
            Ok(if text.contains('e') && !text.contains('.') { text.replace('e', ".0e") } else { text })
        }
        other => Ok(other.to_string()),
    }
}

/// A string: plain where it reads back as itself, else in single quotes, in double quotes where it must be escaped.
fn text(string: &str, in_flow: bool) -> Result<String, Error> {
    if string.chars().any(|c| c.is_control() || c == '\u{feff}' || c == '\u{2028}' || c == '\u{2029}') {
        return Ok(Json::String(string.to_owned()).to_string());
    }
    if may_be_plain(string, in_flow) && parse(string).ok() == Some(Json::String(string.to_owned())) {
        return Ok(string.to_owned());
    }
    Ok(format!("'{}'", string.replace('\'', "''")))
}

fn may_be_plain(string: &str, in_flow: bool) -> bool {
    let mut characters = string.chars();
    let Some(first) = characters.next() else { return false };
    let second = characters.next();
    let spaced = second.is_none_or(char::is_whitespace);
    let starts = match first {
        '-' | '?' | ':' => !spaced && (!in_flow || first == '-'),
        '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => false,
        _ => true,
    };
    starts
        && !string.starts_with("---")
        && !string.starts_with("...")
        && !string.starts_with(' ')
        && !string.ends_with(' ')
        && !string.ends_with(':')
        && !string.contains(": ")
        && !string.contains(" #")
        && !(in_flow && string.contains([',', '[', ']', '{', '}', '?', ':']))
        && string != "="
        && string != "<<"
        && !is_timestamp(string)
}

/// `2026-11-21`, which YAML 1.1 takes for a date.
fn is_timestamp(string: &str) -> bool {
    let digits = |part: Option<&str>, most: usize| {
        part.is_some_and(|part| !part.is_empty() && part.len() <= most && part.bytes().all(|b| b.is_ascii_digit()))
    };
    let date = string.split(['T', 't', ' ']).next().unwrap_or_default();
    let mut parts = date.split('-');
    parts.clone().next().is_some_and(|year| year.len() == 4)
        && digits(parts.next(), 4)
        && digits(parts.next(), 2)
        && digits(parts.next(), 2)
        && parts.next().is_none()
}

//! to_json, to_nice_json, from_json: the texts of Python's json.dumps.

use super::arguments::{Arguments, Given, string, wrong};
use crate::template::python::{from_json, repr, to_json};
use minijinja::{Environment, Error, Value};
use serde_json::Value as Json;

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("to_json", |value: &Value, arguments: Given| dump(value, arguments, false));
    environment.add_filter("to_nice_json", |value: &Value, arguments: Given| dump(value, arguments, true));
    environment.add_filter("from_json", |value: &Value| {
        let parsed: Json =
            serde_json::from_str(&string(value)?).map_err(|error| wrong(format!("not JSON: {error}")))?;
        Ok::<_, Error>(from_json(&parsed))
    });
}

/// How JSON is written.
struct Style {
    /// One level of indentation.
    indent: Option<String>,
    sort_keys: bool,
    ascii: bool,
    item: String,
    colon: String,
}

/// `nice`: four spaces and sorted keys unless told otherwise, as Ansible does.
fn dump(value: &Value, arguments: Given, nice: bool) -> Result<String, Error> {
    let names: &[_] = if nice {
        &["indent", "sort_keys", "ensure_ascii"]
    } else {
        &["profile", "vault_to_text", "preprocess_unsafe", "indent", "sort_keys", "ensure_ascii", "separators"]
    };
    let arguments = Arguments::new(arguments, names)?;
    let indent = match arguments.value("indent") {
        None => nice.then(|| "    ".to_owned()),
        Some(given) if given.as_str().is_some() => arguments.text("indent")?,
        Some(_) => arguments.count("indent")?.map(|count| " ".repeat(count.min(64))),
    };
    let mut style = Style {
        sort_keys: arguments.value("sort_keys").map_or(nice, Value::is_true),
        ascii: arguments.value("ensure_ascii").is_none_or(Value::is_true),
        item: if indent.is_some() || nice { "," } else { ", " }.to_owned(),
        indent,
        colon: ": ".to_owned(),
    };
    if let Some(separators) = arguments.value("separators").filter(|value| !value.is_none()) {
        style.item = string(&separators.get_item_by_index(0)?)?;
        style.colon = string(&separators.get_item_by_index(1)?)?;
    }
    let mut out = String::new();
    write(&mut out, &to_json(value)?, &style, 0)?;
    Ok(out)
}

fn write(out: &mut String, value: &Json, style: &Style, depth: usize) -> Result<(), Error> {
    match value {
        Json::String(text) => out.push_str(&quoted(text, style.ascii)),
        Json::Array(items) if items.is_empty() => out.push_str("[]"),
        Json::Object(entries) if entries.is_empty() => out.push_str("{}"),
        Json::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                lead(out, style, at, depth + 1);
                write(out, item, style, depth + 1)?;
            }
            end(out, style, depth);
            out.push(']');
        }
        Json::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            if style.sort_keys {
                entries.sort_by(|one, other| one.0.cmp(other.0));
            }
            out.push('{');
            for (at, (key, entry)) in entries.into_iter().enumerate() {
                lead(out, style, at, depth + 1);
                out.push_str(&quoted(key, style.ascii));
                out.push_str(&style.colon);
                write(out, entry, style, depth + 1)?;
            }
            end(out, style, depth);
            out.push('}');
        }
        Json::Number(number) if number.is_f64() => {
            out.push_str(&repr(&Value::from(number.as_f64().unwrap_or_default()))?);
        }
        other => out.push_str(&other.to_string()),
    }
    Ok(())
}

fn lead(out: &mut String, style: &Style, at: usize, depth: usize) {
    if at > 0 {
        out.push_str(&style.item);
    }
    if let Some(indent) = &style.indent {
        out.push('\n');
        out.push_str(&indent.repeat(depth));
    }
}

fn end(out: &mut String, style: &Style, depth: usize) {
    if let Some(indent) = &style.indent {
        out.push('\n');
        out.push_str(&indent.repeat(depth));
    }
}

fn quoted(text: &str, ascii: bool) -> String {
    let json = Json::String(text.to_owned()).to_string();
    if !ascii || json.is_ascii() {
        return json;
    }
    let mut out = String::with_capacity(json.len() * 2);
    for c in json.chars() {
        if c.is_ascii() && c != '\x7f' {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

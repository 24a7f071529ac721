//! Values as Python writes them, and the ways between the engine's values and JSON.

use minijinja::{
    Error, ErrorKind, Value,
    value::{Object, ObjectRepr, ValueKind},
};
use serde_json::{Map, Number, Value as Json};
use std::{fmt, sync::Arc};

/// The value of `omit`: a map entry or list item that holds it is left out.
#[derive(Debug)]
pub struct Omit;

impl Object for Omit {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("omit")
    }
}

/// Whether a value is `omit`.
pub(super) fn is_omit(value: &Value) -> bool {
    value.downcast_object_ref::<Omit>().is_some()
}

/// The JSON of a value. Undefined values within it are errors; `omit` leaves its entry out.
///
/// # Errors
/// A value that is undefined or that JSON has no form for.
pub fn to_json(value: &Value) -> Result<Json, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::Invalid => Err(invalid(value)),
        ValueKind::None => Ok(Json::Null),
        ValueKind::Bool => Ok(Json::Bool(value.is_true())),
        ValueKind::Number => number(value),
        ValueKind::String => Ok(Json::String(value.as_str().unwrap_or_default().to_owned())),
        ValueKind::Bytes => {
            Ok(Json::String(String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned()))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items = Vec::new();
            for item in value.try_iter()? {
                if !is_omit(&item) {
                    items.push(to_json(&item)?);
                }
            }
            Ok(Json::Array(items))
        }
        ValueKind::Map => {
            let mut entries = Map::new();
            for key in value.try_iter()? {
                let entry = value.get_item(&key)?;
                if !is_omit(&entry) {
                    entries.insert(key_text(&key), to_json(&entry)?);
                }
            }
            Ok(Json::Object(entries))
        }
        _ => Err(Error::new(ErrorKind::BadSerialization, format!("{} is no data", describe(value)))),
    }
}

/// The value of plain data.
pub fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(from_json).collect(),
        Json::Object(entries) => {
            Value::from_pairs(entries.iter().map(|(key, entry)| (Value::from(key.as_str()), from_json(entry))))
        }
    }
}

/// A map's key as JSON and Ansible's result files write it.
fn key_text(key: &Value) -> String {
    match key.kind() {
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
        ValueKind::None => "null".to_owned(),
        _ => key.to_string(),
    }
}

/// The error that an invalid value carries.
fn invalid(value: &Value) -> Error {
    // Reading anything from an invalid value yields its error.
    value.try_iter().err().unwrap_or_else(|| Error::new(ErrorKind::InvalidOperation, value.to_string()))
}

fn number(value: &Value) -> Result<Json, Error> {
    if value.is_integer() {
        if let Some(number) = value.as_i64() {
            return Ok(Json::Number(number.into()));
        }
        return u64::try_from(value.clone())
            .map(|number| Json::Number(number.into()))
            .map_err(|_| Error::new(ErrorKind::BadSerialization, format!("{value} does not fit 64 bits")));
    }
    let float = f64::try_from(value.clone())?;
    Number::from_f64(float)
        .map(Json::Number)
        .ok_or_else(|| Error::new(ErrorKind::BadSerialization, format!("{value} has no form in JSON")))
}

/// What a value is, for messages: `a string`, `an integer`.
pub(super) fn describe(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "undefined",
        ValueKind::None => "null",
        ValueKind::Bool => "a boolean",
        ValueKind::Number if value.is_integer() => "an integer",
        ValueKind::Number => "a number",
        ValueKind::String => "a string",
        ValueKind::Bytes => "bytes",
        ValueKind::Seq | ValueKind::Iterable => "a list",
        ValueKind::Map => "a mapping",
        _ if is_omit(value) => "`omit`",
        _ => "no data",
    }
}

/// Python's `str(value)`.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::String => Ok(value.as_str().unwrap_or_default().to_owned()),
        _ => repr(value),
    }
}

/// Python's `str()` of plain data.
pub fn to_text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => repr(&from_json(other)).unwrap_or_default(),
    }
}

/// Python's `repr(value)`.
pub(super) fn repr(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::Invalid => Err(invalid(value)),
        ValueKind::String => Ok(quoted(value.as_str().unwrap_or_default())),
        ValueKind::Number if !value.is_integer() => Ok(float(f64::try_from(value.clone())?)),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Result<Vec<_>, _> = value.try_iter()?.map(|item| repr(&item)).collect();
            let items = items?;
            Ok(match (value.is_tuple(), items.as_slice()) {
                (true, [only]) => format!("({only},)"),
                (true, _) => format!("({})", items.join(", ")),
                (false, _) => format!("[{}]", items.join(", ")),
            })
        }
        ValueKind::Map => {
            let mut entries = Vec::new();
            for key in value.try_iter()? {
                entries.push(format!("{}: {}", repr(&key)?, repr(&value.get_item(&key)?)?));
            }
            Ok(format!("{{{}}}", entries.join(", ")))
        }
        _ => Ok(value.to_string()),
    }
}

/// Python's shortest text of a float.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if number != 0.0 && !(1e-4..1e16).contains(&number.abs()) {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    let text = number.to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if c == quote => {
                out.push('\\');
                out.push(c);
            }
            _ if c.is_control() && u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_look_as_in_python() {
        for (json, text) in [
            (serde_json::json!(["a", 1, true, null, 1.5]), "['a', 1, True, None, 1.5]"),
            (serde_json::json!({"a": "it's", "b": {"c": []}}), "{'a': \"it's\", 'b': {'c': []}}"),
            (serde_json::json!([1e16, 1e-5, 2.0, "\n\\"]), "[1e+16, 1e-05, 2.0, '\\n\\\\']"),
        ] {
            assert_eq!(repr(&from_json(&json)).expect("data"), text);
        }
    }

    #[test]
    fn omit_leaves_entries_out() {
        let value = Value::from_pairs([("a", Value::from(1)), ("b", Value::from_object(Omit))]);
        assert_eq!(to_json(&value).expect("data"), serde_json::json!({"a": 1}));
    }
}

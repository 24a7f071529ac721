//! Python's methods of strings, lists and mappings: those of the engine's library, and a few that playbooks use.

use super::arguments::wrong;
use minijinja::{Error, ErrorKind, State, Value, value::ValueKind, value::from_args};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Calls a method of a value.
pub(in crate::template) fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let own = match value.kind() {
        ValueKind::String => of_string(value.as_str().unwrap_or_default(), name, arguments)?,
        ValueKind::Seq => of_list(value, name, arguments)?,
        _ => None,
    };
    match own {
        Some(result) => Ok(result),
        None => unknown_method_callback(state, value, name, arguments).map_err(|error| {
            if error.kind() == ErrorKind::UnknownMethod {
                wrong(format!("{} has no method `{name}`", crate::template::python::describe(value)))
            } else {
                error
            }
        }),
    }
}

fn of_string(text: &str, name: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match name {
        "zfill" => {
            let (width,): (usize,) = from_args(arguments)?;
            let (sign, digits) = match text.strip_prefix(['-', '+']) {
                Some(digits) => text.split_at(text.len() - digits.len()),
                None => ("", text),
            };
            let missing = width.saturating_sub(text.chars().count());
            Value::from(format!("{sign}{}{digits}", "0".repeat(missing)))
        }
        "ljust" | "rjust" | "center" => {
            let (width, fill): (usize, Option<&str>) = from_args(arguments)?;
            let missing = width.min(1 << 20).saturating_sub(text.chars().count());
            let fill = fill.unwrap_or(" ");
            let left = match name {
                "ljust" => 0,
                "rjust" => missing,
                // CPython puts the odd one left where the width is odd.
                _ => missing / 2 + (missing & width & 1),
            };
            Value::from(format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left)))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "partition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            let (head, rest) = text.split_once(separator).map_or((text, None), |(head, tail)| (head, Some(tail)));
            let middle = if rest.is_some() { separator } else { "" };
            [head, middle, rest.unwrap_or_default()].into_iter().map(Value::from).collect()
        }
        "rsplit" => {
            let (separator, most): (&str, Option<usize>) = from_args(arguments)?;
            let mut parts: Vec<&str> = match most {
                Some(most) => text.rsplitn(most.saturating_add(1), separator).collect(),
                None => text.rsplit(separator).collect(),
            };
            parts.reverse();
            parts.into_iter().map(Value::from).collect()
        }
        _ => return Ok(None),
    }))
}

fn of_list(value: &Value, name: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    if name != "index" {
        return Ok(None);
    }
    let (wanted,): (&Value,) = from_args(arguments)?;
    for (at, item) in value.try_iter()?.enumerate() {
        if item == *wanted {
            return Ok(Some(Value::from(at)));
        }
    }
    Err(wrong(format!("{wanted} is not in the list")))
}

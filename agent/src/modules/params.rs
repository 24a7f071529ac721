//! Parameters: names, aliases and types, converted as Ansible converts them, then decoded into a module's own struct.

use super::{ModuleSpec, ParamKind, ParamSpec};
use crate::protocol::ModuleCall;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A call that a module does not accept. Never shows a parameter's value: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("module {module}: {reason}")]
pub struct ParamError {
    /// The module.
    pub module: String,
    /// The parameter, where one is to blame.
    pub param: Option<String>,
    /// What is wrong and what was expected: a sentence without its beginning.
    pub reason: String,
}

impl ParamError {
    /// A parameter that is not as expected.
    #[must_use]
    pub fn new(module: &str, param: &str, reason: impl Into<String>) -> Self {
        let reason = format!("parameter `{param}` {}", reason.into());
        Self { module: module.to_owned(), param: Some(param.to_owned()), reason }
    }

    /// A call that is wrong as a whole.
    #[must_use]
    pub fn call(module: &str, reason: impl Into<String>) -> Self {
        Self { module: module.to_owned(), param: None, reason: reason.into() }
    }

    pub(super) fn unknown_module(module: &str) -> Self {
        Self::call(module, "this agent has no module of that name")
    }
}

/// Resolves aliases, converts every value to the type that the spec says, and checks names, choices and presence.
/// A null stands for a parameter that is not given, as in Ansible.
///
/// # Errors
/// [`ParamError`] for the first parameter that does not fit.
pub fn normalise(spec: &ModuleSpec, params: &Map<String, Value>) -> Result<Map<String, Value>, ParamError> {
    let mut out = Map::new();
    for (name, value) in params {
        let Some(param) = spec.params.iter().find(|param| param.name == name || param.aliases.contains(&name.as_str()))
        else {
            let known: Vec<&str> = spec.params.iter().map(|param| param.name).collect();
            return Err(ParamError::new(spec.name, name, format!("is unknown; it takes {}", known.join(", "))));
        };
        if value.is_null() {
            continue;
        }
        let value = convert(param, value).map_err(|reason| ParamError::new(spec.name, name, reason))?;
        if out.insert(param.name.to_owned(), value).is_some() {
            return Err(ParamError::new(spec.name, param.name, "is given twice, once by another name"));
        }
    }
    if let Some(missing) = spec.params.iter().find(|param| param.required && !out.contains_key(param.name)) {
        return Err(ParamError::new(spec.name, missing.name, "is missing"));
    }
    for group in spec.require_one_of {
        if !group.iter().any(|name| out.contains_key(*name)) {
            return Err(ParamError::call(spec.name, format!("one of {} is needed", group.join(", "))));
        }
    }
    Ok(out)
}

/// Decodes normalised parameters into a module's struct (`#[serde(deny_unknown_fields)]`).
///
/// # Errors
/// [`ParamError`] with serde's words for what does not fit.
pub fn decode<P: DeserializeOwned>(call: &ModuleCall) -> Result<P, ParamError> {
    P::deserialize(Value::Object(call.params.clone()))
        .map_err(|error| ParamError::call(&call.module, error.to_string()))
}

fn convert(param: &ParamSpec, value: &Value) -> Result<Value, String> {
    let converted = match param.kind {
        ParamKind::Str => text(value).map(Value::String),
        ParamKind::Path => text(value).and_then(path).map(Value::String),
        ParamKind::Bool => boolean(value).map(Value::Bool),
        ParamKind::Int => integer(value).map(Value::from),
        ParamKind::Float => float(value),
        ParamKind::Mode => mode(value).map(Value::String),
        ParamKind::List => list(value),
        ParamKind::Dict => value.is_object().then(|| value.clone()).ok_or_else(|| expected("a map", value)),
        ParamKind::Any => Ok(value.clone()),
    }?;
    if let (false, Some(text)) = (param.choices.is_empty(), converted.as_str())
        && !param.choices.contains(&text)
    {
        return Err(format!("must be one of {}", param.choices.join(", ")));
    }
    Ok(converted)
}

fn expected(what: &str, value: &Value) -> String {
    let kind = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string that is none",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    };
    format!("must be {what}, and is {kind}")
}

/// Python's `str()` for scalars: Ansible accepts a number or boolean where text is wanted.
fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(true) => Ok("True".to_owned()),
        Value::Bool(false) => Ok("False".to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        // Ansible renders structures as JSON where text is wanted (`content: "{{ map }}"`).
        Value::Array(_) | Value::Object(_) => Ok(value.to_string()),
        Value::Null => Err(expected("text", value)),
    }
}

fn path(text: String) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("must be an absolute path".to_owned());
    }
    if text.contains('\0') {
        return Err("must be a path, and contains a NUL byte".to_owned());
    }
    Ok(text)
}

/// Ansible's words for booleans.
fn boolean(value: &Value) -> Result<bool, String> {
    let word = match value {
        Value::Bool(value) => return Ok(*value),
        Value::String(word) => word.trim().to_lowercase(),
        Value::Number(number) => number.to_string(),
        _ => return Err(expected("a boolean", value)),
    };
    match word.as_str() {
        "yes" | "on" | "1" | "true" | "y" | "t" | "1.0" => Ok(true),
        "no" | "off" | "0" | "false" | "n" | "f" | "0.0" => Ok(false),
        _ => Err(expected("a boolean (yes or no, true or false, on or off)", value)),
    }
}

fn integer(value: &Value) -> Result<i64, String> {
    let found = match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            // 3.0 is 3, as in Python's int().
            number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15).map(|float| {
                #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
                let whole = float as i64;
                whole
            })
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    found.ok_or_else(|| expected("an integer", value))
}

fn float(value: &Value) -> Result<Value, String> {
    let found = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    found.and_then(serde_json::Number::from_f64).map(Value::Number).ok_or_else(|| expected("a number", value))
}

/// A mode stays text: octal digits, or symbolic, or Ansible's `preserve`.
fn mode(value: &Value) -> Result<String, String> {
    let Value::String(text) = value else {
        return Err("must be an octal mode in quotes such as \"0644\", or a symbolic one such as u=rw,go=r; \
                    an unquoted number is read as decimal"
            .to_owned());
    };
    super::attributes::ModeChange::parse(text).map(|_| text.clone()).map_err(|error| error.to_string())
}

fn list(value: &Value) -> Result<Value, String> {
    match value {
        Value::Array(items) => Ok(Value::Array(items.clone())),
        Value::String(text) => Ok(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect()),
        Value::Number(_) | Value::Bool(_) => text(value).map(|item| Value::Array(vec![Value::String(item)])),
        _ => Err(expected("a list", value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn param(kind: ParamKind) -> ParamSpec {
        ParamSpec { name: "p", aliases: &[], kind, required: false, choices: &[] }
    }

    #[test]
    fn values_are_converted_as_ansible_does() {
        assert_eq!(convert(&param(ParamKind::Bool), &json!("yes")), Ok(json!(true)));
        assert_eq!(convert(&param(ParamKind::Bool), &json!(0)), Ok(json!(false)));
        assert_eq!(convert(&param(ParamKind::Int), &json!("22")), Ok(json!(22)));
        assert_eq!(convert(&param(ParamKind::Int), &json!(3.0)), Ok(json!(3)));
        assert_eq!(convert(&param(ParamKind::List), &json!("a, b")), Ok(json!(["a", "b"])));
        assert_eq!(convert(&param(ParamKind::Str), &json!(true)), Ok(json!("True")));
        assert_eq!(convert(&param(ParamKind::Str), &json!({"b": 1, "a": 2})), Ok(json!(r#"{"b":1,"a":2}"#)));
    }

    #[test]
    fn an_unquoted_mode_is_refused() {
        assert!(convert(&param(ParamKind::Mode), &json!(644)).unwrap_err().contains("in quotes"));
        assert_eq!(convert(&param(ParamKind::Mode), &json!("0644")), Ok(json!("0644")));
        assert!(convert(&param(ParamKind::Mode), &json!("rw-r--r--")).is_err());
    }

    #[test]
    fn a_relative_path_is_refused() {
        assert!(convert(&param(ParamKind::Path), &json!("etc/passwd")).unwrap_err().contains("absolute"));
    }

    #[test]
    fn errors_name_the_parameter_and_never_its_value() {
        let spec = super::super::spec("command").unwrap();
        let mut params = Map::new();
        params.insert("stdin_add_newline".into(), json!("hunter2"));
        let error = normalise(spec, &params).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("stdin_add_newline"));
        assert!(!error.to_string().contains("hunter2"));
    }
}

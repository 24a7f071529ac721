//! Arguments by position or by name, as Python functions take them.

use crate::template::python::{describe, text};
use minijinja::{
    Error, ErrorKind, Value,
    value::{Kwargs, Rest, ValueOrKwargs, from_args},
};
use std::collections::HashMap;

/// What a filter, test or function is called with after its first argument, by position and by name.
pub(in crate::template) type Given = Rest<ValueOrKwargs>;

/// The arguments of one call, by name.
pub(super) struct Arguments(HashMap<&'static str, Value>);

impl Arguments {
    /// Assigns positional arguments to `names` in order, and checks the names of the others.
    pub(super) fn new(arguments: Given, names: &[&'static str]) -> Result<Self, Error> {
        let arguments = arguments.into_values();
        let (positional, named): (&[Value], Kwargs) = from_args(&arguments)?;
        if positional.len() > names.len() {
            return Err(Error::from(ErrorKind::TooManyArguments));
        }
        let mut given: HashMap<_, _> = names.iter().copied().zip(positional.iter().cloned()).collect();
        for key in named.args() {
            let Some(name) = names.iter().find(|name| **name == key) else {
                return Err(wrong(format!("there is no argument `{key}`; there are {}", names.join(", "))));
            };
            given.insert(name, named.peek(key)?);
        }
        Ok(Self(given))
    }

    /// An argument as given.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A boolean; false where it is not given.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(Value::is_true)
    }

    /// A text, if given and not none.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Error> {
        self.0.get(name).filter(|value| !value.is_none()).map(text).transpose()
    }

    /// A text that must be given.
    pub(super) fn required(&self, name: &str) -> Result<String, Error> {
        self.text(name)?.ok_or_else(|| Error::new(ErrorKind::MissingArgument, format!("`{name}` is missing")))
    }

    /// A whole number, if given and not none.
    pub(super) fn count(&self, name: &str) -> Result<Option<usize>, Error> {
        match self.0.get(name).filter(|value| !value.is_none()) {
            None => Ok(None),
            Some(value) => value
                .as_usize()
                .map(Some)
                .ok_or_else(|| wrong(format!("`{name}` must be a whole number, not {}", describe(value)))),
        }
    }
}

/// An error about an argument.
pub(super) fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// The items of a list; a string or mapping is none.
pub(super) fn list(filter: &str, value: &Value) -> Result<Vec<Value>, Error> {
    use minijinja::value::ValueKind;
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => Ok(value.try_iter()?.collect()),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        _ => Err(wrong(format!("`{filter}` needs a list, not {}", describe(value)))),
    }
}

/// The entries of a mapping.
pub(super) fn entries(filter: &str, value: &Value) -> Result<Vec<(Value, Value)>, Error> {
    use minijinja::value::ValueKind;
    match value.kind() {
        ValueKind::Map => value.try_iter()?.map(|key| Ok((key.clone(), value.get_item(&key)?))).collect(),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        _ => Err(wrong(format!("`{filter}` needs a mapping, not {}", describe(value)))),
    }
}

/// The text of a value, as Python's `str()`.
pub(super) fn string(value: &Value) -> Result<String, Error> {
    text(value)
}

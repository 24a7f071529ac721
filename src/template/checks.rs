//! Ansible's tests (`is ...`), as ansible-core 2.19 has them.

use super::{
    filters::{Flags, Given, compile},
    python::{describe, text},
    version,
};
use minijinja::{
    Environment, Error, ErrorKind, Value,
    value::{Kwargs, ValueKind, from_args},
};
use std::path::Path;

/// The tests that this adds to the engine's.
pub(super) const NAMES: &[&str] = &[
    "abs",
    "all",
    "any",
    "change",
    "changed",
    "contains",
    "directory",
    "exists",
    "failed",
    "failure",
    "falsy",
    "file",
    "finished",
    "issubset",
    "issuperset",
    "link",
    "link_exists",
    "match",
    "nan",
    "reachable",
    "regex",
    "search",
    "skip",
    "skipped",
    "started",
    "subset",
    "succeeded",
    "success",
    "successful",
    "superset",
    "truthy",
    "unreachable",
    "version",
    "version_compare",
];

/// Adds the tests to an engine.
pub(super) fn register(environment: &mut Environment<'static>) {
    results(environment);
    for (name, how) in [("match", Search::Start), ("search", Search::Anywhere), ("regex", Search::Option)] {
        environment.add_test(name, move |value: &Value, arguments: Given| regex(value, arguments, how));
    }
    environment.add_test("version", version_test);
    environment.add_test("version_compare", version_test);
    for name in ["subset", "issubset"] {
        environment.add_test(name, |one: &Value, two: &Value| within(one, two));
    }
    for name in ["superset", "issuperset"] {
        environment.add_test(name, |one: &Value, two: &Value| within(two, one));
    }
    environment.add_test("contains", |list: &Value, item: &Value| {
        Ok::<_, Error>(match list.as_str() {
            Some(text) => item.as_str().is_some_and(|item| text.contains(item)),
            None => list.try_iter()?.any(|other| other == *item),
        })
    });
    environment.add_test("truthy", |value: &Value, arguments: Given| truth(value, arguments));
    environment.add_test("falsy", |value: &Value, arguments: Given| truth(value, arguments).map(|truth| !truth));
    environment.add_test("all", |value: &Value| Ok::<_, Error>(value.try_iter()?.all(|item| item.is_true())));
    environment.add_test("any", |value: &Value| Ok::<_, Error>(value.try_iter()?.any(|item| item.is_true())));
    environment.add_test("nan", |value: &Value| f64::try_from(value.clone()).is_ok_and(f64::is_nan));
    // Texts and mappings are sequences to Jinja.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::String | ValueKind::Map)
    });
    files(environment);
}

/// Tests of a registered result.
fn results(environment: &mut Environment<'static>) {
    for name in ["failed", "failure"] {
        environment.add_test(name, |value: &Value| flag(value, "failed"));
    }
    for name in ["succeeded", "success", "successful"] {
        environment.add_test(name, |value: &Value| flag(value, "failed").map(|failed| !failed));
    }
    for name in ["changed", "change"] {
        environment.add_test(name, changed);
    }
    for name in ["skipped", "skip"] {
        environment.add_test(name, |value: &Value| flag(value, "skipped"));
    }
    environment.add_test("unreachable", |value: &Value| flag(value, "unreachable"));
    environment.add_test("reachable", |value: &Value| flag(value, "unreachable").map(|unreachable| !unreachable));
    for name in ["started", "finished"] {
        environment.add_test(name, move |value: &Value| {
            let given = result(value)?.get_attr(name)?;
            Ok::<_, Error>(given.is_undefined() || given.is_true())
        });
    }
}

fn result(value: &Value) -> Result<&Value, Error> {
    match value.kind() {
        ValueKind::Map => Ok(value),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        _ => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("this test needs a registered result, not {}", describe(value)),
        )),
    }
}

fn flag(value: &Value, name: &str) -> Result<bool, Error> {
    Ok(result(value)?.get_attr(name)?.is_true())
}

fn changed(value: &Value) -> Result<bool, Error> {
    let given = result(value)?.get_attr("changed")?;
    if !given.is_undefined() {
        return Ok(given.is_true());
    }
    let results = value.get_attr("results")?;
    if results.kind() != ValueKind::Seq {
        return Ok(false);
    }
    for item in results.try_iter()? {
        if item.kind() == ValueKind::Map && item.get_attr("changed")?.is_true() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[derive(Clone, Copy)]
enum Search {
    Start,
    Anywhere,
    /// As the argument `match_type` says.
    Option,
}

fn regex(value: &Value, arguments: Given, how: Search) -> Result<bool, Error> {
    let arguments = arguments.into_values();
    let (positional, options): (&[Value], Kwargs) = from_args(&arguments)?;
    let pattern = match positional.first() {
        Some(pattern) => text(pattern)?,
        None => options.get::<Option<String>>("pattern")?.unwrap_or_default(),
    };
    let option = |at: usize, name: &str| {
        let named = options.get::<Option<bool>>(name)?;
        Ok::<_, Error>(named.unwrap_or_else(|| positional.get(at).is_some_and(Value::is_true)))
    };
    let flags = Flags { ignore_case: option(1, "ignorecase")?, multi_line: option(2, "multiline")? };
    let kind = options.get::<Option<String>>("match_type")?;
    options.assert_all_used()?;
    let pattern = match (how, kind.as_deref()) {
        (Search::Start, _) | (Search::Option, Some("match")) => format!("\\A(?:{pattern})"),
        (Search::Option, Some("fullmatch")) => format!("\\A(?:{pattern})\\z"),
        _ => pattern,
    };
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    compile(&pattern, flags)?
        .is_match(&text(value)?)
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("the regular expression failed: {error}")))
}

fn version_test(value: &Value, arguments: Given) -> Result<bool, Error> {
    let arguments = arguments.into_values();
    let (positional, options): (&[Value], Kwargs) = from_args(&arguments)?;
    let wrong = |message: String| Error::new(ErrorKind::InvalidOperation, message);
    let given = |at: usize, name: &str| match positional.get(at) {
        Some(value) if value.is_undefined() => Err(Error::from(ErrorKind::UndefinedError)),
        Some(value) => text(value).map(Some),
        None => options.get::<Option<String>>(name),
    };
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let other = given(0, "version")?.filter(|other| !other.is_empty());
    let other = other.ok_or_else(|| wrong("there is no version to compare with".to_owned()))?;
    let operator = given(1, "operator")?.unwrap_or_else(|| "eq".to_owned());
    let strict =
        options.get::<Option<bool>>("strict")?.unwrap_or_else(|| positional.get(2).is_some_and(Value::is_true));
    let kind = given(3, "version_type")?;
    options.assert_all_used()?;
    let kind = kind.unwrap_or_else(|| if strict { "strict" } else { "loose" }.to_owned());
    let own = text(value)?;
    if own.is_empty() {
        return Err(wrong("the version to test is empty".to_owned()));
    }
    let order = version::compare_as(&own, &other, &kind).map_err(wrong)?;
    Ok(match operator.as_str() {
        "==" | "=" | "eq" => order.is_eq(),
        "!=" | "<>" | "ne" => order.is_ne(),
        "<" | "lt" => order.is_lt(),
        "<=" | "le" => order.is_le(),
        ">" | "gt" => order.is_gt(),
        ">=" | "ge" => order.is_ge(),
        other => return Err(wrong(format!("`{other}` is no comparison; there are ==, !=, <, <=, > and >="))),
    })
}

fn within(small: &Value, large: &Value) -> Result<bool, Error> {
    let large: Vec<Value> = large.try_iter()?.collect();
    Ok(small.try_iter()?.all(|item| large.contains(&item)))
}

fn truth(value: &Value, arguments: Given) -> Result<bool, Error> {
    let arguments = arguments.into_values();
    let (positional, options): (&[Value], Kwargs) = from_args(&arguments)?;
    let convert =
        options.get::<Option<bool>>("convert_bool")?.unwrap_or_else(|| positional.first().is_some_and(Value::is_true));
    options.assert_all_used()?;
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    Ok(match value.as_str().filter(|_| convert).map(str::to_lowercase).as_deref() {
        Some("y" | "yes" | "on" | "1" | "true" | "t" | "1.0") => true,
        Some("n" | "no" | "off" | "0" | "false" | "f" | "0.0") => false,
        _ => value.is_true(),
    })
}

/// Tests of files on the controller, as in Ansible; a host's files are seen by `stat`.
fn files(environment: &mut Environment<'static>) {
    fn path(value: &Value) -> Result<String, Error> {
        text(value)
    }
    environment.add_test("abs", |value: &Value| Ok::<_, Error>(Path::new(&path(value)?).is_absolute()));
    environment.add_test("file", |value: &Value| Ok::<_, Error>(Path::new(&path(value)?).is_file()));
    environment.add_test("directory", |value: &Value| Ok::<_, Error>(Path::new(&path(value)?).is_dir()));
    environment.add_test("link", |value: &Value| Ok::<_, Error>(Path::new(&path(value)?).is_symlink()));
    environment.add_test("exists", |value: &Value| Ok::<_, Error>(Path::new(&path(value)?).exists()));
    environment.add_test("link_exists", |value: &Value| {
        let path = path(value)?;
        Ok::<_, Error>(Path::new(&path).is_symlink() || Path::new(&path).exists())
    });
}

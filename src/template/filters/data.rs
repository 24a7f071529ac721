//! Filters over data: bool, combine, dict2items, items2dict, flatten, ternary, mandatory, extract, subelements, ...

use super::arguments::{Arguments, Given, entries, list, wrong};
use crate::template::{prepare::CHAIN, python::describe};
use minijinja::{
    Environment, Error, ErrorKind, Value,
    value::{Kwargs, ValueKind, from_args},
};

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter(CHAIN, get);
    environment.add_filter("bool", bool);
    environment.add_filter("combine", combine);
    environment.add_filter("dict2items", dict2items);
    environment.add_filter("items2dict", items2dict);
    environment.add_filter("flatten", flatten);
    environment.add_filter("ternary", ternary);
    environment.add_filter("mandatory", mandatory);
    environment.add_filter("extract", extract);
    environment.add_filter("subelements", subelements);
    environment.add_filter("type_debug", type_debug);
    environment.add_filter("zip_longest", zip_longest);
    environment.add_filter("product", product);
    environment.add_filter("permutations", permutations);
}

/// An attribute or item; undefined for undefined (see `prepare`).
fn get(value: &Value, key: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Ok(Value::UNDEFINED);
    }
    let found = value.get_item(key)?;
    // A value that carries a failure fails here, not where it is asked whether it is defined.
    if found.kind() == ValueKind::Invalid {
        found.try_iter()?;
    }
    Ok(found)
}

/// Ansible's words for true; everything else is false, with a warning in Ansible and without one here.
fn bool(value: &Value) -> Result<bool, Error> {
    match value.kind() {
        ValueKind::Bool => Ok(value.is_true()),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::Number => Ok(*value == Value::from(1)),
        ValueKind::String => {
            Ok(matches!(value.as_str().unwrap_or_default().to_lowercase().as_str(), "yes" | "on" | "true" | "1"))
        }
        _ => Ok(false),
    }
}

fn combine(value: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = arguments.into_values();
    let (others, options): (&[Value], Kwargs) = from_args(&arguments)?;
    let recursive = options.get::<Option<bool>>("recursive")?.unwrap_or(false);
    let lists = options.get::<Option<String>>("list_merge")?.unwrap_or_else(|| "replace".to_owned());
    options.assert_all_used()?;
    if !["replace", "keep", "append", "prepend", "append_rp", "prepend_rp"].contains(&lists.as_str()) {
        return Err(wrong(format!(
            "`list_merge` must be replace, keep, append, prepend, append_rp or prepend_rp, not `{lists}`"
        )));
    }
    let mut maps = Vec::new();
    for given in std::iter::once(value).chain(others) {
        match given.kind() {
            ValueKind::Seq | ValueKind::Iterable => maps.extend(given.try_iter()?),
            _ => maps.push(given.clone()),
        }
    }
    let mut merged: Vec<(Value, Value)> = Vec::new();
    for map in &maps {
        merged = merge(merged, entries("combine", map)?, recursive, &lists)?;
    }
    Ok(Value::from_pairs(merged))
}

/// Merges `high` over `low`: keys keep the place they had in `low`.
fn merge(
    mut low: Vec<(Value, Value)>,
    high: Vec<(Value, Value)>,
    recursive: bool,
    lists: &str,
) -> Result<Vec<(Value, Value)>, Error> {
    for (key, new) in high {
        let Some((_, old)) = low.iter_mut().find(|(other, _)| *other == key) else {
            low.push((key, new));
            continue;
        };
        *old = match (old.kind(), new.kind()) {
            (ValueKind::Map, ValueKind::Map) if recursive => {
                Value::from_pairs(merge(entries("combine", old)?, entries("combine", &new)?, recursive, lists)?)
            }
            (ValueKind::Seq | ValueKind::Iterable, ValueKind::Seq | ValueKind::Iterable) => {
                merge_lists(list("combine", old)?, list("combine", &new)?, lists)
            }
            _ => new,
        };
    }
    Ok(low)
}

fn merge_lists(old: Vec<Value>, new: Vec<Value>, how: &str) -> Value {
    let without = |from: Vec<Value>, other: &[Value]| from.into_iter().filter(|item| !other.contains(item)).collect();
    let join = |one: Vec<Value>, two: Vec<Value>| one.into_iter().chain(two).collect::<Vec<_>>();
    Value::from(match how {
        "keep" => old,
        "append" => join(old, new),
        "prepend" => join(new, old),
        "append_rp" => join(without(old, &new), new),
        "prepend_rp" => {
            let rest = without(old, &new);
            join(new, rest)
        }
        _ => new,
    })
}

fn dict2items(value: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = Arguments::new(arguments, &["key_name", "value_name"])?;
    let key_name = arguments.text("key_name")?.unwrap_or_else(|| "key".to_owned());
    let value_name = arguments.text("value_name")?.unwrap_or_else(|| "value".to_owned());
    let items = entries("dict2items", value)?
        .into_iter()
        .map(|(key, value)| Value::from_pairs([(key_name.clone(), key), (value_name.clone(), value)]));
    Ok(items.collect())
}

fn items2dict(value: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = Arguments::new(arguments, &["key_name", "value_name"])?;
    let key_name = arguments.text("key_name")?.unwrap_or_else(|| "key".to_owned());
    let value_name = arguments.text("value_name")?.unwrap_or_else(|| "value".to_owned());
    let mut pairs = Vec::new();
    for item in list("items2dict", value)? {
        let (key, value) = (item.get_attr(&key_name)?, item.get_attr(&value_name)?);
        if key.is_undefined() || value.is_undefined() {
            return Err(wrong(format!("`items2dict` needs `{key_name}` and `{value_name}` in every item")));
        }
        pairs.push((key, value));
    }
    Ok(Value::from_pairs(pairs))
}

fn flatten(value: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = Arguments::new(arguments, &["levels", "skip_nulls"])?;
    let levels = arguments.count("levels")?;
    let skip_nulls = arguments.value("skip_nulls").is_none_or(Value::is_true);
    let mut flat = Vec::new();
    flatten_into(&mut flat, list("flatten", value)?, levels.unwrap_or(usize::MAX), skip_nulls)?;
    Ok(Value::from(flat))
}

fn flatten_into(flat: &mut Vec<Value>, items: Vec<Value>, levels: usize, skip_nulls: bool) -> Result<(), Error> {
    for item in items {
        if skip_nulls && (item.is_none() || matches!(item.as_str(), Some("None" | "null"))) {
            continue;
        }
        if levels > 0 && matches!(item.kind(), ValueKind::Seq | ValueKind::Iterable) {
            flatten_into(flat, list("flatten", &item)?, levels - 1, skip_nulls)?;
        } else {
            flat.push(item);
        }
    }
    Ok(())
}

fn ternary(value: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = Arguments::new(arguments, &["true_val", "false_val", "none_val"])?;
    let chosen = match arguments.value("none_val") {
        _ if value.is_undefined() => return Err(Error::from(ErrorKind::UndefinedError)),
        Some(none) if value.is_none() && !none.is_none() => Some(none),
        _ => arguments.value(if value.is_true() { "true_val" } else { "false_val" }),
    };
    chosen.cloned().ok_or_else(|| Error::new(ErrorKind::MissingArgument, "`ternary` needs two values"))
}

fn mandatory(value: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = Arguments::new(arguments, &["msg"])?;
    if value.is_undefined() {
        let message = arguments.text("msg")?.unwrap_or_else(|| "a mandatory variable is not defined".to_owned());
        return Err(wrong(message));
    }
    Ok(value.clone())
}

fn extract(key: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = Arguments::new(arguments, &["container", "morekeys"])?;
    let container = arguments.value("container");
    let container = container.ok_or_else(|| Error::new(ErrorKind::MissingArgument, "`extract` needs a container"))?;
    let mut found = get(container, key)?;
    match arguments.value("morekeys").filter(|more| !more.is_none()) {
        None => {}
        Some(more) if more.kind() == ValueKind::Seq => {
            for key in list("extract", more)? {
                found = get(&found, &key)?;
            }
        }
        Some(more) => found = get(&found, more)?,
    }
    Ok(found)
}

fn subelements(value: &Value, path: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = Arguments::new(arguments, &["skip_missing"])?;
    let elements = match value.kind() {
        ValueKind::Map => entries("subelements", value)?.into_iter().map(|(_, value)| value).collect(),
        _ => list("subelements", value)?,
    };
    let keys: Vec<Value> = match path.as_str() {
        Some(path) => path.split('.').map(Value::from).collect(),
        None => list("subelements", path)?,
    };
    let mut found = Vec::new();
    for element in elements {
        let mut inner = element.clone();
        for key in &keys {
            if inner.kind() != ValueKind::Map {
                return Err(wrong(format!("`subelements` looks for `{key}` in {}", describe(&inner))));
            }
            inner = get(&inner, key)?;
            if inner.is_undefined() {
                break;
            }
        }
        if inner.is_undefined() {
            if arguments.flag("skip_missing") {
                continue;
            }
            return Err(wrong(format!("`subelements` finds no `{path}` in an item")));
        }
        for item in list("subelements", &inner)? {
            found.push(Value::from(vec![element.clone(), item]));
        }
    }
    Ok(Value::from(found))
}

/// Python's name of the type.
fn type_debug(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Seq if value.is_tuple() => "tuple",
        ValueKind::Seq | ValueKind::Iterable => "list",
        ValueKind::Map => "dict",
        _ => describe(value),
    }
}

fn zip_longest(value: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = arguments.into_values();
    let (others, options): (&[Value], Kwargs) = from_args(&arguments)?;
    let fill = options.get::<Option<Value>>("fillvalue")?.unwrap_or_else(|| Value::from(()));
    options.assert_all_used()?;
    let lists: Result<Vec<_>, _> = std::iter::once(value).chain(others).map(|one| list("zip_longest", one)).collect();
    let lists = lists?;
    let longest = lists.iter().map(Vec::len).max().unwrap_or_default();
    Ok((0..longest)
        .map(|at| lists.iter().map(|list| list.get(at).unwrap_or(&fill).clone()).collect::<Value>())
        .collect())
}

/// The largest number of combinations that are worked out.
const MOST: usize = 100_000;

fn product(value: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = arguments.into_values();
    let (others, options): (&[Value], Kwargs) = from_args(&arguments)?;
    let repeat = options.get::<Option<usize>>("repeat")?.unwrap_or(1);
    options.assert_all_used()?;
    let lists: Result<Vec<_>, _> = std::iter::once(value).chain(others).map(|one| list("product", one)).collect();
    let lists = lists?;
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for _ in 0..repeat {
        for list in &lists {
            if rows.len().saturating_mul(list.len()) > MOST {
                return Err(wrong(format!("`product` would make more than {MOST} combinations")));
            }
            rows = rows
                .iter()
                .flat_map(|row| list.iter().map(|item| row.iter().cloned().chain([item.clone()]).collect()))
                .collect();
        }
    }
    Ok(rows.into_iter().map(Value::from).collect())
}

fn permutations(value: &Value, length: Option<usize>) -> Result<Value, Error> {
    let items = list("permutations", value)?;
    let length = length.unwrap_or(items.len());
    let mut rows: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..length {
        if rows.len().saturating_mul(items.len()) > MOST {
            return Err(wrong(format!("`permutations` would make more than {MOST} combinations")));
        }
        rows = rows
            .iter()
            .flat_map(|row| {
                (0..items.len()).filter(|at| !row.contains(at)).map(|at| row.iter().copied().chain([at]).collect())
            })
            .collect();
    }
    Ok(rows.into_iter().map(|row| row.into_iter().filter_map(|at| items.get(at).cloned()).collect::<Value>()).collect())
}

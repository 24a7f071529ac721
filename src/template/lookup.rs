//! `lookup`, `query`, `now`. What a lookup yields is data and is never rendered again (S12); they run on the controller.

use super::{
    context::Context,
    failure::Carried,
    file::{FileOptions, render_file},
    filters::Given,
    python::text,
};
use minijinja::{
    Environment, Error, ErrorKind, State, Value,
    value::{Kwargs, from_args},
};
use std::path::{Path, PathBuf};

/// The lookups there are.
const NAMES: [&str; 9] = ["dict", "env", "file", "fileglob", "first_found", "lines", "pipe", "template", "vars"];

/// Adds the functions to an engine.
pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_function("lookup", |state: &State<'_, '_>, name: String, arguments: Given| {
        let (values, list) = run(state, &name, arguments)?;
        if list {
            return Ok(Value::from(values));
        }
        match values.as_slice() {
            [one] => Ok(one.clone()),
            _ => {
                let texts: Result<Vec<_>, Error> = values.iter().map(text).collect();
                Ok::<_, Error>(Value::from(texts?.join(",")))
            }
        }
    });
    for name in ["query", "q"] {
        environment.add_function(name, |state: &State<'_, '_>, name: String, arguments: Given| {
            run(state, &name, arguments).map(|(values, _)| Value::from(values))
        });
    }
    environment.add_function("now", now);
    environment.add_function("undef", |options: Kwargs| -> Result<Value, Error> {
        let hint = options.get::<Option<String>>("hint")?.unwrap_or_else(|| "a value must be given here".to_owned());
        Err(Error::new(ErrorKind::InvalidOperation, hint))
    });
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Runs a lookup over its terms. The flag says whether a list was asked for.
fn run(state: &State<'_, '_>, name: &str, arguments: Given) -> Result<(Vec<Value>, bool), Error> {
    let context = Context::of(state).ok_or_else(|| wrong("lookups need a context"))?;
    let arguments = arguments.into_values();
    let (terms, options): (&[Value], Kwargs) = from_args(&arguments)?;
    let list = options.get::<Option<bool>>("wantlist")?.unwrap_or(false);
    let errors = options.get::<Option<String>>("errors")?.unwrap_or_else(|| "strict".to_owned());
    let short = name.strip_prefix("ansible.builtin.").unwrap_or(name);
    let found = match short {
        "first_found" => first_found(&context, terms).map(|found| vec![found]),
        _ => {
            let mut found = Vec::new();
            let mut failed = None;
            for term in terms {
                match one(&context, short, term, &options) {
                    Ok(values) => found.extend(values),
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            failed.map_or(Ok(found), Err)
        }
    };
    options.assert_all_used()?;
    match found {
        Ok(values) => Ok((values, list)),
        Err(_) if errors == "ignore" => Ok((if list { Vec::new() } else { vec![Value::from(())] }, list)),
        Err(error) => Err(error),
    }
}

fn one(context: &Context, name: &str, term: &Value, options: &Kwargs) -> Result<Vec<Value>, Error> {
    let default = options.get::<Option<Value>>("default")?;
    match name {
        "env" => {
            let variable = text(term)?;
            match (std::env::var(&variable), default) {
                (Ok(value), _) => Ok(vec![Value::from(value)]),
                (Err(_), Some(default)) if default.is_undefined() => {
                    Err(wrong(format!("the environment variable `{variable}` is not set")))
                }
                (Err(_), default) => Ok(vec![default.unwrap_or_else(|| Value::from(""))]),
            }
        }
        "dict" => {
            let pair = |key: Value| {
                let value = term.get_item(&key)?;
                Ok(Value::from_pairs([("key", key), ("value", value)]))
            };
            term.try_iter()?.map(pair).collect()
        }
        "vars" => {
            let variable = text(term)?;
            match (context.resolve(&variable).filter(|value| !value.is_undefined()), default) {
                (Some(value), _) | (None, Some(value)) => Ok(vec![value]),
                (None, None) => Err(wrong(format!("lookup('vars'): there is no variable `{variable}`"))),
            }
        }
        "file" => {
            let (left, right) = (options.get::<Option<bool>>("lstrip")?, options.get::<Option<bool>>("rstrip")?);
            let content = read(&find(context, "files", &text(term)?)?)?;
            let content = if right.unwrap_or(true) { content.trim_end() } else { &content };
            Ok(vec![Value::from(if left.unwrap_or(false) { content.trim_start() } else { content })])
        }
        "template" => {
            let path = find(context, "templates", &text(term)?)?;
            let options = FileOptions {
                trim_blocks: options.get::<Option<bool>>("trim_blocks")?.unwrap_or(true),
                lstrip_blocks: options.get::<Option<bool>>("lstrip_blocks")?.unwrap_or(false),
            };
            render_file(context, &path, &options)
                .map(|rendered| vec![Value::from(rendered)])
                .map_err(|failure| Error::from(Carried(failure)))
        }
        "fileglob" => glob(context, &text(term)?),
        "pipe" => Ok(vec![Value::from(pipe(context, &text(term)?)?)]),
        "lines" => Ok(pipe(context, &text(term)?)?.lines().map(Value::from).collect()),
        other => {
            let near = super::failure::suggestion(other, NAMES.into_iter());
            Err(wrong(format!(
                "there is no lookup `{other}`; there are {}.{}",
                NAMES.join(", "),
                near.map(|near| format!(" {near}")).unwrap_or_default()
            )))
        }
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs_err::read_to_string(path).map_err(|error| wrong(format!("cannot read a file: {error}")))
}

/// Where a file named by a lookup may be: in `kind` (`files`, `templates`) or directly beside the playbook.
fn candidates(context: &Context, kind: &str, name: &str) -> Vec<PathBuf> {
    if Path::new(name).is_absolute() {
        return vec![PathBuf::from(name)];
    }
    if let Some(rest) = name.strip_prefix("~/")
        && let Ok(home) = std::env::var("HOME")
    {
        return vec![Path::new(&home).join(rest)];
    }
    context.variables().directories().iter().flat_map(|base| [base.join(kind).join(name), base.join(name)]).collect()
}

fn find(context: &Context, kind: &str, name: &str) -> Result<PathBuf, Error> {
    let candidates = candidates(context, kind, name);
    candidates.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let searched: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
        wrong(format!("there is no file `{name}`; searched: {}", searched.join(", ")))
    })
}

fn first_found(context: &Context, terms: &[Value]) -> Result<Value, Error> {
    let mut names = Vec::new();
    for term in terms {
        match term.as_str() {
            Some(name) => names.push(name.to_owned()),
            None => {
                for name in term.try_iter()? {
                    names.push(text(&name)?);
                }
            }
        }
    }
    names
        .iter()
        .find_map(|name| find(context, "files", name).ok())
        .map(|path| Value::from(path.display().to_string()))
        .ok_or_else(|| wrong(format!("none of these files exists: {}", names.join(", "))))
}

/// Files whose name matches, sorted; only the last part may hold wildcards, as in Ansible.
fn glob(context: &Context, pattern: &str) -> Result<Vec<Value>, Error> {
    let (directory, name) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    let places: Vec<PathBuf> = match directory {
        "" => context.variables().directories().iter().map(|base| base.join("files")).collect(),
        directory => candidates(context, "files", directory),
    };
    let mut found = Vec::new();
    for place in places.iter().filter(|place| place.is_dir()) {
        let entries = fs_err::read_dir(place).map_err(|error| wrong(format!("cannot list a directory: {error}")))?;
        for entry in entries.flatten() {
            let matches = entry.file_name().to_str().is_some_and(|file| crate::inventory::glob_matches(name, file));
            if matches && entry.path().is_file() {
                found.push(entry.path().display().to_string());
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    found.sort();
    Ok(found.into_iter().map(Value::from).collect())
}

/// Runs a command line on the controller, in the playbook's directory, and takes its output.
fn pipe(context: &Context, command: &str) -> Result<String, Error> {
    let mut process = std::process::Command::new("/bin/sh");
    process.arg("-c").arg(command).stdin(std::process::Stdio::null());
    if let Some(directory) = context.variables().directories().first().filter(|directory| directory.is_dir()) {
        process.current_dir(directory);
    }
    let output = process.output().map_err(|error| wrong(format!("lookup('pipe') cannot start a shell: {error}")))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(wrong(format!("lookup('pipe') `{command}` ended with {}: {}", output.status, message.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// The controller's time: ISO 8601, or as `fmt` says.
fn now(options: Kwargs) -> Result<String, Error> {
    let utc = options.get::<Option<bool>>("utc")?.unwrap_or(false);
    let format = options.get::<Option<String>>("fmt")?;
    options.assert_all_used()?;
    let now = jiff::Zoned::now();
    let now = if utc { now.with_time_zone(jiff::tz::TimeZone::UTC) } else { now };
    let format = format.as_deref().unwrap_or("%Y-%m-%d %H:%M:%S.%6f");
    jiff::fmt::strtime::format(format, &now).map_err(|error| wrong(format!("`{format}` is no time format: {error}")))
}

//! basename, dirname, splitext, path_join, expanduser: Python's os.path, on text alone.

use super::arguments::{list, string};
use minijinja::{Environment, Error, Value};

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("basename", |value: &Value| {
        Ok::<_, Error>(string(value)?.rsplit('/').next().unwrap_or_default().to_owned())
    });
    environment.add_filter("dirname", |value: &Value| Ok::<_, Error>(dirname(&string(value)?)));
    environment.add_filter("splitext", |value: &Value| {
        let path = string(value)?;
        let (root, extension) = splitext(&path);
        Ok::<_, Error>(vec![Value::from(root), Value::from(extension)])
    });
    environment.add_filter("path_join", |value: &Value| {
        let parts = match value.as_str() {
            Some(one) => vec![one.to_owned()],
            None => list("path_join", value)?.iter().map(string).collect::<Result<_, _>>()?,
        };
        Ok::<_, Error>(join(&parts))
    });
    environment.add_filter("expanduser", |value: &Value| {
        let path = string(value)?;
        Ok::<_, Error>(match (path.strip_prefix('~'), std::env::var("HOME")) {
            (Some(rest), Ok(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
            _ => path,
        })
    });
}

fn dirname(path: &str) -> String {
    let head = path.rfind('/').map_or("", |at| path.get(..=at).unwrap_or_default());
    let trimmed = head.trim_end_matches('/');
    if trimmed.is_empty() { head.to_owned() } else { trimmed.to_owned() }
}

fn splitext(path: &str) -> (&str, &str) {
    let name_start = path.rfind('/').map_or(0, |at| at + 1);
    let name = path.get(name_start..).unwrap_or_default();
    let lead = name.len() - name.trim_start_matches('.').len();
    match name.get(lead..).and_then(|rest| rest.rfind('.')) {
        Some(at) => path.split_at(name_start + lead + at),
        None => (path, ""),
    }
}

fn join(parts: &[String]) -> String {
    let mut path = String::new();
    for part in parts {
        if part.starts_with('/') {
            path.clear();
        } else if !path.is_empty() && !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(part);
    }
    path
}

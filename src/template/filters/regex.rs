//! regex_search, regex_replace, regex_findall, regex_escape: Python's `re` by fancy-regex.

use super::arguments::{Arguments, Given, string, wrong};
use fancy_regex::{Captures, Regex};
use minijinja::{Environment, Error, Value};

/// Python's flags that Ansible offers.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::template) struct Flags {
    pub(in crate::template) ignore_case: bool,
    pub(in crate::template) multi_line: bool,
}

/// Compiles a pattern of Python's.
pub(in crate::template) fn compile(pattern: &str, flags: Flags) -> Result<Regex, Error> {
    let mut prefix = String::new();
    if flags.ignore_case {
        prefix.push_str("(?i)");
    }
    if flags.multi_line {
        prefix.push_str("(?m)");
    }
    Regex::new(&format!("{prefix}{}", translate(pattern)))
        .map_err(|error| wrong(format!("`{pattern}` is no regular expression: {error}")))
}

/// What Python writes differently: `\Z` is the very end.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        out.push(c);
        if c == '\\'
            && let Some(next) = characters.next()
        {
            out.push(if next == 'Z' { 'z' } else { next });
        }
    }
    out
}

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("regex_replace", replace);
    environment.add_filter("regex_search", search);
    environment.add_filter("regex_findall", find_all);
    environment.add_filter("regex_escape", escape);
}

fn flags(arguments: &Arguments) -> Flags {
    Flags { ignore_case: arguments.flag("ignorecase"), multi_line: arguments.flag("multiline") }
}

fn failed(error: &fancy_regex::Error) -> Error {
    wrong(format!("the regular expression failed: {error}"))
}

fn replace(value: &Value, arguments: Given) -> Result<String, Error> {
    let arguments =
        Arguments::new(arguments, &["pattern", "replacement", "ignorecase", "multiline", "count", "mandatory_count"])?;
    let (text, pattern) = (string(value)?, arguments.text("pattern")?.unwrap_or_default());
    let replacement = arguments.text("replacement")?.unwrap_or_default();
    let regex = compile(&pattern, flags(&arguments))?;
    let count = arguments.count("count")?.unwrap_or(0);
    let mut out = String::with_capacity(text.len());
    let (mut last, mut done) = (0, 0);
    for captures in regex.captures_iter(text.as_str()) {
        let captures = captures.map_err(|error| failed(&error))?;
        let Some(whole) = captures.get(0) else { continue };
        if count != 0 && done == count {
            break;
        }
        out.push_str(text.get(last..whole.start()).unwrap_or_default());
        expand(&mut out, &captures, &replacement)?;
        last = whole.end();
        done += 1;
    }
    out.push_str(text.get(last..).unwrap_or_default());
    match arguments.count("mandatory_count")? {
        Some(wanted) if wanted != 0 && wanted != done => {
            Err(wrong(format!("`{pattern}` should match {wanted} times, but matches {done} times")))
        }
        _ => Ok(out),
    }
}

/// Writes Python's replacement: `\1`, `\g<1>`, `\g<name>`, and escapes.
fn expand(out: &mut String, captures: &Captures<'_, str>, replacement: &str) -> Result<(), Error> {
    let mut rest = replacement;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix("g<") {
            let (name, after) = after.split_once('>').ok_or_else(|| wrong("`\\g<` without `>` in a replacement"))?;
            out.push_str(group(captures, name)?);
            rest = after;
            continue;
        }
        let digits: String = rest.chars().take(2).take_while(char::is_ascii_digit).collect();
        if !digits.is_empty() && !digits.starts_with('0') {
            out.push_str(group(captures, &digits)?);
            rest = rest.get(digits.len()..).unwrap_or_default();
            continue;
        }
        let Some(c) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        match c {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            '\\' => out.push('\\'),
            other => {
                out.push('\\');
                out.push(other);
            }
        }
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(())
}

fn group<'t>(captures: &Captures<'t, str>, name: &str) -> Result<&'t str, Error> {
    let (exists, found) = match name.parse::<usize>() {
        Ok(number) => (number < captures.len(), captures.get(number)),
        Err(_) => {
            let found = captures.name(name);
            (found.is_some(), found)
        }
    };
    if !exists {
        return Err(wrong(format!("the pattern has no group `{name}`")));
    }
    Ok(found.map_or("", |found| found.as_str()))
}

fn search(value: &Value, regex: String, arguments: Given) -> Result<Value, Error> {
    use minijinja::value::{Kwargs, from_args};
    let arguments = arguments.into_values();
    let (groups, options): (&[Value], Kwargs) = from_args(&arguments)?;
    let flags = Flags {
        ignore_case: options.get::<Option<bool>>("ignorecase")?.unwrap_or(false),
        multi_line: options.get::<Option<bool>>("multiline")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    let text = string(value)?;
    let compiled = compile(&regex, flags)?;
    let Some(captures) = compiled.captures(&text).map_err(|error| failed(&error))? else { return Ok(Value::from(())) };
    if groups.is_empty() {
        return Ok(captures.get(0).map_or_else(|| Value::from(()), |whole| Value::from(whole.as_str())));
    }
    let mut found = Vec::new();
    for group in groups {
        let name = string(group)?;
        let key = name
            .strip_prefix("\\g<")
            .and_then(|rest| rest.strip_suffix('>'))
            .or_else(|| name.strip_prefix('\\'))
            .ok_or_else(|| wrong(format!("`{name}` is neither `\\1` nor `\\g<name>`")))?;
        let capture = key.parse::<usize>().map_or_else(|_| captures.name(key), |number| captures.get(number));
        found.push(capture.map_or_else(|| Value::from(()), |capture| Value::from(capture.as_str())));
    }
    Ok(Value::from(found))
}

fn find_all(value: &Value, arguments: Given) -> Result<Value, Error> {
    let arguments = Arguments::new(arguments, &["regex", "multiline", "ignorecase"])?;
    let text = string(value)?;
    let regex = compile(&arguments.required("regex")?, flags(&arguments))?;
    let mut found = Vec::new();
    for captures in regex.captures_iter(text.as_str()) {
        let captures = captures.map_err(|error| failed(&error))?;
        let part = |at: usize| Value::from(captures.get(at).map_or("", |part| part.as_str()));
        found.push(match captures.len() {
            0 | 1 => part(0),
            2 => part(1),
            more => (1..more).map(part).collect(),
        });
    }
    Ok(Value::from(found))
}

fn escape(value: &Value, arguments: Given) -> Result<String, Error> {
    let arguments = Arguments::new(arguments, &["re_type"])?;
    let special = match arguments.text("re_type")?.as_deref() {
        None | Some("python") => "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}",
        Some("posix_basic") => "].[^$*\\",
        Some(other) => return Err(wrong(format!("unknown `re_type` `{other}`; there are python and posix_basic"))),
    };
    let mut out = String::new();
    for c in string(value)?.chars() {
        if special.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    Ok(out)
}

//! quote, comment.

use super::arguments::{Arguments, Given, string, wrong};
use minijinja::{Environment, Error, Value};

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("quote", quote);
    environment.add_filter("comment", comment);
}

/// Python's `shlex.quote`: untouched where every character is safe, else in single quotes.
fn quote(value: &Value) -> Result<String, Error> {
    let text = if value.is_none() { String::new() } else { string(value)? };
    let safe = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !text.is_empty() && text.chars().all(safe) {
        return Ok(text);
    }
    Ok(format!("'{}'", text.replace('\'', "'\"'\"'")))
}

fn comment(value: &Value, arguments: Given) -> Result<String, Error> {
    let arguments = Arguments::new(
        arguments,
        &["style", "newline", "beginning", "prefix", "prefix_count", "decoration", "postfix", "postfix_count", "end"],
    )?;
    let style = arguments.text("style")?.unwrap_or_else(|| "plain".to_owned());
    let (beginning, decoration, end) = match style.as_str() {
        "plain" => ("", "# ", ""),
        "erlang" => ("", "% ", ""),
        "c" => ("", "// ", ""),
        "cblock" => ("/*", " * ", " */"),
        "xml" => ("<!--", " - ", "-->"),
        other => return Err(wrong(format!("unknown style `{other}`; there are plain, erlang, c, cblock and xml"))),
    };
    let option = |name, default: &str| Ok::<_, Error>(arguments.text(name)?.unwrap_or_else(|| default.to_owned()));
    let newline = option("newline", "\n")?;
    let decoration = option("decoration", decoration)?;
    let beginning = option("beginning", beginning)?;
    let prefix = option("prefix", decoration.trim_end())?;
    let postfix = option("postfix", decoration.trim_end())?;
    let end = option("end", end)?;
    let count = |name| Ok::<_, Error>(arguments.count(name)?.unwrap_or(1));
    let mut out = String::new();
    if !beginning.is_empty() {
        out.push_str(&format!("{beginning}{newline}"));
    }
    if !prefix.is_empty() {
        let line = if prefix == newline { newline.clone() } else { format!("{prefix}{newline}") };
        out.push_str(&line.repeat(count("prefix_count")?));
    }
    let body = format!("{decoration}{}", string(value)?.replace(&newline, &format!("{newline}{decoration}")));
    out.push_str(&body.replace(&format!("{decoration}{newline}"), &format!("{}{newline}", decoration.trim_end())));
    out.push_str(&format!("{newline}{postfix}").repeat(count("postfix_count")?));
    if !end.is_empty() {
        out.push_str(&format!("{newline}{end}"));
    }
    Ok(out)
}

//! The replacement template of Python's `re`: `\1`, `\g<1>`, `\g<name>`, `\n`, `\t` and the like.

use regex_lite::Captures;

/// Python's `match.expand(template)`. A group that took no part is empty.
pub(super) fn expand(captures: &Captures<'_>, template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('\\') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let (text, used) = escape(captures, tail);
        out.push_str(&text);
        rest = tail.get(used..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// What the escape at the beginning of `tail` stands for, and how many bytes it takes.
fn escape(captures: &Captures<'_>, tail: &str) -> (String, usize) {
    let body = tail.get(1..).unwrap_or_default();
    let group = |number: usize| captures.get(number).map(|found| found.as_str().to_owned()).unwrap_or_default();
    if let Some(named) = body.strip_prefix("g<")
        && let Some(end) = named.find('>')
    {
        let name = named.get(..end).unwrap_or_default();
        let text = match name.parse() {
            Ok(number) => group(number),
            Err(_) => captures.name(name).map(|found| found.as_str().to_owned()).unwrap_or_default(),
        };
        return (text, end + 4);
    }
    let digits = body.bytes().take(2).take_while(u8::is_ascii_digit).count();
    if digits > 0 && !body.starts_with('0') {
        let number = body.get(..digits).and_then(|digits| digits.parse().ok()).unwrap_or_default();
        return (group(number), digits + 1);
    }
    let text = match body.chars().next() {
        Some('n') => "\n".to_owned(),
        Some('t') => "\t".to_owned(),
        Some('r') => "\r".to_owned(),
        Some('\\') => "\\".to_owned(),
        Some(other) => format!("\\{other}"),
        None => return ("\\".to_owned(), 1),
    };
    (text, 1 + body.chars().next().map_or(0, char::len_utf8))
}

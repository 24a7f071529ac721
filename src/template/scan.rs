//! A scanner over template text: which parts are expressions, and the tokens in them. It is what the engine's own
//! parser does not hand out, and serves preparation (`prepare`) and error messages (`failure`).

use std::ops::Range;

/// A token of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) range: Range<usize>,
}

/// Kinds of tokens; what is neither a name, a string nor a number is one punctuation character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Text,
    Number,
    Mark(char),
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) kind: PartKind,
    /// The whole part with its delimiters.
    pub(super) whole: Range<usize>,
    /// What is between the delimiters, whitespace control signs excluded.
    pub(super) inner: Range<usize>,
    pub(super) tokens: Vec<Token>,
}

/// `{{ }}` or `{% %}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartKind {
    Output,
    Statement,
}

/// Whether a string holds anything to render.
pub(super) fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|start| text.contains(start))
}

/// The expressions and statements of a template. Text that is not well formed is left out: the engine reports it.
pub(super) fn parts(text: &str) -> Vec<Part> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = next_delimiter(text, at) {
        let rest = text.get(start..).unwrap_or_default();
        if rest.starts_with("{#") {
            match rest.find("#}") {
                Some(end) => at = start + end + 2,
                None => break,
            }
            continue;
        }
        let kind = if rest.starts_with("{{") { PartKind::Output } else { PartKind::Statement };
        let Some(part) = part(text, start, kind) else { break };
        at = part.whole.end;
        let word = part.tokens.first().and_then(|token| text.get(token.range.clone()));
        if kind == PartKind::Statement && matches!(word, Some("raw" | "verbatim")) {
            match end_of_raw(text, at) {
                Some(end) => at = end,
                None => break,
            }
        }
        found.push(part);
    }
    found
}

fn next_delimiter(text: &str, from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    ["{{", "{%", "{#"].iter().filter_map(|start| rest.find(start)).min().map(|at| from + at)
}

fn end_of_raw(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += text.get(at..)?.find("{%")?;
        let inner = text.get(at + 2..)?.trim_start_matches(['-', '+']).trim_start();
        if inner.starts_with("endraw") || inner.starts_with("endverbatim") {
            return text.get(at..)?.find("%}").map(|end| at + end + 2);
        }
        at += 2;
    }
}

fn part(text: &str, start: usize, kind: PartKind) -> Option<Part> {
    let close = if kind == PartKind::Output { "}}" } else { "%}" };
    let mut inner_start = start + 2;
    if text.get(inner_start..)?.starts_with(['-', '+']) {
        inner_start += 1;
    }
    let (tokens, end) = tokens(text, inner_start, Some(close))?;
    let mut inner_end = end;
    let mut tokens = tokens;
    // A sign before the closing delimiter controls whitespace and is no operator.
    if let Some(last) = tokens.last()
        && matches!(last.kind, Kind::Mark('-' | '+'))
        && last.range.end == end
    {
        inner_end = last.range.start;
        tokens.pop();
    }
    Some(Part { kind, whole: start..end + 2, inner: inner_start..inner_end, tokens })
}

/// The tokens from `from` up to `close` outside strings and brackets, or to the end of the text; and where they end.
pub(super) fn tokens(text: &str, from: usize, close: Option<&str>) -> Option<(Vec<Token>, usize)> {
    let mut tokens = Vec::new();
    let mut depth = 0_usize;
    let mut at = from;
    loop {
        let rest = text.get(at..)?;
        let Some(c) = rest.chars().next() else { return close.is_none().then_some((tokens, at)) };
        if depth == 0 && close.is_some_and(|close| rest.starts_with(close)) {
            return Some((tokens, at));
        }
        let length = match c {
            _ if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '\'' | '"' => text_length(rest, c)?,
            _ if c.is_alphabetic() || c == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            _ if c.is_ascii_digit() => rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()),
            _ => c.len_utf8(),
        };
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let kind = match c {
            '\'' | '"' => Kind::Text,
            _ if c.is_alphabetic() || c == '_' => Kind::Name,
            _ if c.is_ascii_digit() => Kind::Number,
            _ => Kind::Mark(c),
        };
        tokens.push(Token { kind, range: at..at + length });
        at += length;
    }
}

/// Length of a string literal with its quotes.
fn text_length(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(text: &str) -> Vec<&str> {
        parts(text).iter().map(|part| text.get(part.inner.clone()).expect("in range").trim()).collect()
    }

    #[test]
    fn parts_are_found() {
        assert_eq!(inner("a {{ x }} b {%- if y -%} c {# {{ no }} #} {% endif %}"), ["x", "if y", "endif"]);
        assert_eq!(inner("{{ {'a': {'b': 1}} }}"), ["{'a': {'b': 1}}"]);
        assert_eq!(inner("{{ '}}' ~ \"{{\" }}"), ["'}}' ~ \"{{\""]);
        assert_eq!(inner("{% raw %}{{ x }}{% endraw %}{{ y }}"), ["raw", "y"]);
        assert_eq!(inner("{{ unfinished"), Vec::<&str>::new());
        assert_eq!(inner(r"{{ 'it\'s' }}"), [r"'it\'s'"]);
    }
}

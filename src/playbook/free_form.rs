//! `module: a=1 b='two words'`, Ansible's older way to write parameters (ansible-core `parsing/splitter.py`).

use crate::config::Place;

/// Parameters that `command` and `shell` take out of their line.
const OF_COMMANDS: &[&str] =
    &["creates", "removes", "chdir", "executable", "warn", "stdin", "stdin_add_newline", "strip_empty_ends"];

/// A line, taken apart.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FreeForm {
    /// `key=value` words.
    pub params: Vec<(String, String)>,
    /// The rest, as written.
    pub rest: String,
}

/// Takes a line apart. `command`: only what a command line takes is a parameter. None: a quote or template is not closed.
pub(super) fn parse(line: &str, command: bool) -> Option<FreeForm> {
    let mut parsed = FreeForm::default();
    for word in words(line)? {
        match word.text.split_once('=').filter(|(key, _)| is_key(key)) {
            Some((key, value)) if !command || OF_COMMANDS.contains(&key) => {
                parsed.params.push((key.to_owned(), unquote(&escapes(value)).to_owned()));
            }
            _ => {
                if !parsed.rest.is_empty() {
                    parsed.rest.push_str(word.before);
                }
                parsed.rest.push_str(word.text);
            }
        }
    }
    Some(parsed)
}

/// Decodes the escapes that Ansible decodes in values: `\\n`, `\\t`, `\\x41`, `\\u0041` and their like; others stay.
fn escapes(text: &str) -> String {
    let (mut decoded, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        let (before, after) = rest.split_at(at);
        decoded.push_str(before);
        let (char, length) = escape(&after[1..]).unwrap_or(('\\', 0));
        decoded.push(char);
        rest = &after[1 + length..];
    }
    decoded + rest
}

/// The character that the text after a backslash stands for, and how much of the text that takes.
fn escape(after: &str) -> Option<(char, usize)> {
    let simple = match after.chars().next()? {
        quoted @ ('\\' | '\'' | '"') => quoted,
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        kind @ ('x' | 'u' | 'U') => {
            let digits = match kind {
                'x' => 2,
                'u' => 4,
                _ => 8,
            };
            let code = after.get(1..=digits).filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()))?;
            return Some((char::from_u32(u32::from_str_radix(code, 16).ok()?)?, 1 + digits));
        }
        _ => return None,
    };
    Some((simple, 1))
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Text without the quotes around the whole of it.
fn unquote(text: &str) -> &str {
    for quote in ['"', '\''] {
        if text.len() > 1
            && let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote))
            && !inner.ends_with('\\')
        {
            return inner;
        }
    }
    text
}

struct Word<'a> {
    /// White space before the word.
    before: &'a str,
    text: &'a str,
}

/// Words at white space outside of quotes and templates.
fn words(line: &str) -> Option<Vec<Word<'_>>> {
    let bytes = line.as_bytes();
    let (mut words, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let space = at;
        while at < bytes.len() && bytes[at].is_ascii_whitespace() {
            at += 1;
        }
        let start = at;
        at = word_end(bytes, at)?;
        if at > start {
            words.push(Word { before: line.get(space..start)?, text: line.get(start..at)? });
        }
    }
    Some(words)
}

/// The end of the word that begins at a byte; none: a quote or template is not closed.
fn word_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let (mut quote, mut closing) = (None, None);
    while at < bytes.len() {
        let pair = bytes.get(at..at + 2);
        if let Some(end) = closing {
            if pair == Some(end) {
                closing = None;
                at += 1;
            }
        } else if let Some(end) =
            [(b"{{", b"}}"), (b"{%", b"%}"), (b"{#", b"#}")].iter().find(|(o, _)| pair == Some(*o))
        {
            closing = Some(end.1.as_slice());
            at += 1;
        } else if quote.is_some() {
            if Some(bytes[at]) == quote && bytes.get(at.wrapping_sub(1)) != Some(&b'\\') {
                quote = None;
            }
        } else if matches!(bytes[at], b'"' | b'\'') && bytes.get(at.wrapping_sub(1)) != Some(&b'\\') {
            quote = Some(bytes[at]);
        } else if bytes[at].is_ascii_whitespace() {
            return Some(at);
        }
        at += 1;
    }
    (quote.is_none() && closing.is_none()).then_some(at)
}

/// The place of a parameter's value within a line; the whole line, if it cannot be told.
pub(super) fn value_place(line: &str, value: &str, place: &Place) -> Place {
    line.find(value)
        .filter(|_| !value.is_empty())
        .map_or_else(|| place.clone(), |at| place.inside(line, at..at + value.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(line: &str, command: bool) -> (Vec<(String, String)>, String) {
        let parsed = parse(line, command).unwrap();
        (parsed.params, parsed.rest)
    }

    /// Right-hand sides are those of ansible-core's `parse_kv`.
    #[test]
    fn lines_come_apart_as_in_ansible() {
        let own = |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect::<Vec<_>>();
        assert_eq!(pairs("src=a dest='b c'", false), (own(&[("src", "a"), ("dest", "b c")]), String::new()));
        assert_eq!(
            pairs("path={{ a + ' x' }}/y state=absent", false).0,
            own(&[("path", "{{ a + ' x' }}/y"), ("state", "absent")])
        );
        assert_eq!(
            pairs("echo \"a  b\" x=1   chdir=/tmp", true),
            (own(&[("chdir", "/tmp")]), "echo \"a  b\" x=1".into())
        );
        assert_eq!(pairs("a\nb", true).1, "a\nb");
        assert_eq!(pairs(r#"line="a\tb\x41" c=\d"#, false).0, own(&[("line", "a\tbA"), ("c", r"\d")]));
        assert_eq!(parse("echo 'a", true), None);
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(line in ".{0,80}", command: bool) {
            let _ = parse(&line, command);
        }
    }
}

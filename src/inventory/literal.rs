//! Values of INI inventories: Python literals where they are such, else strings (Ansible's `ast.literal_eval`).

use serde_json::{Map, Number, Value};

/// How deep lists and dictionaries may lie within each other.
const DEEPEST: usize = 32;

/// The value of a text.
pub(super) fn value(text: &str) -> Value {
    let mut reader = Reader { rest: text.trim_matches([' ', '\t']), depth: 0 };
    match reader.any() {
        // What follows `#` is a comment to Python, too.
        Some(value) if reader.rest.trim().is_empty() || reader.rest.trim_start().starts_with('#') => value,
        _ => Value::String(text.to_owned()),
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes a sign or bracket, if it is next.
    fn take(&mut self, mark: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn any(&mut self) -> Option<Value> {
        self.skip();
        let first = self.rest.chars().next()?;
        match first {
            '[' | '(' | '{' => {
                if self.depth >= DEEPEST {
                    return None;
                }
                self.depth += 1;
                self.rest = self.rest.get(1..)?;
                let value = match first {
                    '[' => self.items(']').map(|(items, _)| Value::Array(items)),
                    '(' => self.items(')').map(|(mut items, comma)| {
                        if items.len() == 1 && !comma { items.remove(0) } else { Value::Array(items) }
                    }),
                    _ => self.braces(),
                };
                self.depth -= 1;
                value
            }
            '\'' | '"' => self.texts(),
            'b' | 'u' if self.rest.get(1..).is_some_and(|rest| rest.starts_with(['\'', '"'])) => {
                self.rest = self.rest.get(1..)?;
                self.texts()
            }
            _ => self.word(),
        }
    }

    /// Items up to a bracket, and whether the last was followed by a comma.
    fn items(&mut self, close: char) -> Option<(Vec<Value>, bool)> {
        let mut items = Vec::new();
        let mut comma = false;
        loop {
            if self.take(close) {
                return Some((items, comma));
            }
            if !items.is_empty() && !comma {
                return None;
            }
            items.push(self.any()?);
            comma = self.take(',');
        }
    }

    /// A dictionary, or a set, which is a list here.
    fn braces(&mut self) -> Option<Value> {
        if self.take('}') {
            return Some(Value::Object(Map::new()));
        }
        let first = self.any()?;
        if !self.take(':') {
            let mut items = vec![first];
            if self.take(',') {
                items.extend(self.items('}')?.0);
            } else if !self.take('}') {
                return None;
            }
            return Some(Value::Array(items));
        }
        let mut entries = Map::new();
        let mut key = first;
        loop {
            let name = match key {
                Value::String(name) => name,
                Value::Array(_) | Value::Object(_) => return None,
                other => other.to_string(),
            };
            entries.insert(name, self.any()?);
            if self.take('}') {
                return Some(Value::Object(entries));
            }
            if !self.take(',') {
                return None;
            }
            if self.take('}') {
                return Some(Value::Object(entries));
            }
            key = self.any()?;
            if !self.take(':') {
                return None;
            }
        }
    }

    /// One string, or several side by side, which are one.
    fn texts(&mut self) -> Option<Value> {
        let mut text = String::new();
        loop {
            text.push_str(&self.text()?);
            self.skip();
            if !self.rest.starts_with(['\'', '"']) {
                return Some(Value::String(text));
            }
        }
    }

    fn text(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, c)) = characters.next() {
            match c {
                _ if c == quote => {
                    self.rest = self.rest.get(at + 1..)?;
                    return Some(text);
                }
                '\\' => match characters.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    other if matches!(other, '\\' | '\'' | '"') => text.push(other),
                    // Escapes by number are rare enough to be left as they are.
                    other => {
                        text.push('\\');
                        text.push(other);
                    }
                },
                _ => text.push(c),
            }
        }
        None
    }

    fn word(&mut self) -> Option<Value> {
        let end = self.rest.find([',', ']', ')', '}', ':', ' ', '\t']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let value = match word {
            "True" => Value::Bool(true),
            "False" => Value::Bool(false),
            "None" => Value::Null,
            _ => number(word)?,
        };
        self.rest = rest;
        Some(value)
    }
}

/// A Python number: `7`, `-1`, `1_000`, `0x1f`, `1.5`, `1e3`; not `007`.
fn number(word: &str) -> Option<Value> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') || digits.contains("__") || digits.ends_with('_') {
        return None;
    }
    let plain = digits.replace('_', "").to_lowercase();
    let radix = [("0x", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(prefix, radix)| plain.strip_prefix(prefix).map(|digits| (digits.to_owned(), radix)));
    let magnitude = match radix {
        Some((digits, radix)) => i128::from_str_radix(&digits, radix).ok()?,
        None if plain.bytes().all(|b| b.is_ascii_digit()) => {
            if plain.len() > 1 && plain.starts_with('0') && plain.bytes().any(|b| b != b'0') {
                return None;
            }
            plain.parse().ok()?
        }
        None => {
            let known = plain.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'-' | b'+'));
            let float: f64 = if known { plain.parse().ok()? } else { return None };
            return Number::from_f64(if negative { -float } else { float }).map(Value::Number);
        }
    };
    Number::from_i128(if negative { -magnitude } else { magnitude }).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// The right-hand sides are what ansible-core 2.19 makes of them.
    #[test]
    fn values_are_python_literals() {
        for (text, expected) in [
            ("7", json!(7)),
            ("-7", json!(-7)),
            ("007", json!("007")),
            ("0", json!(0)),
            ("00", json!(0)),
            ("1_000", json!(1000)),
            ("0x1f", json!(31)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            ("True", json!(true)),
            ("true", json!("true")),
            ("yes", json!("yes")),
            ("None", json!(null)),
            ("null", json!("null")),
            ("", json!("")),
            ("'7'", json!("7")),
            ("[1, 'a', [True]]", json!([1, "a", [true]])),
            ("(1,)", json!([1])),
            ("(1)", json!(1)),
            ("{'a': 1, 'b': {'c': [2,]}}", json!({"a": 1, "b": {"c": [2]}})),
            ("{1, 2}", json!([1, 2])),
            ("[1, two]", json!("[1, two]")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("a b", json!("a b")),
            ("'a' 'b'", json!("ab")),
            ("1 2", json!("1 2")),
            ("{{ x }}", json!("{{ x }}")),
            ("7 # seven", json!(7)),
            ("seven # 7", json!("seven # 7")),
            ("2026-11-21", json!("2026-11-21")),
            ("'it\\'s'", json!("it's")),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[\\[\\](){}'\"a-z0-9:, .\\\\-]{0,40}") {
            let _value = value(&text);
        }
    }
}

//! Single values replaced in a JSON text: everything else of it stays byte for byte what the engine wrote.

use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::ops::Range;

/// An object's members by name, each as it stands in the text. None if it is no object.
pub(super) fn members(text: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(text).ok()
}

/// A string's value. None if it is no string.
pub(super) fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// Replacements to be made in one text.
#[derive(Debug)]
pub(super) struct Edits<'a> {
    text: &'a str,
    made: Vec<(Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, made: Vec::new() }
    }

    /// Puts a string in a value's place. The value must be a part of the text.
    pub(super) fn replace(&mut self, value: &RawValue, by: &str) {
        let begin = value.get().as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
        let range = begin..begin.wrapping_add(value.get().len());
        debug_assert!(self.text.get(range.clone()) == Some(value.get()), "the value is a part of the text");
        self.made.push((range, quoted(by)));
    }

    /// The new text, if anything is replaced.
    pub(super) fn done(mut self) -> Option<String> {
        if self.made.is_empty() {
            return None;
        }
        self.made.sort_unstable_by_key(|(range, _)| range.start);
        let mut out = String::with_capacity(self.text.len());
        let mut at = 0;
        for (range, by) in &self.made {
            out.push_str(self.text.get(at..range.start).unwrap_or_default());
            out.push_str(by);
            at = range.end;
        }
        out.push_str(self.text.get(at..).unwrap_or_default());
        Some(out)
    }
}

/// A JSON string as Go writes it, which escapes what HTML could take for its own.
fn quoted(text: &str) -> String {
    let plain = serde_json::Value::from(text).to_string();
    plain.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_value_is_replaced_and_nothing_else() {
        let text = "{ \"b\":\"x\\u0026y\", \"n\":1.50e3,\"a\" : {\"s\":\"old\",\"z\":[1,\n2]}, \"b2\":\"old\"}\n";
        let top = members(text).unwrap();
        let inner = members(top["a"].get()).unwrap();
        assert_eq!(string(inner["s"]).unwrap(), "old");
        let mut edits = Edits::of(text);
        edits.replace(top["b"], "a<\"b\"");
        edits.replace(inner["s"], "new");
        let expected = text.replace("\"x\\u0026y\"", "\"a\\u003c\\\"b\\\"\"").replace("\"s\":\"old\"", "\"s\":\"new\"");
        assert_eq!(edits.done().unwrap(), expected);
        assert_eq!(Edits::of(text).done(), None);
        assert!(members("[1]").is_none() && members("{").is_none());
    }

    proptest! {
        #[test]
        fn any_string_put_in_is_read_back(before: String, after: String, name: String) {
            let text = serde_json::json!({"first": [1, {}], name.clone(): {"value": before}, "\u{10ffff}": null}).to_string();
            let top = members(&text).unwrap();
            let Some(inner) = members(top[&name].get()) else { return Ok(()) };
            let mut edits = Edits::of(&text);
            edits.replace(inner["value"], &after);
            let now = edits.done().unwrap();
            let mut expected: serde_json::Value = serde_json::from_str(&text).unwrap();
            expected[&name]["value"] = after.into();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&now).unwrap(), expected);
        }
    }
}

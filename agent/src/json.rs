//! JSON read strictly: one value, and no key twice in an object at any depth. moby's decoder and serde_json both let the
//! last of two equal keys win silently, which is how a setting gets lost.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt;

/// Reads JSON.
///
/// # Errors
/// The first fault with its line and column, a duplicate key among them.
pub fn parse_strict(text: &str) -> Result<Value, serde_json::Error> {
    read(text, None)
}

/// The duplicate keys of a text, each as a dotted path, in the order found. Empty for a text that is no JSON.
pub fn duplicate_keys(text: &str) -> Vec<String> {
    let found = RefCell::new(Vec::new());
    if read(text, Some(&found)).is_err() {
        return Vec::new();
    }
    found.into_inner()
}

/// The indentation that a text uses, in spaces: the first indented line's; `None` where nothing is indented or tabs are.
pub fn indentation(text: &str) -> Option<usize> {
    text.lines().skip(1).find_map(|line| {
        let spaces = line.len() - line.trim_start_matches(' ').len();
        (spaces > 0 && spaces < line.len()).then_some(spaces)
    })
}

fn read(text: &str, duplicates: Option<&RefCell<Vec<String>>>) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict { path: &[], duplicates }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

struct Strict<'a> {
    path: &'a [String],
    duplicates: Option<&'a RefCell<Vec<String>>>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = [self.path, &[list.len().to_string()]].concat();
            match items.next_element_seed(Strict { path: &path, duplicates: self.duplicates })? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = [self.path, std::slice::from_ref(&key)].concat();
            if map.contains_key(&key) {
                let name = path.join(".");
                match self.duplicates {
                    None => return Err(A::Error::custom(format!("the key {name:?} is given twice"))),
                    Some(found) => found.borrow_mut().push(name),
                }
            }
            let value = entries.next_value_seed(Strict { path: &path, duplicates: self.duplicates })?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_duplicate_key_is_named_with_its_place() {
        let text = "{\n  \"log-opts\": {\"a\": 1,\n    \"a\": 2}\n}";
        let error = parse_strict(text).unwrap_err();
        assert_eq!(error.line(), 3);
        assert!(error.to_string().contains("\"log-opts.a\" is given twice"), "{error}");
        assert_eq!(duplicate_keys(text), ["log-opts.a"]);
        assert_eq!(duplicate_keys(r#"{"a":[{"b":1,"b":1}],"a":2}"#), ["a.0.b", "a"]);
    }

    #[test]
    fn only_one_whole_value_is_json() {
        for text in ["", "{} {}", "{\"a\":1,}", "{'a':1}", "{\"a\":NaN}", "// c\n{}"] {
            assert!(parse_strict(text).is_err(), "{text}");
        }
    }

    #[test]
    fn indentation_is_seen() {
        assert_eq!(indentation("{\n    \"a\": 1\n}"), Some(4));
        assert_eq!(indentation("{\"a\": 1}"), None);
        assert_eq!(indentation("{\n\t\"a\": 1\n}"), None);
        assert_eq!(indentation("{\n   \n  \"a\": 1\n}"), Some(2));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z]{1,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_read_back_in_order(value in values()) {
            let text = serde_json::to_string_pretty(&value).unwrap();
            let read = parse_strict(&text).unwrap();
            prop_assert_eq!(serde_json::to_string_pretty(&read).unwrap(), text);
            prop_assert!(duplicate_keys(&serde_json::to_string(&value).unwrap()).is_empty());
        }
    }
}

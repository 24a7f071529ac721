//! One form for equal documents: keys sorted, no white space; and its digest.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The canonical JSON of a document.
///
/// # Errors
/// A document that has no JSON form (a map with keys that are no strings).
pub fn canonical(document: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(&sorted(serde_json::to_value(document)?))
}

/// SHA-256 of the canonical JSON, in lower-case hexadecimal.
///
/// # Errors
/// As [`canonical`].
pub fn digest(document: &impl Serialize) -> serde_json::Result<String> {
    Ok(hex(&Sha256::digest(canonical(document)?)))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_order_of_keys_does_not_matter_and_that_of_lists_does() {
        assert_eq!(
            canonical(&json!({"b": [2, 1], "a": {"d": 1, "c": 2}})).unwrap(),
            r#"{"a":{"c":2,"d":1},"b":[2,1]}"#
        );
        assert_eq!(digest(&json!({"a": 1, "b": 2})).unwrap(), digest(&json!({"b": 2, "a": 1})).unwrap());
        assert_ne!(digest(&json!([1, 2])).unwrap(), digest(&json!([2, 1])).unwrap());
    }

    proptest! {
        #[test]
        fn canonical_json_is_the_same_value(keys in prop::collection::vec(("[a-z]{1,4}", any::<i64>()), 0..12)) {
            let value = Value::Object(keys.into_iter().map(|(key, n)| (key, json!(n))).collect());
            let again: Value = serde_json::from_str(&canonical(&value).unwrap()).unwrap();
            prop_assert_eq!(again, value);
        }
    }
}

//! daemon.json as it is.

use super::paths::text_if_exists;
use crate::json::{duplicate_keys, indentation, parse_strict};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Indentation for a file that has none of its own, in spaces.
const INDENT: usize = 2;

/// The engine's settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ConfigFile {
    /// Where.
    pub(super) path: PathBuf,
    /// Its text; `None` where there is no file.
    pub(super) text: Option<String>,
    /// The settings; empty for an absent or blank file.
    pub(super) settings: Result<Map<String, Value>, String>,
}

/// Reads the settings. dockerd takes an empty file for an empty object (moby#17119), and so does this.
///
/// # Errors
/// A file that cannot be read, bytes that are no UTF-8 included.
pub(super) fn read_config(path: &Path) -> std::io::Result<ConfigFile> {
    let text = text_if_exists(path)?;
    let settings = match text.as_deref() {
        None => Ok(Map::new()),
        Some(text) if text.trim().is_empty() => Ok(Map::new()),
        Some(text) => match parse_strict(text) {
            Ok(Value::Object(settings)) => Ok(settings),
            Ok(_) => Err(format!("{} holds no JSON object", path.display())),
            Err(error) => Err(format!("{}:{}:{}: {error}", path.display(), error.line(), error.column())),
        },
    };
    Ok(ConfigFile { path: path.to_owned(), text, settings })
}

impl ConfigFile {
    /// The facts of it.
    pub(super) fn to_json(&self) -> Value {
        let text = self.text.as_deref().unwrap_or_default();
        json!({
            "path": self.path,
            "exists": self.text.is_some(),
            "text": text,
            "parsed": self.settings.as_ref().ok(),
            "valid": self.settings.is_ok(),
            "problem": self.settings.as_ref().err(),
            "duplicate_keys": duplicate_keys(text),
            "indent": indentation(text).unwrap_or(INDENT),
        })
    }

    /// A setting that is text.
    pub(super) fn string(&self, name: &str) -> Option<&str> {
        self.settings.as_ref().ok()?.get(name)?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: Option<&str>) -> Value {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.json");
        if let Some(text) = text {
            fs_err::write(&path, text).unwrap();
        }
        read_config(&path).unwrap().to_json()
    }

    #[test]
    fn an_absent_or_blank_file_is_an_empty_object() {
        for text in [None, Some(""), Some("\n")] {
            let facts = facts(text);
            assert_eq!(
                (&facts["parsed"], &facts["valid"], &facts["exists"]),
                (&json!({}), &json!(true), &json!(text.is_some()))
            );
        }
    }

    #[test]
    fn order_and_indentation_are_kept() {
        let facts = facts(Some("{\n    \"z\": 1,\n    \"a\": {\"y\": 2, \"b\": 3}\n}\n"));
        assert_eq!(facts["parsed"].to_string(), r#"{"z":1,"a":{"y":2,"b":3}}"#);
        assert_eq!(facts["indent"], 4);
    }

    #[test]
    fn what_cannot_be_merged_is_not_offered() {
        let twice = facts(Some("{\"a\": 1,\n \"a\": 2}"));
        assert_eq!((&twice["parsed"], &twice["duplicate_keys"]), (&Value::Null, &json!(["a"])));
        assert!(twice["problem"].as_str().unwrap().contains("daemon.json:2:"), "{twice}");
        assert_eq!(facts(Some("[]"))["valid"], false);
    }
}

//! Reading YAML files.

use super::{Diagnostics, Entry, Kind, Node, Place, Source, parse::MAX_FILE, parse::parse};
use serde_json::Value;
use std::{io::Read as _, path::Path, sync::Arc};

/// A YAML file that was read without a mistake.
#[derive(Debug, Clone)]
pub struct Document {
    /// The file.
    pub source: Arc<Source>,
    /// Its value with places; null if the file is empty.
    pub root: Node,
}

impl Document {
    /// The whole value.
    pub fn value(&self) -> Value {
        self.root.value()
    }

    /// Where the value at a path of keys and list indices (as decimal text) stands; the deepest part that exists.
    pub fn place(&self, path: &[&str]) -> Place {
        let (mut node, mut place) = (&self.root, &self.root.place);
        for step in path {
            let next = match &node.kind {
                Kind::Map(_) => node.get(step),
                Kind::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
                Kind::Scalar(_) => None,
            };
            let Some(next) = next else { break };
            (node, place) = (next, &next.place);
        }
        place.clone()
    }

    /// The entry of the last key of a path, for the key's own place.
    pub fn entry(&self, path: &[&str]) -> Option<&Entry> {
        let (last, parents) = path.split_last()?;
        let parent = parents.iter().try_fold(&self.root, |node, step| match &node.kind {
            Kind::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => node.get(step),
        })?;
        parent.entry(last)
    }
}

/// Reads a file as text; what is wrong with it is a diagnostic.
pub fn read(path: &Path) -> Result<Arc<Source>, Diagnostics> {
    let shown = path.display().to_string();
    let mut bytes = Vec::new();
    let read = fs_err::File::open(path)
        .and_then(|file| file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(std::io::Error::other));
    if let Err(error) = read {
        return Err(Diagnostics::one(None, format!("cannot read {shown}: {}", root_cause(&error)), ""));
    }
    source_of(shown, bytes)
}

/// The system's own words, without the path that is said already.
fn root_cause(error: &std::io::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Bytes as a source, if they are UTF-8.
pub fn source_of(path: String, bytes: Vec<u8>) -> Result<Arc<Source>, Diagnostics> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Arc::new(Source { path, text })),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let source = Arc::new(Source { path, text });
            let place = Place::new(&source, at..at + char::REPLACEMENT_CHARACTER.len_utf8());
            Err(Diagnostics::one(Some(place), "this file is not UTF-8".into(), "the first byte that is not"))
        }
    }
}

/// Reads a YAML file.
pub fn load_yaml(path: &Path) -> Result<Document, Diagnostics> {
    parse_yaml(read(path)?)
}

/// Reads YAML from a source.
pub fn parse_yaml(source: Arc<Source>) -> Result<Document, Diagnostics> {
    let mut problems = Diagnostics::default();
    let root = parse(&source, &mut problems);
    match root {
        Some(root) if problems.is_empty() => Ok(Document { source, root }),
        _ => Err(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(text: &str) -> Result<Document, Diagnostics> {
        parse_yaml(source_of("p.yml".into(), text.as_bytes().to_vec())?)
    }

    fn value(text: &str) -> Value {
        parsed(text).unwrap().value()
    }

    fn message(text: &str) -> String {
        parsed(text).unwrap_err().to_string()
    }

    /// The values are what `yaml.safe_load` returns (keys as written).
    #[test]
    fn values_are_those_of_pyyaml() {
        assert_eq!(
            value("a: yes\nb: 'yes'\nc: 0644\nd: !!str 7\n"),
            json!({"a": true, "b": "yes", "c": 420, "d": "7"})
        );
        assert_eq!(value("- |\n  one\n  two\n- >-\n  one\n  two\n"), json!(["one\ntwo\n", "one two"]));
        assert_eq!(
            value("base: &b {x: 1, y: 2}\nd:\n  <<: *b\n  y: 3\ne:\n  <<: [{x: 0}, *b]\n"),
            json!({"base": {"x": 1, "y": 2}, "d": {"x": 1, "y": 3}, "e": {"x": 0, "y": 2}})
        );
        assert_eq!(value(""), json!(null));
        assert_eq!(value("# only a comment\n"), json!(null));
        assert_eq!(value("# c\na: # c\n  b: 1 # c\n  # c\nd: [1, # c\n 2]\n"), json!({"a": {"b": 1}, "d": [1, 2]}));
        assert_eq!(value("---\n80: web\n...\n"), json!({"80": "web"}));
        assert_eq!(value("\u{feff}a: 1\n"), json!({"a": 1}));
    }

    #[test]
    fn places_lead_to_what_was_written() {
        let document = parsed("all:\n  hosts:\n    - web1\n    - \"web 2\"\n  vars: {x: 1}\n").unwrap();
        assert_eq!(document.place(&["all", "hosts", "1"]).to_string(), "p.yml:4:7");
        assert_eq!(document.place(&["all", "hosts", "1"]).text(), "\"web 2\"");
        assert_eq!(document.place(&["all", "vars", "x"]).text(), "1");
        assert_eq!(document.place(&["all", "vars"]).text(), "{x: 1}");
        assert_eq!(document.entry(&["all", "vars", "x"]).unwrap().key_place.text(), "x");
        assert_eq!(document.place(&["all", "hosts"]).text(), "- web1\n    - \"web 2\"");
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        assert_eq!(message("a: 1\na: 2\n"), "p.yml:2:1: the key `a` is given twice");
        assert_eq!(message("a: !vault x\n"), "p.yml:1:11: `!vault` values are not built yet");
        assert_eq!(message("a: 1\n---\nb: 1\n"), "p.yml:2:1: a second YAML document begins here");
        assert_eq!(message("a: {{ x }}\n"), "p.yml:1:4: a template at the start of a value is not quoted");
        assert_eq!(message("a: &x [*x]\n"), "p.yml:1:8: this alias stands inside its own anchor");
        let deep = "[".repeat(90) + &"]".repeat(90);
        assert!(message(&deep).contains("nested too deeply"));
        assert!(message(&"[".repeat(9999)).contains("not valid YAML"));
        assert!(message("a: [1\nb: 2\n").contains("not valid YAML"));
        assert!(
            source_of("p".into(), vec![b'a', 0xff]).unwrap_err().to_string().contains("p:1:2: this file is not UTF-8")
        );
    }

    #[test]
    fn a_billion_laughs_are_stopped() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let below = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", ")));
        }
        assert!(message(&text).contains("aliases repeat too many values"));
    }

    #[test]
    fn a_part_of_a_value_has_a_place_of_its_own() {
        let source = source_of("p".into(), b"a: \"{{ x }} y\"\nb: >\n  one\n  {{ two }}\n".to_vec()).unwrap();
        let document = parse_yaml(source).unwrap();
        for (key, part) in [("a", "x"), ("a", "y"), ("b", "two"), ("b", "one")] {
            let node = document.root.get(key).unwrap();
            let text = node.as_str().unwrap();
            let at = text.find(part).unwrap();
            assert_eq!(node.place.inside(text, at..at + part.len()).text(), part);
        }
    }
}

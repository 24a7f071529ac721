//! From YAML events to nodes. Ansible reads YAML 1.1 by PyYAML; so does this, with four differences, each an error here:
//! duplicate keys, keys that are lists or maps, tags nobody asked for, and numbers that JSON cannot hold.

use super::{Diagnostics, Entry, Kind, Node, Place, Source, scalar};
use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

/// Deepest nesting of lists and maps.
const MAX_DEPTH: usize = 64;
/// Most values that aliases may repeat in one file; stops "a billion laughs".
const MAX_ALIASED: usize = 100_000;
/// Largest file, in bytes.
pub(super) const MAX_FILE: usize = 16 << 20;

/// Reads one document. Mistakes are added to `problems`; none: nothing usable could be read.
pub fn parse(source: &Arc<Source>, problems: &mut Diagnostics) -> Option<Node> {
    if source.text.len() > MAX_FILE {
        problems.error(Place::new(source, 0..0), "this file is larger than 16 MiB", "not read");
        return None;
    }
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder {
        source,
        parser: Parser::new_from_str_with_options(&source.text, options),
        problems,
        anchors: HashMap::new(),
        aliased: 0,
    };
    match builder.document() {
        Ok(node) => Some(node),
        Err(Stop::Reported) => None,
        Err(Stop::Syntax(error)) => {
            syntax(source, &error, problems);
            None
        }
    }
}

/// Why reading ended early.
enum Stop {
    /// The mistake has been reported.
    Reported,
    /// Not YAML.
    Syntax(ScanError),
}

/// Reports a syntax error, with the usual cause where it can be told.
fn syntax(source: &Arc<Source>, error: &ScanError, problems: &mut Diagnostics) {
    let at = error.marker().byte_offset().unwrap_or_default();
    let place = Place::new(source, at..at + 1);
    let line = place.line_text();
    let info = error.info();
    let diagnostic = problems.error(place.clone(), format!("not valid YAML: {info}"), "here");
    if line.contains(": {{") || line.trim_start().starts_with("- {{") {
        diagnostic.help = Some(r#"quote a value that begins with a template: "{{ name }}""#.into());
    } else if line.contains('\t') {
        diagnostic.help = Some("YAML is indented with spaces, not with tabs".into());
    } else if line.matches(": ").count() > 1 {
        diagnostic.help = Some("quote a value that contains `: `".into());
    }
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    parser: Parser<'a, StrInput<'a>>,
    problems: &'a mut Diagnostics,
    anchors: HashMap<usize, (Node, usize)>,
    aliased: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Range<usize>), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, byte_range(&span))),
            Some(Err(error)) => Err(Stop::Syntax(error)),
            None => Ok((Event::StreamEnd, self.source.text.len()..self.source.text.len())),
        }
    }

    fn stop(&mut self, range: Range<usize>, message: &str, label: &str) -> Stop {
        self.problems.error(self.place(range), message, label);
        Stop::Reported
    }

    /// A place without the white space that the parser counts as the end of a block.
    fn place(&self, range: Range<usize>) -> Place {
        Place::new(self.source, range).trimmed()
    }

    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, range) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    let stop = self.stop(range, "a second YAML document begins here", "expected one document a file");
                    return Err(stop);
                }
                Event::DocumentStart(..) => root = Some(self.node(0)?.0),
                _ => {}
            }
        }
        Ok(root.unwrap_or_else(|| Node { place: self.place(0..0), kind: Kind::Scalar(Value::Null) }))
    }

    /// The next node and the count of values in it.
    fn node(&mut self, depth: usize) -> Result<(Node, usize), Stop> {
        let (event, range) = self.next()?;
        self.finish(event, range, depth)
    }

    fn finish(&mut self, event: Event<'a>, range: Range<usize>, depth: usize) -> Result<(Node, usize), Stop> {
        if depth > MAX_DEPTH {
            return Err(self.stop(range, "values are nested too deeply", "64 levels are the most"));
        }
        let (node, size, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(&text, style, tag.as_deref(), range);
                (node, 1, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", &range);
                let (node, size) = self.list(range, depth)?;
                (node, size, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", &range);
                let (node, size) = self.map(range, depth)?;
                (node, size, anchor)
            }
            Event::Alias(id) => {
                let Some((node, size)) = self.anchors.get(&id).cloned() else {
                    return Err(self.stop(
                        range,
                        "this alias stands inside its own anchor",
                        "a value cannot hold itself",
                    ));
                };
                self.aliased += size;
                if self.aliased > MAX_ALIASED {
                    return Err(self.stop(range, "aliases repeat too many values", "100,000 are the most"));
                }
                return Ok((node, size));
            }
            _ => return Err(self.stop(range, "a value is missing", "expected a value here")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok((node, size))
    }

    fn list(&mut self, start: Range<usize>, depth: usize) -> Result<(Node, usize), Stop> {
        let (mut items, mut size, mut end) = (Vec::new(), 1, start.end);
        loop {
            let (event, range) = self.next()?;
            if event == Event::SequenceEnd {
                end = end.max(range.end.min(self.source.text.len()));
                break;
            }
            let (node, count) = self.finish(event, range, depth + 1)?;
            size += count;
            items.push(node);
        }
        Ok((Node { place: self.place(start.start..end), kind: Kind::List(items) }, size))
    }

    fn map(&mut self, start: Range<usize>, depth: usize) -> Result<(Node, usize), Stop> {
        let (mut own, mut merged) = (Vec::<Entry>::new(), Vec::<Node>::new());
        let (mut size, mut end, mut seen) = (1, start.end, HashMap::<String, Place>::new());
        loop {
            let (event, range) = self.next()?;
            if event == Event::MappingEnd {
                end = end.max(range.end.min(self.source.text.len()));
                break;
            }
            let merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key_text = match &event {
                Event::Scalar(text, ..) => Some(text.to_string()),
                _ => None,
            };
            let (key_node, _) = self.finish(event, range, depth + 1)?;
            let (value, count) = self.node(depth + 1)?;
            size += count;
            if merge {
                merged.push(value);
                continue;
            }
            let Some(key) = key_text.or_else(|| key_node.as_str().map(str::to_owned)) else {
                self.complex_key(&key_node);
                continue;
            };
            if let Some(first) = seen.get(&key) {
                let help = format!("the first is at {first}; keep one of them");
                self.problems
                    .error(key_node.place, format!("the key `{key}` is given twice"), "given again here")
                    .help = Some(help);
                continue;
            }
            seen.insert(key.clone(), key_node.place.clone());
            own.push(Entry { key, key_place: key_node.place, value });
        }
        let entries = self.merge(own, merged);
        Ok((Node { place: self.place(start.start..end), kind: Kind::Map(entries) }, size))
    }

    /// Applies `<<`: merged keys come first, an own key wins, and of several maps the first wins.
    fn merge(&mut self, own: Vec<Entry>, merged: Vec<Node>) -> Vec<Entry> {
        if merged.is_empty() {
            return own;
        }
        let mut taken: HashSet<String> = own.iter().map(|entry| entry.key.clone()).collect();
        let mut entries = Vec::new();
        for node in merged {
            let place = node.place.clone();
            let maps = match node.kind {
                Kind::List(items) => items,
                kind => vec![Node { place: place.clone(), kind }],
            };
            for map in maps {
                let Kind::Map(inner) = map.kind else {
                    self.problems.error(place.clone(), "`<<` merges maps only", "expected a map or a list of maps");
                    continue;
                };
                entries.extend(inner.into_iter().filter(|entry| taken.insert(entry.key.clone())));
            }
        }
        entries.extend(own);
        entries
    }

    /// A key that is a list or a map; nearly always a template that lacks quotes.
    fn complex_key(&mut self, key: &Node) {
        let mut place = key.place.clone();
        let before = self.source.text.get(..place.range.start).unwrap_or_default();
        if key.as_map().is_some() && before.ends_with('{') {
            let rest = self.source.text.get(place.range.clone()).unwrap_or_default().to_owned();
            place.range.start -= 1;
            self.problems
                .error(place, "a template at the start of a value is not quoted", "YAML reads this as a map")
                .help = Some(format!(r#"write "{{{rest}}}""#));
        } else {
            self.problems.error(place, "a key cannot be a list or a map", "expected a plain key");
        }
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, wanted: &str, range: &Range<usize>) {
        if let Some(tag) = tag
            && tag.core_suffix() != Some(wanted)
        {
            self.unknown_tag(tag, range);
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, range: &Range<usize>) {
        let name = tag.original();
        let place = self.place(range.clone());
        match name.as_str() {
            "!vault" | "!vault-encrypted" => {
                self.problems.error(place, "`!vault` values are not built yet", "an encrypted value").help =
                    Some("pass it with -e @file for now, from a file that only you can read".into());
            }
            "!unsafe" => {
                self.problems.error(place, "`!unsafe` is not built yet", "a value that is never a template").help =
                    Some("write {% raw %}…{% endraw %} around the text".into());
            }
            _ => {
                self.problems.error(place, format!("the tag `{name}` is not known"), "tagged value").help =
                    Some("remove the tag".into());
            }
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, range: Range<usize>) -> Node {
        let place = self.place(range.clone());
        let resolved = match tag {
            None if style == ScalarStyle::Plain => scalar::resolve(text),
            None => Some(Value::String(text.to_owned())),
            Some(tag) => match tag.core_suffix() {
                Some("str") => Some(Value::String(text.to_owned())),
                Some("null") => Some(Value::Null),
                Some("bool") => scalar::boolean(text).map(Value::Bool),
                Some("int") => scalar::resolve(text).filter(|v| v.is_i64() || v.is_u64()),
                Some("float") => scalar::resolve(text).filter(Value::is_number),
                _ if tag.original() == "!" => Some(Value::String(text.to_owned())),
                _ => {
                    self.unknown_tag(tag, &range);
                    Some(Value::String(text.to_owned()))
                }
            },
        };
        let value = resolved.unwrap_or_else(|| {
            self.problems
                .error(place.clone(), format!("`{text}` is not a number that can be kept exactly"), "out of range")
                .help = Some(format!("quote it if it is text: \"{text}\""));
            Value::Null
        });
        Node { place, kind: Kind::Scalar(value) }
    }
}

fn byte_range(span: &Span) -> Range<usize> {
    span.byte_range().unwrap_or(0..0)
}

//! What can go wrong in a template, and how it is said: which variable, where, and what to write instead.

use super::{
    context::Context,
    prepare::Prepared,
    scan::{self, Kind, Token},
};
use crate::config::{Diagnostic, Place};
use minijinja::{Error, ErrorKind, Value};
use std::{error::Error as _, fmt, ops::Range};

/// Why a template has no value.
#[derive(Debug, Clone)]
pub enum Failure {
    /// It reads something that check mode cannot know.
    Unknown(String),
    /// It is wrong.
    Error {
        /// How.
        diagnostic: Box<Diagnostic>,
        /// Whether what is wrong is that something is undefined: then `default` and `is defined` may still save it.
        undefined: bool,
    },
}

impl Failure {
    pub(super) fn error(diagnostic: Diagnostic) -> Self {
        Self::Error { diagnostic: Box::new(diagnostic), undefined: false }
    }

    /// A failure without a place of its own; whoever renders adds theirs.
    pub(super) fn message(message: impl Into<String>, help: Option<String>) -> Self {
        Self::error(Diagnostic { message: message.into(), place: None, label: String::new(), help })
    }

    /// The failure as a value that fails whatever touches it.
    pub(super) fn into_value(self) -> Value {
        Value::from(Error::from(Carried(self)))
    }

    /// Notes which variable it was met in.
    pub(super) fn used_by(self, owner: &str) -> Self {
        match self {
            Self::Error { mut diagnostic, undefined } if diagnostic.help.is_none() => {
                diagnostic.help = Some(format!("It is part of the value of `{owner}`."));
                Self::Error { diagnostic, undefined }
            }
            other => other,
        }
    }

    /// Gives a failure without a place this one.
    pub(super) fn at(self, place: Option<&Place>) -> Self {
        match self {
            Self::Error { mut diagnostic, undefined } if diagnostic.place.is_none() => {
                diagnostic.place = place.cloned();
                Self::Error { diagnostic, undefined }
            }
            other => other,
        }
    }
}

/// A failure on its way through the engine, as the source of an error.
#[derive(Debug)]
pub(super) struct Carried(pub(super) Failure);

impl Carried {
    /// A value outlived its rendering, which conversion to plain data prevents.
    pub(super) fn gone() -> Self {
        Self(Failure::message("a value was read after its rendering had ended", None))
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Failure::Unknown(because) => f.write_str(because),
            Failure::Error { diagnostic, .. } => f.write_str(&diagnostic.message),
        }
    }
}

impl std::error::Error for Carried {}

/// What was being rendered when the engine failed.
pub(super) struct Site<'a> {
    /// The text as the user wrote it.
    pub(super) text: &'a str,
    /// The text as the engine got it.
    pub(super) prepared: &'a Prepared,
    /// Where the engine's text begins within the prepared text (an expression within `{{ }}`).
    pub(super) offset: usize,
    /// Where the text was written.
    pub(super) place: Option<&'a Place>,
}

/// Turns the engine's error into ours.
pub(super) fn explain(error: &Error, context: &Context, site: &Site<'_>) -> Failure {
    if let Some(failure) = carried(error) {
        return failure.at(site.place);
    }
    let range = error.range().map(|range| {
        let range = site.prepared.original(range.start + site.offset..range.end + site.offset);
        range.start.min(site.text.len())..range.end.min(site.text.len())
    });
    let undefined = error.kind() == ErrorKind::UndefinedError;
    if undefined && let Some(failure) = undefined_name(context, site, range.clone()) {
        return failure;
    }
    let (message, help) = message(error, context, site.text);
    Failure::Error {
        diagnostic: Box::new(Diagnostic {
            message,
            place: narrow(site.place, site.text, range),
            label: String::new(),
            help,
        }),
        undefined,
    }
}

/// The failure of ours that an error of the engine's carries, if any.
pub(super) fn carried(error: &Error) -> Option<Failure> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(carried) = inner.downcast_ref::<Carried>() {
            return Some(carried.0.clone());
        }
        source = inner.source();
    }
    None
}

fn message(error: &Error, context: &Context, text: &str) -> (String, Option<String>) {
    let detail = error.detail().unwrap_or_default().replace(super::prepare::CHAIN, "get");
    match error.kind() {
        ErrorKind::UnknownFilter => unknown("filter", &detail, super::environment::filter_names()),
        ErrorKind::UnknownTest => unknown("test", &detail, super::environment::test_names()),
        ErrorKind::UnknownFunction => unknown("function", &detail, context.variables().names()),
        ErrorKind::OutOfFuel => {
            ("the template runs too long".to_owned(), Some("Is a loop without end in it?".to_owned()))
        }
        ErrorKind::SyntaxError if text.contains("{{") && detail.contains("unexpected `}`") => {
            (format!("syntax error: {detail}"), Some("Expressions such as `when` take no braces.".to_owned()))
        }
        ErrorKind::SyntaxError => (format!("syntax error: {detail}"), None),
        ErrorKind::UndefinedError if detail.is_empty() => ("undefined value".to_owned(), None),
        _ if detail.is_empty() => (error.kind().to_string(), None),
        _ => (detail, None),
    }
}

fn unknown(what: &str, detail: &str, names: Vec<String>) -> (String, Option<String>) {
    // "filter foo is unknown"
    let name =
        detail.split_whitespace().find(|word| !matches!(*word, "filter" | "test" | "function")).unwrap_or(detail);
    let name = name.trim_matches('`');
    (format!("unknown {what} `{name}`"), suggestion(name, names.iter().map(String::as_str)))
}

/// "Did you mean ...?" for the name that is nearest, if one is near.
pub(super) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .filter(|other| !other.starts_with("__"))
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(score, _)| *score >= 0.84)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, other)| format!("Did you mean `{other}`?"))
}

/// Says which name within the failing part of the text is undefined.
fn undefined_name(context: &Context, site: &Site<'_>, range: Option<Range<usize>>) -> Option<Failure> {
    let whole = 0..site.text.len();
    let within = range.clone().unwrap_or(whole.clone());
    // The engine's range may be as narrow as `.name`; the chain that it belongs to begins before it.
    [within, range.unwrap_or(whole.clone()), whole].into_iter().find_map(|range| {
        chains(site.text)
            .into_iter()
            .filter(|chain| overlaps(&chain.range, &range))
            .find_map(|chain| walk(context, site, &chain))
    })
}

fn overlaps(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

/// `a.b['c']` in a text.
struct Chain {
    range: Range<usize>,
    /// Each name or key with where it ends.
    steps: Vec<(String, Range<usize>)>,
}

fn chains(text: &str) -> Vec<Chain> {
    let parts = scan::parts(text);
    let groups: Vec<Vec<Token>> = if parts.is_empty() {
        scan::tokens(text, 0, None).map(|(tokens, _)| tokens).into_iter().collect()
    } else {
        parts.into_iter().map(|part| part.tokens).collect()
    };
    groups.iter().flat_map(|tokens| chains_of(text, tokens)).collect()
}

/// Words of the language that are no variables.
const WORDS: [&str; 22] = [
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "elif",
    "for",
    "true",
    "false",
    "none",
    "True",
    "False",
    "None",
    "set",
    "endfor",
    "endif",
    "with",
    "recursive",
    "loop",
    "endset",
];

fn chains_of(text: &str, tokens: &[Token]) -> Vec<Chain> {
    let word = |at: usize| tokens.get(at).and_then(|token| text.get(token.range.clone())).unwrap_or_default();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let before = if at == 0 { "" } else { word(at - 1) };
        let name = word(at);
        let is_test = before == "is" || (before == "not" && at >= 2 && word(at - 2) == "is");
        let is_root = token.kind == Kind::Name
            && !WORDS.contains(&name)
            && before != "."
            && before != "|"
            && !is_test
            && !matches!(word(at + 1), "=" if word(at + 2) != "=")
            && word(at + 1) != "(";
        at += 1;
        if !is_root {
            continue;
        }
        let mut chain = Chain { range: token.range.clone(), steps: vec![(name.to_owned(), token.range.clone())] };
        loop {
            let (key, end) = match (word(at), tokens.get(at + 1).map(|token| token.kind)) {
                (".", Some(Kind::Name)) if word(at + 2) != "(" => (word(at + 1).to_owned(), at + 1),
                ("[", Some(Kind::Text)) if word(at + 2) == "]" => {
                    (word(at + 1).trim_matches(['\'', '"']).to_owned(), at + 2)
                }
                _ => break,
            };
            let Some(last) = tokens.get(end) else { break };
            chain.range.end = last.range.end;
            chain.steps.push((key, last.range.clone()));
            at = end + 1;
        }
        found.push(chain);
    }
    found
}

/// Follows a chain until something is undefined.
fn walk(context: &Context, site: &Site<'_>, chain: &Chain) -> Option<Failure> {
    let (root, root_range) = chain.steps.first()?;
    let value = context.resolve(root);
    if value.is_none() && super::environment::is_global(root) {
        return None;
    }
    let mut value = value.unwrap_or(Value::UNDEFINED);
    let mut path = root.clone();
    let failure = |message: String, range: Range<usize>, help: Option<String>| Failure::Error {
        diagnostic: Box::new(Diagnostic {
            message,
            place: narrow(site.place, site.text, Some(range)),
            label: "not defined here".to_owned(),
            help,
        }),
        undefined: true,
    };
    if value.is_undefined() {
        if let Some(mut reason) = context.reason(root) {
            let used = site.place.map_or_else(String::new, |place| format!(" at {place}"));
            let more = format!("It is needed for `{root}`, used{used}.");
            reason.help = Some(reason.help.map_or(more.clone(), |help| format!("{help} {more}")));
            return Some(Failure::Error { diagnostic: Box::new(reason), undefined: true });
        }
        let names = context.variables().names();
        let help = suggestion(root, names.iter().map(String::as_str));
        return Some(failure(format!("undefined variable `{root}`"), root_range.clone(), help));
    }
    for (key, range) in chain.steps.iter().skip(1) {
        let next = value.get_item(&Value::from(key.as_str())).ok().filter(|next| !next.is_undefined());
        let Some(next) = next else {
            if let Some(reason) = context.reason(root) {
                return Some(Failure::Error { diagnostic: Box::new(reason), undefined: true });
            }
            let keys: Vec<String> = match value.kind() {
                minijinja::value::ValueKind::Map => {
                    value.try_iter().map(|keys| keys.map(|key| key.to_string()).collect()).unwrap_or_default()
                }
                _ => Vec::new(),
            };
            let help = suggestion(key, keys.iter().map(String::as_str));
            return Some(failure(format!("`{path}` has no `{key}`"), chain.range.start..range.end, help));
        };
        value = next;
        path = format!("{path}.{key}");
    }
    None
}

/// Narrows the place of a scalar to a range of its text. The text as written may be quoted, escaped, folded or
/// indented; where the range cannot be found in it for certain, the place stays as it is.
pub(super) fn narrow(place: Option<&Place>, text: &str, range: Option<Range<usize>>) -> Option<Place> {
    let place = place?;
    let Some(range) = range else { return Some(place.clone()) };
    let written = place.source.text.get(place.range.clone()).unwrap_or_default();
    let at = |start: usize, length: usize| Place {
        source: place.source.clone(),
        range: place.range.start + start..place.range.start + start + length,
    };
    if let Some(start) = only(written, text) {
        return Some(at(start + range.start, range.len()));
    }
    // A block scalar: the line, without its indentation, is the same.
    let line_start = text.get(..range.start)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(line_start..)?.lines().next()?;
    let snippet = text.get(range.clone())?;
    if let Some(start) = only(written, line.trim())
        && let Some(inner) = line.trim().find(snippet)
    {
        return Some(at(start + inner, snippet.len()));
    }
    if let Some(start) = only(written, snippet) {
        return Some(at(start, snippet.len()));
    }
    Some(place.clone())
}

/// Where `part` stands in `whole`, if exactly once.
fn only(whole: &str, part: &str) -> Option<usize> {
    if part.is_empty() {
        return None;
    }
    let mut found = whole.match_indices(part);
    let first = found.next()?;
    found.next().is_none().then_some(first.0)
}

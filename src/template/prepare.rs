//! What happens to template text before the engine compiles it, so that it means what it means to Ansible, and the
//! way back from places in the prepared text to places in what the user wrote.
//!
//! 1. Backslashes in string literals within `{{ }}` of a playbook are literal (`'\d'`), those of files are escapes.
//! 2. `ansible.builtin.` before the name of a filter or test is taken off.
//! 3. `a.b.c | default(x)` and `a.b.c is defined` hold whichever of the three is missing: Ansible's undefined values
//!    answer attribute access with another undefined value. The engine's strict mode refuses it, which is what is wanted
//!    everywhere else; so the lookups in front of these filters and tests go through a filter of ours.

use super::scan::{self, Kind, Part, PartKind, Token};
use std::{borrow::Cow, ops::Range};

/// The filter that reads an attribute or item and answers undefined for undefined.
pub(super) const CHAIN: &str = "__rollgate_get";

/// Text as the engine gets it.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) text: String,
    edits: Vec<Edit>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    range: Range<usize>,
    with: String,
}

impl Prepared {
    /// The place in the original text of a place in the prepared one.
    pub(super) fn original(&self, range: Range<usize>) -> Range<usize> {
        self.position(range.start, false)..self.position(range.end, true)
    }

    fn position(&self, at: usize, end: bool) -> usize {
        let mut shift = 0_isize;
        for edit in &self.edits {
            let start = edit.range.start.saturating_add_signed(shift);
            if at <= start {
                break;
            }
            if at < start + edit.with.len() {
                return if end { edit.range.end } else { edit.range.start };
            }
            shift += edit.with.len() as isize - edit.range.len() as isize;
        }
        at.saturating_add_signed(-shift)
    }
}

/// Prepares a whole template. `literal_backslashes` for text of a playbook, not for files.
pub(super) fn template(text: &str, literal_backslashes: bool) -> Prepared {
    let mut edits = Vec::new();
    for Part { kind, tokens, .. } in scan::parts(text) {
        if literal_backslashes && kind == PartKind::Output {
            backslashes(text, &tokens, &mut edits);
        }
        collections(text, &tokens, &mut edits);
        chains(text, &tokens, &mut edits);
    }
    apply(text, edits)
}

/// Prepares an expression without delimiters. In conditions backslashes are escapes, as Ansible has it.
pub(super) fn expression(text: &str, literal_backslashes: bool) -> Prepared {
    let mut edits = Vec::new();
    if let Some((tokens, _)) = scan::tokens(text, 0, None) {
        if literal_backslashes {
            backslashes(text, &tokens, &mut edits);
        }
        collections(text, &tokens, &mut edits);
        chains(text, &tokens, &mut edits);
    }
    apply(text, edits)
}

fn apply(text: &str, mut edits: Vec<Edit>) -> Prepared {
    edits.sort_by_key(|edit| edit.range.start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let mut kept: Vec<Edit> = Vec::new();
    for edit in edits {
        // An inner edit of a range already rewritten cannot happen by construction; skipping it keeps the text valid.
        if edit.range.start < at {
            continue;
        }
        out.push_str(text.get(at..edit.range.start).unwrap_or_default());
        out.push_str(&edit.with);
        at = edit.range.end;
        kept.push(edit);
    }
    out.push_str(text.get(at..).unwrap_or_default());
    Prepared { text: out, edits: kept }
}

fn backslashes(text: &str, tokens: &[Token], edits: &mut Vec<Edit>) {
    for token in tokens.iter().filter(|token| token.kind == Kind::Text) {
        let literal = text.get(token.range.clone()).unwrap_or_default();
        for (at, _) in literal.match_indices('\\') {
            let start = token.range.start + at;
            edits.push(Edit { range: start..start + 1, with: "\\\\".to_owned() });
        }
    }
}

/// Takes `ansible.builtin.` off the names of filters and tests.
fn collections(text: &str, tokens: &[Token], edits: &mut Vec<Edit>) {
    let word = |at: usize| tokens.get(at).and_then(|token| text.get(token.range.clone())).unwrap_or_default();
    for at in 0..tokens.len() {
        let name = match word(at) {
            "|" => at + 1,
            "is" if word(at + 1) == "not" => at + 2,
            "is" => at + 1,
            _ => continue,
        };
        let known =
            ["ansible", ".", "builtin", "."].iter().enumerate().all(|(part, expected)| word(name + part) == *expected);
        if let (true, Some(first), Some(last)) = (known, tokens.get(name), tokens.get(name + 3)) {
            edits.push(Edit { range: first.range.start..last.range.end, with: String::new() });
        }
    }
}

/// Rewrites the lookups in front of `| default`, `| d`, `is defined`, `is undefined` and their negations.
fn chains(text: &str, tokens: &[Token], edits: &mut Vec<Edit>) {
    let word = |at: usize| tokens.get(at).and_then(|token| text.get(token.range.clone())).unwrap_or_default();
    for at in 1..tokens.len() {
        let asks = match word(at) {
            "|" => matches!(word(at + 1), "default" | "d"),
            "is" => {
                let test = if word(at + 1) == "not" { at + 2 } else { at + 1 };
                matches!(word(test), "defined" | "undefined")
            }
            _ => false,
        };
        if asks {
            chain(text, tokens, at - 1, edits);
        }
    }
}

/// Walks back from the last token of an operand over `.name` and `[item]`.
fn chain(text: &str, tokens: &[Token], last: usize, edits: &mut Vec<Edit>) {
    let mark = |at: usize| match tokens.get(at).map(|token| token.kind) {
        Some(Kind::Mark(c)) => Some(c),
        _ => None,
    };
    let mut at = last;
    loop {
        let Some(token) = tokens.get(at) else { return };
        match token.kind {
            Kind::Name | Kind::Number if at >= 2 && mark(at - 1) == Some('.') => {
                let dot = &tokens[at - 1].range;
                let name = text.get(token.range.clone()).unwrap_or_default();
                let key: Cow<'_, str> =
                    if token.kind == Kind::Number { Cow::Borrowed(name) } else { Cow::Owned(format!("'{name}'")) };
                edits.push(Edit { range: dot.start..token.range.end, with: format!("|{CHAIN}({key})") });
                at -= 2;
            }
            Kind::Mark(']') => {
                let Some(open) = opening(tokens, at) else { return };
                let subscript = open > 0
                    && matches!(
                        tokens[open - 1].kind,
                        Kind::Name | Kind::Text | Kind::Mark(']') | Kind::Mark(')') | Kind::Mark('}')
                    )
                    && !matches!(
                        text.get(tokens[open - 1].range.clone()),
                        Some("in" | "not" | "and" | "or" | "if" | "else" | "is")
                    );
                let slice = (open + 1..at).any(|inner| mark(inner) == Some(':') && depth_one(tokens, open, inner));
                if !subscript || slice || open + 1 == at {
                    return;
                }
                edits.push(Edit { range: tokens[open].range.clone(), with: format!("|{CHAIN}(") });
                edits.push(Edit { range: token.range.clone(), with: ")".to_owned() });
                at = open - 1;
            }
            _ => return,
        }
    }
}

/// The bracket that the one at `close` closes.
fn opening(tokens: &[Token], close: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for at in (0..=close).rev() {
        match tokens.get(at)?.kind {
            Kind::Mark(']' | ')' | '}') => depth += 1,
            Kind::Mark('[' | '(' | '{') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether the token at `at` lies directly within the bracket opened at `open`.
fn depth_one(tokens: &[Token], open: usize, at: usize) -> bool {
    let mut depth = 0_isize;
    for token in tokens.get(open..at).unwrap_or_default() {
        match token.kind {
            Kind::Mark('[' | '(' | '{') => depth += 1,
            Kind::Mark(']' | ')' | '}') => depth -= 1,
            _ => {}
        }
    }
    depth == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backslashes_of_playbooks_are_literal() {
        assert_eq!(template(r"\1 {{ 'a\d' }} {% set x = '\n' %}", true).text, r"\1 {{ 'a\\d' }} {% set x = '\n' %}");
        assert_eq!(template(r"{{ 'a\n' }}", false).text, r"{{ 'a\n' }}");
    }

    #[test]
    fn lookups_before_default_are_chained() {
        let get = CHAIN;
        assert_eq!(
            expression("a.b['c'].d | default(x.y)", false).text,
            format!("a|{get}('b')|{get}('c')|{get}('d') | default(x.y)")
        );
        assert_eq!(expression("not a.b is not defined", false).text, format!("not a|{get}('b') is not defined"));
        assert_eq!(expression("a.b == 1", false).text, "a.b == 1");
        assert_eq!(expression("a[1:2] | default(1)", false).text, "a[1:2] | default(1)");
        assert_eq!(expression("x in [1] | default(2)", false).text, "x in [1] | default(2)");
        assert_eq!(expression("f(a.b).c | d(1)", false).text, format!("f(a.b)|{get}('c') | d(1)"));
        assert_eq!(
            expression("a[b.c | default('k')].d | default(1)", false).text,
            format!("a|{get}(b|{get}('c') | default('k'))|{get}('d') | default(1)")
        );
    }

    #[test]
    fn places_lead_back() {
        let text = r"{{ a.b | default('\d') ~ wrong }}";
        let prepared = template(text, true);
        let at = prepared.text.find("wrong").expect("there");
        let back = prepared.original(at..at + 5);
        assert_eq!(text.get(back), Some("wrong"));
    }
}

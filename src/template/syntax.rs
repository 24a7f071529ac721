//! Checks of templates and expressions that need no values: the syntax, and that every filter and test exists. The
//! loader runs them over whole playbooks, before any host is touched.

use super::{
    environment::{self, filter_names, test_names},
    failure::suggestion,
    file::FileOptions,
    prepare::{self, Prepared},
    scan::{self, Kind, Token},
};
use minijinja::{Environment, Error, context};
use std::ops::Range;

/// A mistake in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where in the text.
    pub range: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// Checks a string of a playbook that may hold templates.
pub fn check_template(text: &str) -> Vec<Mistake> {
    let prepared = prepare::template(text, true);
    let compiled = environment::playbook().template_from_str(&prepared.text).map(drop);
    mistakes(text, &prepared, compiled, "template", &tokens_of_parts(text))
}

/// Checks the text of a template file.
pub fn check_file(text: &str) -> Vec<Mistake> {
    let prepared = prepare::template(text, false);
    let options = FileOptions::default();
    let engine = environment::for_files(options.trim_blocks, options.lstrip_blocks);
    let compiled = engine.template_from_str(&prepared.text).map(drop);
    mistakes(text, &prepared, compiled, "template", &tokens_of_parts(text))
}

/// Checks an expression without braces, such as `when:` holds.
pub fn check_expression(text: &str) -> Vec<Mistake> {
    let prepared = prepare::expression(text, false);
    let compiled = environment::playbook().compile_expression(&prepared.text).map(drop);
    let tokens = scan::tokens(text, 0, None).map(|(tokens, _)| tokens).unwrap_or_default();
    mistakes(text, &prepared, compiled, "expression", &[tokens])
}

fn tokens_of_parts(text: &str) -> Vec<Vec<Token>> {
    scan::parts(text).into_iter().map(|part| part.tokens).collect()
}

fn mistakes(
    text: &str,
    prepared: &Prepared,
    compiled: Result<(), Error>,
    what: &str,
    groups: &[Vec<Token>],
) -> Vec<Mistake> {
    match compiled {
        Err(error) => vec![syntax(text, prepared, &error, what)],
        Ok(()) => groups.iter().flat_map(|tokens| unknown_names(text, tokens)).collect(),
    }
}

fn syntax(text: &str, prepared: &Prepared, error: &Error, what: &str) -> Mistake {
    let found = error.range().map(|range| prepared.original(range));
    let shown = found.and_then(|range| text.get(range.clone()).filter(|part| !part.trim().is_empty()).map(|_| range));
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let help = ["{{ }}", "{% %}", "( )", "[ ]"].into_iter().find_map(|pair| {
        let (open, close) = pair.split_once(' ')?;
        (text.matches(open).count() > text.matches(close).count()).then(|| format!("close `{open}` with `{close}`"))
    });
    Mistake {
        // What goes wrong at the end of the text is shown on its last character.
        range: shown.unwrap_or_else(|| last_character(text)),
        message: format!("this {what} cannot be read: {detail}"),
        help,
    }
}

fn last_character(text: &str) -> Range<usize> {
    let trimmed = text.trim_end();
    let start = trimmed.char_indices().next_back().map_or(0, |(at, _)| at);
    start..trimmed.len()
}

/// Filters (`| name`) and tests (`is name`) that the engine does not have.
fn unknown_names(text: &str, tokens: &[Token]) -> Vec<Mistake> {
    let word = |at: usize| tokens.get(at).and_then(|token| text.get(token.range.clone())).unwrap_or_default();
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let (kind, named) = match word(at) {
            "|" => ("filter", at + 1),
            "is" if at > 0 && word(at - 1) != "." => ("test", if word(at + 1) == "not" { at + 2 } else { at + 1 }),
            _ => continue,
        };
        let Some(token) = tokens.get(named).filter(|token| token.kind == Kind::Name) else { continue };
        let name = word(named);
        // A name with a collection before it is the renderer's to judge.
        if word(named + 1) == "." || exists(environment::playbook(), kind, name) {
            continue;
        }
        let names = if kind == "filter" { filter_names() } else { test_names() };
        found.push(Mistake {
            range: token.range.clone(),
            message: format!("unknown {kind} `{name}`"),
            help: suggestion(name, names.iter().map(String::as_str)),
        });
    }
    found
}

/// Whether the engine has a filter or test.
fn exists(engine: &Environment<'_>, kind: &str, name: &str) -> bool {
    let asked = engine.compile_expression(if kind == "filter" { "name is filter" } else { "name is test" });
    asked.and_then(|asked| asked.eval(context! { name })).is_ok_and(|answer| answer.is_true())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(mistakes: &[Mistake], text: &str) -> String {
        let [mistake] = mistakes else { panic!("{text}: {mistakes:?}") };
        format!("{} @ {}", mistake.message, &text[mistake.range.clone()])
    }

    #[test]
    fn what_is_well_formed_has_no_mistakes() {
        for text in [
            "{{ a | default('x\\d', true) | upper }}",
            "{% if a is defined and b is not none %}{% endif %}",
            "{% raw %}{{ | }}{% endraw %}",
        ] {
            assert_eq!(check_template(text), [], "{text}");
        }
        for text in [
            "a is defined and b.c | int > 3",
            "'is x' in names",
            "not (x is version('3', '>='))",
            "a.is",
            "r is succeeded",
        ] {
            assert_eq!(check_expression(text), [], "{text}");
        }
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        let text = "{{ a | defalt(3) }}";
        assert_eq!(first(&check_template(text), text), "unknown filter `defalt` @ defalt");
        let text = "b is defined and a is not defind";
        assert_eq!(first(&check_expression(text), text), "unknown test `defind` @ defind");
        let text = "a | default(3) ==";
        assert!(first(&check_expression(text), text).starts_with("this expression cannot be read"));
        let text = "x\n{% if a %}\n{{ b }\n";
        assert!(first(&check_file(text), text).starts_with("this template cannot be read"));
    }
}

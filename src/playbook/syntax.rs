//! Compile-checks templates and expressions at load, so that a typing error never reaches a host.

use crate::config::{Diagnostics, Place, Source};
use minijinja::{Environment, Error};
use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    // Without it errors carry no ranges.
    environment.set_debug(true);
    environment
});

/// Checks an expression such as `when:` holds.
pub(super) fn expression(text: &str, place: &Place, problems: &mut Diagnostics) {
    if let Err(error) = ENGINE.compile_expression(text) {
        report("expression", text, place, &error, problems);
    }
}

/// Checks a string that may hold templates.
pub(super) fn template(text: &str, place: &Place, problems: &mut Diagnostics) {
    if let Err(error) = ENGINE.template_from_str(text) {
        report("template", text, place, &error, problems);
    }
}

/// Checks a template file.
pub(super) fn file(source: &Arc<Source>, problems: &mut Diagnostics) {
    let place = Place::new(source, 0..source.text.len());
    if let Err(error) = ENGINE.template_from_str(&source.text) {
        let range = error.range().filter(|range| valid(&source.text, range)).unwrap_or(0..source.text.len());
        let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        problems.error(Place::new(&place.source, range), format!("this template cannot be read: {detail}"), "here");
    }
}

fn report(what: &str, text: &str, place: &Place, error: &Error, problems: &mut Diagnostics) {
    let range = error.range().filter(|range| valid(text, range)).unwrap_or(0..text.len());
    // An error at the end of the text is shown on its last character.
    let range = if text[range.clone()].trim().is_empty() { last_character(text) } else { range };
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let help = ["{{ }}", "{% %}", "( )", "[ ]"].into_iter().find_map(|pair| {
        let (open, close) = pair.split_once(' ')?;
        (text.matches(open).count() > text.matches(close).count()).then(|| format!("close `{open}` with `{close}`"))
    });
    problems.error(place.inside(text, range), format!("this {what} cannot be read: {detail}"), "here").help = help;
}

fn valid(text: &str, range: &Range<usize>) -> bool {
    range.start < range.end && text.get(range.clone()).is_some()
}

fn last_character(text: &str) -> Range<usize> {
    let trimmed = text.trim_end();
    let start = trimmed.char_indices().next_back().map_or(0, |(at, _)| at);
    start..trimmed.len()
}

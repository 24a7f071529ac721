//! Compile-checks templates and expressions at load, so that a typing error never reaches a host.

use crate::{
    config::{Diagnostic, Diagnostics, Place, Source},
    template::{Mistake, check_expression, check_file, check_template},
};
use std::sync::Arc;

/// Checks an expression such as `when:` holds.
pub(super) fn expression(text: &str, place: &Place, problems: &mut Diagnostics) {
    report(check_expression(text), problems, |mistake| place.inside(text, mistake.range.clone()));
}

/// Checks a string that may hold templates.
pub(super) fn template(text: &str, place: &Place, problems: &mut Diagnostics) {
    report(check_template(text), problems, |mistake| place.inside(text, mistake.range.clone()));
}

/// Checks a template file.
pub(super) fn file(source: &Arc<Source>, problems: &mut Diagnostics) {
    report(check_file(&source.text), problems, |mistake| Place::new(source, mistake.range.clone()));
}

fn report(mistakes: Vec<Mistake>, problems: &mut Diagnostics, place: impl Fn(&Mistake) -> Place) {
    for mistake in mistakes {
        let mut diagnostic = Diagnostic::new(Some(place(&mistake)), mistake.message, "here");
        diagnostic.help = mistake.help;
        problems.push(diagnostic);
    }
}

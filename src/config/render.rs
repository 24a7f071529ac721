//! Diagnostics as a terminal shows them, in the form that rustc made known.

use super::{Diagnostic, Diagnostics};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::io::IsTerminal as _;

/// Whether diagnostics on standard error may be coloured: it is a terminal and `NO_COLOR` is not set.
pub fn stderr_takes_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl Diagnostics {
    /// All mistakes, each with its source line, and a last line that counts them.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for diagnostic in &self.0 {
            text.push_str(&diagnostic.render_with(&renderer));
            text.push_str("\n\n");
        }
        let count = self.0.len();
        text.push_str(&format!("{count} mistake{}. No host was touched.\n", if count == 1 { "" } else { "s" }));
        text
    }
}

impl Diagnostic {
    /// The mistake with its source line.
    pub fn render(&self, colour: bool) -> String {
        self.render_with(&if colour { Renderer::styled() } else { Renderer::plain() })
    }

    fn render_with(&self, renderer: &Renderer) -> String {
        let message = printable(&self.message);
        let title = Level::ERROR.primary_title(&message);
        let mut report: Vec<Group<'_>> = Vec::new();
        let excerpt = self.place.as_ref().map(|place| (place, place.excerpt()));
        let label = printable(&self.label);
        match &excerpt {
            Some((place, (line, text, range))) => {
                let primary = AnnotationKind::Primary.span(range.clone());
                let primary = if label.is_empty() { primary } else { primary.label(label.as_str()) };
                let snippet = Snippet::source(text.as_str())
                    .line_start(*line)
                    .path(place.source.path.as_str())
                    .annotation(primary);
                report.push(title.element(snippet));
            }
            None => report.push(Group::with_title(title)),
        }
        let help = self.help.as_deref().map(printable);
        if let Some(help) = &help
            && let Some(group) = report.pop()
        {
            report.push(group.element(Level::HELP.message(help.as_str())));
        }
        renderer.render(&report)
    }
}

/// Control characters would move the cursor of who reads this.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

//! Colours of the terminal: none where there is no terminal or `NO_COLOR` is set.

use std::io::IsTerminal;

/// Paints or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(bool);

/// What a piece of text is, not how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As asked already.
    Good,
    /// Changed.
    Changed,
    /// Failed, lost, aborted.
    Bad,
    /// Worth reading.
    Warn,
    /// Of lesser weight.
    Dim,
    /// A heading.
    Strong,
}

impl Paint {
    /// Never paints.
    pub const PLAIN: Self = Self(false);

    /// For standard output.
    pub fn stdout() -> Self {
        Self(std::io::stdout().is_terminal() && wanted())
    }

    /// Paints or not, as said.
    pub fn new(on: bool) -> Self {
        Self(on)
    }

    /// The text in its style.
    pub fn paint(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Good => "32",
            Style::Changed => "33",
            Style::Bad => "1;31",
            Style::Warn => "35",
            Style::Dim => "2",
            Style::Strong => "1",
        };
        if self.0 && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// <https://no-color.org>: set and not empty means no colours; so does `TERM=dumb`.
fn wanted() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

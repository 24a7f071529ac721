//! Text of hosts made safe for where it goes (architecture.md S13): a terminal, HTML, Markdown.

use std::borrow::Cow;

/// For a terminal: without control characters (escape sequences among them) and without the marks that reorder text.
/// Line ends and tabs stay.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().all(printable) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|c| printable(*c)).collect())
}

/// As [`clean`], on one line: line ends become spaces.
pub fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect();
    clean(&lines.join(" ")).into_owned()
}

fn printable(c: char) -> bool {
    let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    matches!(c, '\n' | '\t') || !(c.is_control() || reorders)
}

/// For HTML, in text and in quoted attributes.
pub(super) fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// For Markdown, inline and in table cells: on one line, nothing in it is markup.
pub fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A fenced block for Markdown that nothing in `text` can close.
pub fn fenced(language: &str, text: &str) -> String {
    let text = clean(text);
    let longest =
        text.lines().map(|line| line.trim_start().chars().take_while(|c| *c == '`').count()).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end_matches('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_cannot_write_to_the_terminal_or_into_the_report() {
        assert_eq!(clean("a\u{1b}]0;title\u{7}b\u{9b}2J\u{202e}c\r\n\td"), "a]0;titleb2Jc\n\td");
        assert_eq!(html("<script>\"'&"), "&lt;script&gt;&quot;&#39;&amp;");
        assert_eq!(markdown("| a\n[x](y) `<b>`"), "\\| a \\[x\\](y) \\`&lt;b&gt;\\`");
        assert_eq!(fenced("diff", "```\nx"), "````diff\n```\nx\n````\n");
    }

    proptest! {
        #[test]
        fn nothing_closes_a_fence_but_its_own_end(text in "[`a\n ]{0,60}") {
            let block = fenced("", &text);
            let fence: String = block.chars().take_while(|c| *c == '`').collect();
            let ends = block.lines().filter(|line| line.trim().starts_with(&fence) && line.trim().chars().all(|c| c == '`'));
            prop_assert_eq!(ends.count(), 2);
        }

        #[test]
        fn nothing_in_html_is_markup(text in any::<String>()) {
            let escaped = html(&text);
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
        }
    }
}

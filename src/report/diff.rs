//! Differences as unified diffs.

use super::{
    paint::{Paint, Style},
    text::clean,
};
use rollgate_agent::protocol::Diff;
use similar::TextDiff;

/// One object's difference with three lines around each change, without colours, each line ended.
pub fn unified(diff: &Diff) -> String {
    let (before, after) = (clean(&diff.before), clean(&diff.after));
    let object = super::text::one_line(&diff.object);
    let changes = TextDiff::from_lines(before.as_ref(), after.as_ref());
    let (old, new) = (format!("before: {object}"), format!("after: {object}"));
    let text = changes.unified_diff().context_radius(3).header(&old, &new).to_string();
    if text.is_empty() { format!("--- {old}\n+++ {new}\n") } else { text }
}

/// The same with colours, each line indented.
pub fn painted(diff: &Diff, paint: Paint, indent: &str) -> String {
    let mut out = String::new();
    for line in unified(diff).lines() {
        let style = match line.chars().next() {
            Some('+') => Style::Good,
            Some('-') => Style::Bad,
            Some('@') => Style::Dim,
            _ => {
                out.push_str(&format!("{indent}{line}\n"));
                continue;
            }
        };
        out.push_str(&format!("{indent}{}\n", paint.paint(style, line)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(before: &str, after: &str) -> Diff {
        Diff { object: "/etc/motd".to_owned(), before: before.to_owned(), after: after.to_owned() }
    }

    #[test]
    fn a_diff_names_the_object_and_marks_lines() {
        let text = painted(&diff("a\nb\n", "a\nc\n"), Paint::PLAIN, "    ");
        assert_eq!(
            text,
            "    --- before: /etc/motd\n    +++ after: /etc/motd\n    @@ -1,2 +1,2 @@\n     a\n    -b\n    +c\n"
        );
    }

    #[test]
    fn a_missing_newline_at_the_end_is_said() {
        assert!(unified(&diff("", "x")).contains("\\ No newline at end of file"));
    }
}

//! What a step that failed says of itself: why, and what its program wrote.

use super::result::Outcome;
use rollgate_agent::protocol::NON_ZERO;
use serde_json::Value;

/// Lines of standard output that are told: what went wrong mostly stands last.
const LINES: usize = 12;

/// Characters of a program's words in a host's reason, half from their beginning and half from their end.
const BRIEF: usize = 240;

/// For the step's own lines.
pub(super) fn in_full(outcome: &Outcome) -> Option<String> {
    let mut told = why(outcome)?;
    let (stderr, stdout) = streams(outcome, &told);
    let mut add = |head: &str, text: &str| {
        let gap = if text.contains('\n') { "\n" } else { " " };
        told.push_str(&format!("{head}:{gap}{text}"));
    };
    let tail = last_lines(stdout);
    match (stderr.is_empty(), stdout.is_empty()) {
        (true, true) => {}
        (true, false) => add("", &tail),
        (false, true) => add("", stderr),
        (false, false) => {
            add("", stderr);
            add("\nStandard output", &tail);
        }
    }
    Some(told)
}

/// For the account and for an attempt that is followed by another, on one line.
pub(super) fn in_brief(outcome: &Outcome) -> Option<String> {
    let told = why(outcome)?;
    let (stderr, stdout) = streams(outcome, &told);
    let said = if stderr.is_empty() { stdout } else { stderr };
    let said = said.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    if said.is_empty() {
        return Some(told);
    }
    let letters: Vec<char> = said.chars().collect();
    let said = match (letters.get(..BRIEF / 2), letters.get(letters.len().saturating_sub(BRIEF / 2)..)) {
        (Some(head), Some(tail)) if letters.len() > BRIEF => {
            format!("{} … {}", String::from_iter(head), String::from_iter(tail))
        }
        _ => said,
    };
    Some(format!("{told}: {said}"))
}

fn why(outcome: &Outcome) -> Option<String> {
    let why = outcome.failed.as_ref()?;
    Some(match outcome.data.get("rc").and_then(Value::as_i64) {
        Some(rc) => why.replacen(NON_ZERO, &format!("{NON_ZERO} {rc}"), 1),
        None => why.clone(),
    })
}

/// Standard error and standard output, without what has been told.
fn streams<'a>(outcome: &'a Outcome, told: &str) -> (&'a str, &'a str) {
    let stream = |name: &str| {
        let text = outcome.data.get(name).and_then(Value::as_str).map(str::trim).unwrap_or_default();
        // A module's message may be its program's; a short word may stand there by chance.
        if told == text || (text.len() > 8 && told.contains(text)) { "" } else { text }
    };
    (stream("stderr"), stream("stdout"))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    match lines.len().checked_sub(LINES) {
        Some(left_out @ 1..) => {
            format!("({left_out} lines before)\n{}", lines.get(left_out..).unwrap_or_default().join("\n"))
        }
        _ => lines.join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn outcome(failed: &str, stdout: &str, stderr: &str) -> Outcome {
        let data = json!({"rc": 3, "stdout": stdout, "stderr": stderr});
        let data: Map<String, Value> = data.as_object().unwrap().clone();
        Outcome { changed: Some(true), failed: Some(failed.to_owned()), skipped: None, data, unknown: None }
    }

    fn both(failed: &str, stdout: &str, stderr: &str) -> (String, String) {
        let outcome = outcome(failed, stdout, stderr);
        (in_full(&outcome).unwrap(), in_brief(&outcome).unwrap())
    }

    #[test]
    fn a_command_says_its_code_and_what_it_wrote() {
        let same = |text: &str| (text.to_owned(), text.to_owned());
        assert_eq!(both(NON_ZERO, "", ""), same("non-zero return code 3"));
        assert_eq!(both(NON_ZERO, "a\n", ""), same("non-zero return code 3: a"));
        assert_eq!(both(NON_ZERO, "", "b"), same("non-zero return code 3: b"));
        let (full, brief) = both(&format!("{NON_ZERO} (after 6 attempts)"), "a\nb", "c");
        assert_eq!(full, "non-zero return code 3 (after 6 attempts): c\nStandard output:\na\nb");
        assert_eq!(brief, "non-zero return code 3 (after 6 attempts): c");
    }

    #[test]
    fn what_was_said_already_is_not_said_again() {
        assert_eq!(both("useradd: no such group", "", "no such group").0, "useradd: no such group");
        assert_eq!(both("no", "", "no").1, "no");
    }

    #[test]
    fn of_much_the_last_lines_are_told_and_of_a_long_line_both_ends() {
        let much: Vec<String> = (1..=20).map(|number| format!("{number:030}")).collect();
        let (full, brief) = both(NON_ZERO, &much.join("\n"), "");
        assert!(
            full.starts_with("non-zero return code 3:\n(8 lines before)\n000000000000000000000000000009\n"),
            "{full}"
        );
        assert!(full.ends_with("\n000000000000000000000000000020"), "{full}");
        assert!(brief.contains("001 00") && brief.contains(" … ") && brief.ends_with("020"), "{brief}");
        assert_eq!(brief.chars().count(), "non-zero return code 3: ".len() + 240 + 3);
    }

    #[test]
    fn the_account_knows_the_brief_by_the_beginning_of_the_full() {
        let long = "word ".repeat(100);
        for (stdout, stderr) in [("", ""), ("a", ""), ("a\nb", ""), ("a", "b\nc"), (&long, ""), ("", &long)] {
            let (full, brief) = both(NON_ZERO, stdout, stderr);
            let head: String = full.lines().next().unwrap().chars().take(100).collect();
            assert!(brief.contains(&head), "{brief:?} has not {head:?}");
        }
    }
}

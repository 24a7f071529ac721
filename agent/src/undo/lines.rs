//! Taking back our own lines of a file that others have written to since (R10).

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// Undoes the change from `before` to `ours` in `now`, line by line, and leaves every other line. None where a line that
/// we changed has been changed again by somebody: nobody can say what it should be.
#[must_use]
pub fn take_back(before: &[u8], ours: &[u8], now: &[u8]) -> Option<Vec<u8>> {
    let (old, new) = (lines(before), lines(ours));
    let mut text: Vec<&[u8]> = lines(now);
    // From the end, so that positions before a hunk stay true.
    for op in capture_diff_slices(Algorithm::Myers, &old, &new).into_iter().rev() {
        match op {
            DiffOp::Equal { .. } => {}
            DiffOp::Insert { new_index, new_len, .. } => {
                let added = new.get(new_index..new_index + new_len)?;
                remove(&mut text, added, new_index);
            }
            DiffOp::Delete { old_index, old_len, new_index } => {
                let removed = old.get(old_index..old_index + old_len)?;
                if find(&text, removed, new_index).is_none() {
                    let at = place(&text, &new, new_index);
                    text.splice(at..at, removed.iter().copied());
                }
            }
            DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                let was = old.get(old_index..old_index + old_len)?;
                let is = new.get(new_index..new_index + new_len)?;
                match find(&text, is, new_index) {
                    Some(at) => {
                        text.splice(at..at + is.len(), was.iter().copied());
                    }
                    None if find(&text, was, new_index).is_some() => {}
                    None => return None,
                }
            }
        }
    }
    Some(joined(&text))
}

/// Whether nothing of our change is left in `now`: what [`take_back`] would give is what is there.
#[must_use]
pub fn taken_back(before: &[u8], ours: &[u8], now: &[u8]) -> bool {
    take_back(before, ours, now).is_some_and(|text| text == now)
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Lines put together; only the last one may lack its newline.
fn joined(lines: &[&[u8]]) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::new();
    for line in lines {
        if text.last().is_some_and(|byte| *byte != b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(line);
    }
    text
}

/// Where this block of lines is: the occurrence nearest to `near`.
fn find(text: &[&[u8]], block: &[&[u8]], near: usize) -> Option<usize> {
    if block.is_empty() || block.len() > text.len() {
        return None;
    }
    text.windows(block.len())
        .enumerate()
        .filter(|(_, window)| window.iter().zip(block).all(|(a, b)| same(a, b)))
        .map(|(at, _)| at)
        .min_by_key(|at| at.abs_diff(near))
}

/// The same line, with or without a newline at the end of the file.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.strip_suffix(b"\n").unwrap_or(a) == b.strip_suffix(b"\n").unwrap_or(b)
}

fn remove(text: &mut Vec<&[u8]>, added: &[&[u8]], near: usize) {
    if let Some(at) = find(text, added, near) {
        text.drain(at..at + added.len());
        return;
    }
    // Somebody wrote between our lines: take back each that is still there.
    for line in added {
        if let Some(at) = find(text, &[line], near) {
            text.remove(at);
        }
    }
}

/// Where lines go that stood before line `index` of `new`: after the line that came before them, or before the one
/// that came after, or at the end.
fn place(text: &[&[u8]], new: &[&[u8]], index: usize) -> usize {
    let before = index.checked_sub(1).and_then(|at| new.get(at)).and_then(|line| find(text, &[line], index - 1));
    let after = new.get(index).and_then(|line| find(text, &[line], index));
    match (before, after) {
        (Some(at), _) => at + 1,
        (None, Some(at)) => at,
        (None, None) if index == 0 => 0,
        (None, None) => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn back(before: &str, ours: &str, now: &str) -> Option<String> {
        take_back(before.as_bytes(), ours.as_bytes(), now.as_bytes()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn lines_of_others_stay() {
        assert_eq!(
            back("a:1\n", "a:1\ndockremap:2\n", "a:1\ndockremap:2\nb:3\n").as_deref(),
            Some("a:1\nb:3\n")
        );
        assert_eq!(back("x=1\ny=2\n", "x=9\ny=2\n", "new\nx=9\ny=2\n").as_deref(), Some("new\nx=1\ny=2\n"));
        assert_eq!(back("a\nb\nc\n", "a\nc\n", "a\nc\nd\n").as_deref(), Some("a\nb\nc\nd\n"));
        assert_eq!(back("", "ours\n", "theirs\n").as_deref(), Some("theirs\n"));
    }

    #[test]
    fn our_line_changed_again_by_somebody_cannot_be_taken_back() {
        assert_eq!(back("x=1\n", "x=2\n", "x=3\n"), None);
    }

    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec("[a-f]{1,2}", 0..8).prop_map(|lines| lines.iter().map(|line| format!("{line}\n")).collect())
    }

    proptest! {
        #[test]
        fn without_others_it_is_as_before(before in text(), ours in text()) {
            prop_assert_eq!(back(&before, &ours, &ours), Some(before));
        }

        #[test]
        fn a_line_that_others_appended_is_kept(before in text(), ours in text()) {
            let now = format!("{ours}THEIRS\n");
            prop_assert_eq!(back(&before, &ours, &now), Some(format!("{before}THEIRS\n")));
        }
    }
}

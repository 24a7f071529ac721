//! Taking back our own lines of a file that others have written to since (R10): a merge in three ways.

use similar::DiffOp;
use similar::algorithms::{Capture, Replace, myers};

/// Undoes the change from `before` to `ours` in `now`, line by line, and leaves every other line. Nothing happens where
/// it is undone already. None where a line that we changed has been changed again by somebody, or where the file ends in
/// the middle of what was there: nobody can say what it should be.
#[must_use]
pub fn take_back(before: &[u8], ours: &[u8], now: &[u8]) -> Option<Vec<u8>> {
    if now != before && now != ours && (torn(before, now) || torn(ours, now)) {
        return None;
    }
    let (before, base, found) = (lines(before), lines(ours), lines(now));
    let undo = Edits::between(&base, &before);
    let theirs = Edits::between(&base, &found);
    let mut text: Vec<&[u8]> = Vec::new();
    for (at, line) in base.iter().map(Some).chain([None]).enumerate() {
        text.extend(merged(undo.inserted(at), theirs.inserted(at), undo.deletes(at), theirs.deletes(at))?);
        if let Some(line) = line
            && !undo.deletes(at)
            && !theirs.deletes(at)
        {
            text.push(line);
        }
    }
    let mut bytes = text.join(&b'\n');
    if !bytes.is_empty() && (now.is_empty() || now.ends_with(b"\n")) {
        bytes.push(b'\n');
    }
    Some(bytes)
}

/// Whether nothing of our change is left in `now`: what [`take_back`] would give is what is there.
#[must_use]
pub fn taken_back(before: &[u8], ours: &[u8], now: &[u8]) -> bool {
    take_back(before, ours, now).is_some_and(|text| text == now)
}

/// Whether `found` is no more than the beginning of `whole`, and ends inside a line or before the first: what a lost write
/// leaves, and no edit of lines.
fn torn(whole: &[u8], found: &[u8]) -> bool {
    found.len() < whole.len() && whole.starts_with(found) && !found.ends_with(b"\n")
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line)).collect()
}

/// How one text becomes another: which of its lines go, and what comes before each (and at the end).
struct Edits<'a> {
    deleted: Vec<bool>,
    inserted: Vec<Vec<&'a [u8]>>,
}

impl<'a> Edits<'a> {
    fn between(base: &[&[u8]], other: &[&'a [u8]]) -> Self {
        let mut edits = Self { deleted: vec![false; base.len()], inserted: vec![Vec::new(); base.len() + 1] };
        // One algorithm by name: choosing at run time links all of them, a tenth of the agent.
        let mut hook = Replace::new(Capture::new());
        let Ok(()) = myers::diff(&mut hook, base, 0..base.len(), other, 0..other.len());
        for op in hook.into_inner().into_ops() {
            if matches!(op, DiffOp::Equal { .. }) {
                continue;
            }
            let (from, to) = (op.old_range(), op.new_range());
            if let Some(place) = edits.inserted.get_mut(from.start) {
                place.extend_from_slice(other.get(to).unwrap_or_default());
            }
            edits.deleted.get_mut(from).unwrap_or_default().fill(true);
        }
        edits
    }

    fn deletes(&self, at: usize) -> bool {
        self.deleted.get(at).copied().unwrap_or_default()
    }

    fn inserted(&self, at: usize) -> &[&'a [u8]] {
        self.inserted.get(at).map(Vec::as_slice).unwrap_or_default()
    }
}

/// What comes in at one place, of our undoing and of others, given which of them replaces the line there.
fn merged<'a>(
    undo: &[&'a [u8]],
    theirs: &[&'a [u8]],
    undo_replaces: bool,
    theirs_replaces: bool,
) -> Option<Vec<&'a [u8]>> {
    let holds = |all: &[&[u8]], part: &[&[u8]]| part.is_empty() || all.windows(part.len()).any(|window| window == part);
    match (undo_replaces, theirs_replaces) {
        // Put back already, or nothing to put back.
        _ if holds(theirs, undo) => Some(theirs.to_vec()),
        _ if theirs.is_empty() => Some(undo.to_vec()),
        (true, true) => None,
        // What they wrote stands before the line that is replaced in its place.
        (true, false) => Some([theirs, undo].concat()),
        (false, _) => Some([undo, theirs].concat()),
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
        assert_eq!(back("a:1\n", "a:1\ndockremap:2\n", "a:1\ndockremap:2\nb:3\n").as_deref(), Some("a:1\nb:3\n"));
        assert_eq!(back("x=1\ny=2\n", "x=9\ny=2\n", "new\nx=9\ny=2\n").as_deref(), Some("new\nx=1\ny=2\n"));
        assert_eq!(back("a\nb\nc\n", "a\nc\n", "a\nc\nd\n").as_deref(), Some("a\nb\nc\nd\n"));
        assert_eq!(back("", "ours\n", "theirs\n").as_deref(), Some("theirs\n"));
    }

    #[test]
    fn our_line_changed_again_by_somebody_cannot_be_taken_back() {
        assert_eq!(back("x=1\n", "x=2\n", "x=3\n"), None);
    }

    #[test]
    fn a_file_cut_inside_a_line_is_not_an_edit() {
        for now in ["", "a:", "a:1", "a:1\nb", "a:1\nours:"] {
            assert_eq!(back("a:1\nb:2\n", "a:1\nours:3\nb:2\n", now), None, "{now:?}");
        }
        assert_eq!(back("a:1\nb:2\n", "a:1\nours:3\nb:2\n", "a:1\n").as_deref(), Some("a:1\n"));
        assert_eq!(back("", "ours\n", "").as_deref(), Some(""));
    }

    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec("[a-f]{1,2}", 0..8)
            .prop_map(|lines| lines.iter().map(|line| format!("{line}\n")).collect())
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

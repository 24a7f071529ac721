//! `merge: lines`: content that goes into a file in which others have lines, too (`/etc/subuid`).

/// The file's text with the content's lines in it. A content line that is missing takes the place of the lines that have
/// its first field (`name:`) and are not in the content, else it goes to the end; every other line stays.
pub(super) fn merge_lines(now: &[u8], content: &[u8]) -> Vec<u8> {
    let wanted = lines(content);
    let found = lines(now);
    let missing: Vec<&[u8]> = wanted.iter().copied().filter(|line| !line.is_empty() && !found.contains(line)).collect();
    let replaced = |line: &[u8]| {
        key(line).is_some_and(|own| missing.iter().any(|line| key(line) == Some(own))) && !wanted.contains(&line)
    };
    let mut merged: Vec<&[u8]> = Vec::new();
    let mut left = missing.clone();
    for line in &found {
        if !replaced(line) {
            merged.push(line);
            continue;
        }
        let (now, later) = left.into_iter().partition(|new| key(new) == key(line));
        merged.extend::<Vec<_>>(now);
        left = later;
    }
    merged.extend(left);
    let mut text = merged.join(&b'\n');
    let ends = now.is_empty() || now.ends_with(b"\n") || !missing.is_empty();
    if !text.is_empty() && ends {
        text.push(b'\n');
    }
    text
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line)).collect()
}

/// What a line is about: its first field. A comment or a line without fields is about nothing but itself.
fn key(line: &[u8]) -> Option<&[u8]> {
    let end = line.iter().position(|byte| *byte == b':')?;
    line.get(..end).filter(|key| !key.is_empty() && !key.starts_with(b"#"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(now: &str, content: &str) -> String {
        String::from_utf8(merge_lines(now.as_bytes(), content.as_bytes())).unwrap()
    }

    #[test]
    fn lines_of_others_stay_and_ours_are_added_or_replaced_in_place() {
        let now = "ann:100000:65536\nremap:1:1\nbob:165536:65536\n";
        assert_eq!(merged(now, "remap:231072:65536\n"), "ann:100000:65536\nremap:231072:65536\nbob:165536:65536\n");
        assert_eq!(merged("ann:1:2\n", "remap:3:4\n"), "ann:1:2\nremap:3:4\n");
        assert_eq!(merged("", "remap:3:4\n"), "remap:3:4\n");
        assert_eq!(merged("ann:1:2", "remap:3:4"), "ann:1:2\nremap:3:4\n");
    }

    #[test]
    fn content_that_holds_everything_is_what_comes_out() {
        let now = "# ranges\nann:1:2\nremap:1:1\nremap:5:5\n";
        let content = "# ranges\nann:1:2\nremap:7:7\n";
        assert_eq!(merged(now, content), content);
    }

    #[test]
    fn nothing_changes_when_every_line_is_there() {
        let now = "ann:1:2\nann:9:9\nremap:3:4";
        assert_eq!(merged(now, "remap:3:4\nann:1:2\n"), now);
    }
}

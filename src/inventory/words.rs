//! Splits a line into words as Python's `shlex` does, and keeps where each was written.

use std::ops::Range;

/// A word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The word without its quotes.
    pub text: String,
    /// The bytes of the line that it was written with.
    pub range: Range<usize>,
}

/// Splits at spaces outside quotes. With `comments`, `#` ends the line even within a word, as it does for Ansible.
///
/// # Errors
/// A quote that is not closed, or a backslash at the end.
pub fn split_words(line: &str, comments: bool) -> Result<Vec<Word>, String> {
    let mut words: Vec<Word> = Vec::new();
    let mut word: Option<Word> = None;
    let mut characters = line.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let end = at + c.len_utf8();
        if c.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        if c == '#' && comments {
            break;
        }
        let current = word.get_or_insert_with(|| Word { text: String::new(), range: at..end });
        current.range.end = end;
        match c {
            '\\' => {
                let (at, escaped) = characters.next().ok_or("nothing follows the last backslash")?;
                current.text.push(escaped);
                current.range.end = at + escaped.len_utf8();
            }
            '\'' | '"' => loop {
                let (at, inner) = characters.next().ok_or_else(|| format!("the quote {c} is not closed"))?;
                current.range.end = at + inner.len_utf8();
                match inner {
                    _ if inner == c => break,
                    '\\' if c == '"' => match characters.peek().copied() {
                        Some((_, next @ ('"' | '\\'))) => {
                            characters.next();
                            current.text.push(next);
                        }
                        _ => current.text.push('\\'),
                    },
                    _ => current.text.push(inner),
                }
            },
            _ => current.text.push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        split_words(line, true).expect("splits").into_iter().map(|word| word.text).collect()
    }

    /// The right-hand sides are what `shlex.split(line, comments=True)` returns.
    #[test]
    fn words_split_as_in_python() {
        assert_eq!(texts("a b  c"), ["a", "b", "c"]);
        assert_eq!(texts("a=1 b='x y' c=\"q \\\" \\n\" # no"), ["a=1", "b=x y", "c=q \" \\n"]);
        assert_eq!(texts("a#b c"), ["a"]);
        assert_eq!(texts("v='a#b'"), ["v=a#b"]);
        assert_eq!(texts("a\\ b ''"), ["a b", ""]);
        assert!(split_words("a 'b", true).is_err());
        assert!(split_words("a\\", true).is_err());
    }

    #[test]
    fn words_know_their_place() {
        let line = "host  key='a b'  # c";
        let words = split_words(line, true).expect("splits");
        assert_eq!(line.get(words[1].range.clone()), Some("key='a b'"));
    }
}

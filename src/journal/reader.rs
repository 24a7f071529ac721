//! Replay: a journal back into its events. A torn tail is cut, damage inside is refused with its place.

use super::{
    Event, JournalError,
    line::{self, BadLine, Tip},
};
use std::path::{Path, PathBuf};

/// A journal that was read and checked from its first line.
#[derive(Debug, Clone)]
pub struct Reader {
    events: Vec<Event>,
    tip: Tip,
    sound: u64,
    torn: u64,
}

impl Reader {
    /// Reads a whole journal.
    ///
    /// The bytes after the last sound line are a torn tail if no sound line follows them: a write that a crash
    /// cut short. They were never acknowledged, so nothing was done on their strength.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] when a line that is followed by a sound one is not what was written there, or when a
    /// newer version wrote it; system errors.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Self::from_bytes(&fs_err::read(path)?, path)
    }

    pub(super) fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, JournalError> {
        let mut reader = Self { events: Vec::new(), tip: Tip::start(), sound: 0, torn: 0 };
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (text, after) = rest.split_at(end);
            match line::open(text, &reader.tip) {
                Ok((event, tip)) => {
                    reader.events.push(event);
                    reader.tip = tip;
                    reader.sound += end as u64 + 1;
                    rest = after.get(1..).unwrap_or_default();
                }
                Err(why) => {
                    let sound_line_follows = rest.split(|byte| *byte == b'\n').any(line::is_whole);
                    if sound_line_follows || matches!(why, BadLine::Version(_)) {
                        return Err(reader.damaged(path, &why));
                    }
                    break;
                }
            }
        }
        reader.torn = bytes.len() as u64 - reader.sound;
        Ok(reader)
    }

    fn damaged(&self, path: &Path, why: &BadLine) -> JournalError {
        JournalError::Damaged {
            path: PathBuf::from(path),
            line: self.tip.seq + 1,
            offset: self.sound,
            why: why.to_string(),
        }
    }

    /// The events in their order.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// The events in their order.
    pub fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// Bytes of sound lines: where a writer that takes over goes on.
    pub fn sound_bytes(&self) -> u64 {
        self.sound
    }

    /// Bytes of the torn tail; 0 for none.
    pub fn torn_bytes(&self) -> u64 {
        self.torn
    }

    pub(super) fn tip(&self) -> Tip {
        self.tip.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::EventKind;
    use proptest::prelude::*;

    fn journal(count: u64) -> (Vec<u8>, Vec<Event>, Vec<usize>) {
        let (mut bytes, mut events, mut starts, mut tip) = (Vec::new(), Vec::new(), Vec::new(), Tip::start());
        for seq in 1..=count {
            let event = Event {
                seq,
                at: "2026-01-02T03:04:05Z".parse().expect("a time"),
                elapsed_ms: seq,
                kind: EventKind::Warning { host: None, message: format!("number {seq}") },
            };
            let (line, next) = line::seal(&event, &tip).expect("seals");
            starts.push(bytes.len());
            bytes.extend(line);
            events.push(event);
            tip = next;
        }
        (bytes, events, starts)
    }

    fn read(bytes: &[u8]) -> Result<Reader, JournalError> {
        Reader::from_bytes(bytes, Path::new("journal.jsonl"))
    }

    #[test]
    fn damage_inside_is_refused_with_line_and_offset() {
        let (mut bytes, _, starts) = journal(5);
        bytes[starts[2] + 40] ^= 1;
        let text = read(&bytes).expect_err("refused").to_string();
        assert!(text.contains(&format!("line 3, byte {}", starts[2])), "{text}");
    }

    #[test]
    fn a_lost_line_is_refused() {
        let (mut bytes, _, starts) = journal(5);
        bytes.drain(starts[1]..starts[2]);
        assert!(matches!(read(&bytes), Err(JournalError::Damaged { line: 2, .. })));
    }

    #[test]
    fn a_newer_line_format_is_refused_even_at_the_end() {
        let (bytes, _, starts) = journal(2);
        let text = String::from_utf8(bytes).expect("text");
        let newer = format!("{}{}", &text[..starts[1]], text[starts[1]..].replacen("\"v\":1", "\"v\":2", 1));
        assert!(read(newer.as_bytes()).expect_err("refused").to_string().contains("newer version"));
    }

    proptest! {
        /// A journal cut anywhere gives back exactly the events whose lines are whole, and never a damaged one.
        #[test]
        fn a_cut_journal_yields_its_whole_lines(count in 1_u64..12, cut in 0.0_f64..1.0) {
            let (bytes, events, starts) = journal(count);
            let at = (bytes.len() as f64 * cut) as usize;
            let reader = read(&bytes[..at]).expect("a torn tail is no damage");
            let whole = starts.iter().skip(1).chain([&bytes.len()]).filter(|end| **end <= at).count();
            prop_assert_eq!(reader.events().cloned().collect::<Vec<_>>(), &events[..whole]);
            prop_assert_eq!(reader.sound_bytes() + reader.torn_bytes(), at as u64);
        }

        /// However bytes are changed, what is read is a prefix of what was written, or the journal is refused.
        #[test]
        fn changed_bytes_never_become_other_events(
            count in 1_u64..12,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let (mut bytes, events, _) = journal(count);
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if let Ok(reader) = read(&bytes) {
                let read = reader.into_events();
                prop_assert_eq!(&read[..], &events[..read.len()]);
            }
        }

        /// Bytes that no journal wrote are never events and never a panic.
        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert!(read(&bytes).map_or(true, |reader| reader.into_events().is_empty()));
        }
    }
}

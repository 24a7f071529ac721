//! One line of a journal: sealed when written, checked when read (rollout.md 2.7).

use super::Event;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// The version of the line format. A reader refuses a higher one.
pub(super) const LINE_VERSION: u32 = 1;

/// What the first line names as the digest of the line before it.
pub(super) const NO_LINE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Why bytes are not the next line of this journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadLine {
    #[error("it is not a journal line")]
    NotALine,
    #[error("it was written by a newer version (line format {0}, this one reads {LINE_VERSION})")]
    Version(u32),
    #[error("its checksum does not match its event")]
    Checksum,
    #[error("it does not follow the line before it")]
    Chain,
    #[error("its event cannot be read: {0}")]
    Event(String),
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    v: u32,
    seq: u64,
    prev: &'a str,
    crc: &'a str,
    #[serde(borrow)]
    event: &'a RawValue,
}

/// The position after a line: what the next one must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tip {
    /// The number of the last line; 0 before the first.
    pub(super) seq: u64,
    /// Digest of the last line without its newline.
    pub(super) digest: String,
}

impl Tip {
    /// The position before the first line.
    pub(super) fn start() -> Self {
        Self { seq: 0, digest: NO_LINE.to_owned() }
    }

    fn after(seq: u64, line: &[u8]) -> Self {
        Self { seq, digest: hex(&Sha256::digest(line)) }
    }
}

/// Seals `event` as the line after `tip`; the line ends with its newline.
///
/// # Errors
/// An event that JSON cannot hold.
pub(super) fn seal(event: &Event, tip: &Tip) -> Result<(Vec<u8>, Tip), serde_json::Error> {
    let event = serde_json::value::to_raw_value(event)?;
    let crc = checksum(&event);
    let seq = tip.seq + 1;
    let mut bytes = serde_json::to_vec(&Line { v: LINE_VERSION, seq, prev: &tip.digest, crc: &crc, event: &event })?;
    let next = Tip::after(seq, &bytes);
    bytes.push(b'\n');
    Ok((bytes, next))
}

/// Checks that `line` (without its newline) follows `tip`, and opens it.
pub(super) fn open(line: &[u8], tip: &Tip) -> Result<(Event, Tip), BadLine> {
    let parsed = parse(line)?;
    if parsed.seq != tip.seq + 1 || parsed.prev != tip.digest {
        return Err(BadLine::Chain);
    }
    let event = serde_json::from_str(parsed.event.get()).map_err(|error| BadLine::Event(error.to_string()))?;
    Ok((event, Tip::after(parsed.seq, line)))
}

/// Whether `line` is whole in itself, wherever it belongs.
pub(super) fn is_whole(line: &[u8]) -> bool {
    parse(line).is_ok()
}

fn parse(line: &[u8]) -> Result<Line<'_>, BadLine> {
    let parsed: Line<'_> = serde_json::from_slice(line).map_err(|_| BadLine::NotALine)?;
    if parsed.v > LINE_VERSION {
        return Err(BadLine::Version(parsed.v));
    }
    if parsed.crc != checksum(parsed.event) {
        return Err(BadLine::Checksum);
    }
    Ok(parsed)
}

fn checksum(event: &RawValue) -> String {
    format!("{:08x}", crc32c::crc32c(event.get().as_bytes()))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::EventKind;

    fn event(seq: u64) -> Event {
        Event {
            seq,
            at: "2026-01-02T03:04:05Z".parse().expect("a time"),
            elapsed_ms: 7,
            kind: EventKind::Warning { host: Some("web1".to_owned()), message: "a \"quoted\" word".to_owned() },
        }
    }

    #[test]
    fn a_line_opens_to_the_event_that_was_sealed_and_names_the_line_before_it() {
        let (first, tip) = seal(&event(1), &Tip::start()).expect("seals");
        let (second, _) = seal(&event(2), &tip).expect("seals");
        let (read, after) = open(&first[..first.len() - 1], &Tip::start()).expect("opens");
        assert_eq!((read, &after), (event(1), &tip));
        assert!(String::from_utf8_lossy(&second).contains(&hex(&Sha256::digest(&first[..first.len() - 1]))));
        assert_eq!(open(&second[..second.len() - 1], &Tip::start()).expect_err("refused"), BadLine::Chain);
    }

    #[test]
    fn the_checksum_is_over_the_bytes_of_the_event_as_they_stand() {
        let (line, _) = seal(&event(1), &Tip::start()).expect("seals");
        let text = String::from_utf8(line).expect("text").replace("quoted", "edited");
        assert_eq!(open(text.trim_end().as_bytes(), &Tip::start()).expect_err("refused"), BadLine::Checksum);
    }
}

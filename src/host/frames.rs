//! Frames out of a byte stream that arrives in pieces, within the limits of S7.

use rollgate_agent::protocol::{FrameError, FromAgent, MAX_FRAME, decode};

/// Collects bytes and gives whole messages. Memory grows with the bytes that arrive, not with the declared length.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
}

impl FrameReader {
    /// Adds bytes that arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if one is there.
    pub(crate) fn next(&mut self) -> Result<Option<FromAgent>, FrameError> {
        let waiting = self.buffer.get(self.start..).unwrap_or_default();
        let Some((head, rest)) = waiting.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLarge(length));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = decode(body)?;
        self.start += 4 + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rollgate_agent::protocol::{Answer, encode};

    fn response(id: u64) -> FromAgent {
        FromAgent::Response { id, result: Ok(Answer::Done) }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_anything_is_kept_for_it() {
        let mut reader = FrameReader::default();
        reader.push(&u32::MAX.to_be_bytes());
        assert!(matches!(reader.next(), Err(FrameError::TooLarge(_))));
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error() {
        let mut reader = FrameReader::default();
        reader.push(&[0, 0, 0, 2, 0xc1, 0xc1]);
        assert!(matches!(reader.next(), Err(FrameError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn frames_come_whole_however_the_bytes_are_cut(cuts in prop::collection::vec(1usize..40, 1..60)) {
            let bytes: Vec<u8> = (0..20).flat_map(|id| encode(&response(id)).unwrap()).collect();
            let mut reader = FrameReader::default();
            let mut ids = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() { break }
                let (now, later) = rest.split_at(cut.min(rest.len()));
                reader.push(now);
                rest = later;
                while let Some(message) = reader.next().unwrap() {
                    let FromAgent::Response { id, .. } = message else { panic!("a response was sent") };
                    ids.push(id);
                }
            }
            prop_assert_eq!(ids, (0..20).collect::<Vec<_>>());
        }
    }
}

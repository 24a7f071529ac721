//! Length-prefixed MessagePack: four bytes of length, big-endian, then the message.

use serde::{Serialize, de::DeserializeOwned};
use std::io::{Read, Write};

/// The largest frame, in bytes (S7).
pub const MAX_FRAME: usize = 16 << 20;

/// The deepest nesting accepted (S7).
pub const MAX_DEPTH: usize = 64;

/// A frame that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream ended between frames: the other side has gone.
    #[error("the channel is closed")]
    Closed,
    /// Reading or writing failed, or the stream ended inside a frame.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A declared length over [`MAX_FRAME`].
    #[error("a frame of {0} bytes, over the limit of {MAX_FRAME}")]
    TooLarge(usize),
    /// Bytes that are no message.
    #[error("not a message: {0}")]
    Malformed(String),
}

/// Encodes one message as a frame, length included.
///
/// # Errors
/// [`FrameError::TooLarge`], or [`FrameError::Malformed`] for a value that MessagePack cannot hold.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let body = rmp_serde::to_vec_named(message).map_err(|error| FrameError::Malformed(error.to_string()))?;
    let length = u32::try_from(body.len()).map_err(|_| FrameError::TooLarge(body.len()))?;
    if body.len() > MAX_FRAME {
        return Err(FrameError::TooLarge(body.len()));
    }
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Decodes one message from a frame's body (without its length).
///
/// # Errors
/// [`FrameError::Malformed`] for anything that is not exactly one message, nested too deeply included.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(body);
    deserializer.set_max_depth(MAX_DEPTH);
    T::deserialize(&mut deserializer).map_err(|error| FrameError::Malformed(error.to_string()))
}

/// Reads one message from a blocking stream. Memory grows with the bytes that arrive, not with the declared length.
///
/// # Errors
/// See [`FrameError`].
pub fn read_frame<T: DeserializeOwned>(stream: &mut impl Read) -> Result<T, FrameError> {
    let mut head = [0; 4];
    let mut have = 0;
    while have < head.len() {
        match stream.read(head.get_mut(have..).unwrap_or_default()) {
            Ok(0) if have == 0 => return Err(FrameError::Closed),
            Ok(0) => return Err(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => have += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let length = u32::from_be_bytes(head) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge(length));
    }
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    decode(&body)
}

/// Writes one message to a blocking stream and flushes it.
///
/// # Errors
/// See [`FrameError`].
pub fn write_frame<T: Serialize>(stream: &mut impl Write, message: &T) -> Result<(), FrameError> {
    stream.write_all(&encode(message)?)?;
    stream.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{FromAgent, ToAgent};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_that_are_no_message_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _either: Result<ToAgent, _> = decode(&bytes);
            let _either: Result<FromAgent, _> = read_frame(&mut bytes.as_slice());
        }

        #[test]
        fn a_message_is_read_as_it_was_written_however_its_frame_is_cut(id in any::<u64>(), cut in 0..12_usize) {
            let frame = encode(&ToAgent::Cancel { id }).unwrap();
            let whole: ToAgent = read_frame(&mut frame.as_slice()).unwrap();
            let is_same = matches!(whole, ToAgent::Cancel { id: read } if read == id);
            prop_assert!(is_same);
            let torn: Result<ToAgent, _> = read_frame(&mut &frame[..cut.min(frame.len() - 1)]);
            prop_assert!(torn.is_err());
        }
    }

    #[test]
    fn a_declared_length_is_not_believed() {
        let huge = [0x7f, 0xff, 0xff, 0xff, 1];
        assert!(matches!(read_frame::<ToAgent>(&mut &huge[..]), Err(FrameError::TooLarge(_))));
        let short = [0, 0xff, 0xff, 0xff, 1];
        assert!(matches!(read_frame::<ToAgent>(&mut &short[..]), Err(FrameError::Io(_))));
        assert!(matches!(read_frame::<ToAgent>(&mut &[][..]), Err(FrameError::Closed)));
    }
}

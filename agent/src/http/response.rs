//! Reading an HTTP/1.x response (RFC 9112) with a cap on every part of it.

use std::io::{BufRead, BufReader, Read};

/// The most that a status line and headers may take, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code, 200 to 999; interim answers are passed over.
    pub status: u16,
    /// The status line's words.
    pub reason: String,
    /// Headers in the order sent, names as sent.
    pub headers: Vec<(String, String)>,
    /// The body, transfer coding taken off.
    pub body: Vec<u8>,
    /// The body was longer than the cap; `body` holds its beginning.
    pub truncated: bool,
}

impl Response {
    /// The first header of a name, case-blind.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The name has no address.
    #[error("the name {name} cannot be looked up: {why}")]
    Lookup {
        /// The name.
        name: String,
        /// What the look-up said.
        why: String,
    },
    /// No connection: refused, no route, no such socket.
    #[error("cannot connect to {place}: {error}")]
    Connect {
        /// Address or socket path.
        place: String,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// No connection within the time allowed: nobody refused it, and nobody took it.
    #[error("no connection to {place} within {after_ms} ms")]
    NoConnection {
        /// The address.
        place: String,
        /// The time allowed, in milliseconds.
        after_ms: u128,
    },
    /// Nothing within the time allowed.
    #[error("{place} did not answer within {after_ms} ms")]
    TimedOut {
        /// Address or socket path.
        place: String,
        /// The time allowed, in milliseconds.
        after_ms: u128,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(std::io::Error),
    /// What came is no HTTP/1.x response.
    #[error("the answer is no HTTP/1.1: {0}")]
    Malformed(String),
    /// The client has no means here: `https` without curl.
    #[error("{0}")]
    Unsupported(String),
}

impl HttpError {
    /// Whether a read ended by its timeout.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Io(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
    }
}

/// Reads one final response. `head` says that the request was HEAD, whose answer has no body. Bytes of the body after
/// `max_body` are dropped and [`Response::truncated`] is set.
///
/// # Errors
/// [`HttpError::Io`] and [`HttpError::Malformed`].
pub fn read_response(stream: impl Read, head: bool, max_body: usize) -> Result<Response, HttpError> {
    let mut reader = BufReader::new(stream);
    loop {
        let (status, reason) = status_line(&line(&mut reader, MAX_HEAD)?)?;
        let headers = headers(&mut reader)?;
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let mut response = Response { status, reason, headers, body: Vec::new(), truncated: false };
        if !head && status != 204 && status != 304 && status != 101 {
            read_body(&mut reader, &mut response, max_body)?;
        }
        return Ok(response);
    }
}

fn read_body(reader: &mut impl BufRead, response: &mut Response, max: usize) -> Result<(), HttpError> {
    if response.header("transfer-encoding").is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked")) {
        return read_chunks(reader, response, max);
    }
    let Some(length) = response.header("content-length") else {
        return take(reader, u64::MAX, response, max);
    };
    let length: u64 =
        length.trim().parse().map_err(|_| HttpError::Malformed(format!("Content-Length is {length:?}")))?;
    take(reader, length, response, max)?;
    if !response.truncated && (response.body.len() as u64) < length {
        return Err(HttpError::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

/// Appends up to `length` bytes, no more than `max` in all.
fn take(reader: &mut impl BufRead, length: u64, response: &mut Response, max: usize) -> Result<(), HttpError> {
    let room = max.saturating_sub(response.body.len()) as u64;
    let wanted = length.min(room.saturating_add(1));
    reader.by_ref().take(wanted).read_to_end(&mut response.body).map_err(HttpError::Io)?;
    if response.body.len() > max {
        response.body.truncate(max);
        response.truncated = true;
    }
    Ok(())
}

fn read_chunks(reader: &mut impl BufRead, response: &mut Response, max: usize) -> Result<(), HttpError> {
    loop {
        let head = line(reader, MAX_HEAD)?;
        let digits = head.split(';').next().unwrap_or_default().trim();
        let size =
            u64::from_str_radix(digits, 16).map_err(|_| HttpError::Malformed(format!("chunk size {digits:?}")))?;
        if size == 0 {
            headers(reader)?;
            return Ok(());
        }
        let before = response.body.len() as u64;
        take(reader, size, response, max)?;
        if response.truncated {
            return Ok(());
        }
        if (response.body.len() as u64) - before < size {
            return Err(HttpError::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if !line(reader, 2)?.is_empty() {
            return Err(HttpError::Malformed("a chunk is longer than it says".to_owned()));
        }
    }
}

fn status_line(line: &str) -> Result<(u16, String), HttpError> {
    let bad = || HttpError::Malformed(format!("the first line is {:?}", line.chars().take(80).collect::<String>()));
    let rest = line.strip_prefix("HTTP/1.").ok_or_else(bad)?;
    let mut words = rest.splitn(3, ' ');
    let (_, code) = (words.next(), words.next().ok_or_else(bad)?);
    let status = code.parse().ok().filter(|code| (100..1000).contains(code)).ok_or_else(bad)?;
    Ok((status, words.next().unwrap_or_default().trim().to_owned()))
}

fn headers(reader: &mut impl BufRead) -> Result<Vec<(String, String)>, HttpError> {
    let mut headers = Vec::new();
    let mut room = MAX_HEAD;
    loop {
        let line = line(reader, room)?;
        room = room.saturating_sub(line.len() + 2);
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| HttpError::Malformed("a header line holds no colon".to_owned()))?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
}

/// One line without its end, at most `max` bytes with it.
fn line(reader: &mut impl BufRead, max: usize) -> Result<String, HttpError> {
    let mut bytes = Vec::new();
    reader.by_ref().take(max as u64 + 1).read_until(b'\n', &mut bytes).map_err(HttpError::Io)?;
    match bytes.pop() {
        Some(b'\n') => {}
        Some(_) if bytes.len() >= max => return Err(HttpError::Malformed(format!("a line over {max} bytes"))),
        _ => return Err(HttpError::Io(std::io::ErrorKind::UnexpectedEof.into())),
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, max: usize) -> Result<Response, HttpError> {
        read_response(text.as_bytes(), false, max)
    }

    #[test]
    fn lengths_chunks_and_closing_delimit_the_body() {
        let sized = read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhimore", 99).unwrap();
        assert_eq!((sized.status, sized.reason.as_str(), sized.body.as_slice()), (200, "OK", b"hi".as_slice()));
        let text =
            "HTTP/1.1 503 \r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n2\r\nde\r\n0\r\nTrail: er\r\n\r\n";
        assert_eq!(read(text, 99).unwrap().body, b"abcde");
        assert_eq!(read("HTTP/1.0 200\nX: y\n\nall of it", 99).unwrap().body, b"all of it");
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let answer = read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 99).unwrap();
        assert_eq!(answer.status, 204);
    }

    #[test]
    fn a_body_over_the_cap_is_cut_and_said_so() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
            "HTTP/1.1 200 OK\r\n\r\nabcde",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        ] {
            let answer = read(text, 3).unwrap();
            assert_eq!((answer.body.as_slice(), answer.truncated), (b"abc".as_slice(), true));
            assert!(!read(text, 5).unwrap().truncated);
        }
    }

    #[test]
    fn broken_answers_are_errors() {
        assert!(matches!(read("SSH-2.0-OpenSSH\r\n", 9), Err(HttpError::Malformed(_))));
        assert!(matches!(read("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 99), Err(HttpError::Io(_))));
        assert!(matches!(read("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", 99), Err(HttpError::Malformed(_))));
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(MAX_HEAD + 9));
        assert!(matches!(read(&endless, 99), Err(HttpError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_the_cap_holds(bytes in proptest::collection::vec(any::<u8>(), 0..300), max in 0usize..64) {
            let mut text = b"HTTP/1.1 200 OK\r\n".to_vec();
            text.extend(bytes);
            if let Ok(answer) = read_response(text.as_slice(), false, max) {
                prop_assert!(answer.body.len() <= max);
            }
        }
    }
}

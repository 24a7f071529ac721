//! One exchange over one connection, within one deadline.

use super::resolve::{Endpoint, Resolver, host_resolver, resolve};
use super::response::{HttpError, Response, read_response};
use super::url::Url;
use crate::serve::Control;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long to wait before a full listen queue of a Unix socket is tried again.
const BACKLOG_PAUSE: Duration = Duration::from_millis(20);

/// The longest that a read or write goes on without looking whether the request is cancelled.
const SLICE: Duration = Duration::from_millis(200);

/// A request.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// `GET`, `POST`: an HTTP token.
    pub method: &'a str,
    /// The address; with `endpoint` a Unix socket it gives the target and the `Host` header only.
    pub url: &'a Url,
    /// Where to connect.
    pub endpoint: &'a Endpoint,
    /// More headers; `Host`, `Content-Length`, `Connection` and `User-Agent` are set where absent.
    pub headers: &'a [(String, String)],
    /// The body; an empty one is not announced for GET and HEAD.
    pub body: &'a [u8],
    /// The time allowed for everything, name look-up excepted.
    pub timeout: Duration,
    /// Bytes of the answer's body that are kept.
    pub max_body: usize,
}

/// Sends a request and reads its answer.
///
/// # Errors
/// See [`HttpError`]; a header name or value that would break the message is [`HttpError::Malformed`].
pub fn exchange(request: &Request<'_>, control: &Control) -> Result<Response, HttpError> {
    let message = encode(request)?;
    let deadline = Instant::now() + request.timeout;
    let stream = open(request.endpoint, deadline, request.timeout, &host_resolver(control))?;
    let mut stream = Deadlined { stream, deadline, control };
    let timed_out = |error: HttpError| {
        if error.is_timeout() {
            HttpError::TimedOut { place: request.endpoint.to_string(), after_ms: request.timeout.as_millis() }
        } else {
            error
        }
    };
    // A server may answer and close before it has read the request; its answer counts, not the broken pipe.
    let sent = stream.write_all(&message).and_then(|()| stream.flush()).map_err(HttpError::Io);
    match (sent, read_response(&mut stream, request.method == "HEAD", request.max_body)) {
        (_, Ok(response)) => Ok(response),
        (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(timed_out(error)),
    }
}

/// Connects within the deadline. Used alone by the `unix` and `tcp` probes and by `wait_for`.
///
/// # Errors
/// [`HttpError::Lookup`], [`HttpError::Connect`], [`HttpError::NoConnection`] and, of a Unix socket whose server does not
/// accept, [`HttpError::TimedOut`].
pub(crate) fn open(
    endpoint: &Endpoint,
    deadline: Instant,
    allowed: Duration,
    resolver: &dyn Resolver,
) -> Result<Stream, HttpError> {
    let place = endpoint.to_string();
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::TimedOut => HttpError::TimedOut { place: place.clone(), after_ms: allowed.as_millis() },
        _ => HttpError::Connect { place: place.clone(), error },
    };
    match endpoint {
        Endpoint::Unix(path) => open_unix(path, deadline).map(Stream::Unix).map_err(failed),
        Endpoint::Tcp { host, port } => {
            let addresses = resolve(host, resolver).map_err(|why| HttpError::Lookup { name: host.clone(), why })?;
            let mut last = std::io::Error::from(std::io::ErrorKind::TimedOut);
            for address in addresses {
                let Some(left) = left(deadline) else { break };
                match TcpStream::connect_timeout(&SocketAddr::new(address, *port), left) {
                    Ok(stream) => return Ok(Stream::Tcp(stream)),
                    Err(error) => last = error,
                }
            }
            Err(match last.kind() {
                std::io::ErrorKind::TimedOut => HttpError::NoConnection { place, after_ms: allowed.as_millis() },
                _ => HttpError::Connect { place, error: last },
            })
        }
    }
}

/// Connects without blocking: a server that does not accept fills its queue, and a plain connect would then hang.
fn open_unix(path: &Path, deadline: Instant) -> std::io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    loop {
        match connect(&socket, &address) {
            Ok(()) => {
                let stream = UnixStream::from(socket);
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(rustix::io::Errno::AGAIN) => {
                let left = left(deadline).ok_or(std::io::ErrorKind::TimedOut)?;
                std::thread::sleep(left.min(BACKLOG_PAUSE));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn left(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// By TCP.
    Tcp(TcpStream),
    /// By a Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Lets reads and writes end after `left`.
    pub(crate) fn set_timeouts(&self, left: Duration) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.set_write_timeout(Some(left))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.set_write_timeout(Some(left))
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
        }
    }
}

/// A stream whose every call ends by one instant, so that a server that drips bytes cannot hold a probe, and soon after
/// the request is cancelled.
struct Deadlined<'a> {
    stream: Stream,
    deadline: Instant,
    control: &'a Control,
}

impl Deadlined<'_> {
    fn arm(&self) -> std::io::Result<()> {
        if self.control.ended().is_some() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        self.stream.set_timeouts(left(self.deadline).ok_or(std::io::ErrorKind::TimedOut)?.min(SLICE))
    }
}

impl Read for Deadlined<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            self.arm()?;
            match self.stream.read(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }
}

impl Write for Deadlined<'_> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        loop {
            self.arm()?;
            match self.stream.write(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

fn encode(request: &Request<'_>) -> Result<Vec<u8>, HttpError> {
    if !is_token(request.method) {
        return Err(HttpError::Malformed(format!("the method {:?} is no HTTP token", request.method)));
    }
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.url.target);
    let given = |name: &str| request.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    let mut push = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
    if !given("host") {
        push("Host", &request.url.authority());
    }
    if !given("user-agent") {
        push("User-Agent", "rollgate");
    }
    for (name, value) in request.headers {
        if !is_token(name) || value.contains(['\r', '\n', '\0']) {
            return Err(HttpError::Malformed(format!(
                "the header {name:?} has a name or value that no header may have"
            )));
        }
        push(name, value);
    }
    if !given("connection") {
        push("Connection", "close");
    }
    if !given("content-length") && (!request.body.is_empty() || !matches!(request.method, "GET" | "HEAD")) {
        push("Content-Length", &request.body.len().to_string());
    }
    head.push_str("\r\n");
    let mut message = head.into_bytes();
    message.extend_from_slice(request.body);
    Ok(message)
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;

    /// Answers one connection with fixed bytes and returns the request's head.
    pub(crate) fn serve_once(answer: &'static [u8]) -> (u16, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            answer_one(&mut stream, answer)
        });
        (port, thread)
    }

    fn answer_one(stream: &mut (impl Read + Write), answer: &[u8]) -> String {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            request.push(byte[0]);
        }
        let head = String::from_utf8(request).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |digits| digits.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(answer).unwrap();
        head + &String::from_utf8(body).unwrap()
    }

    fn get(url: &Url, endpoint: &Endpoint, timeout: Duration) -> Result<Response, HttpError> {
        let request = Request { method: "GET", url, endpoint, headers: &[], body: b"", timeout, max_body: 1 << 20 };
        exchange(&request, &Control::default())
    }

    fn tcp(port: u16) -> Endpoint {
        Endpoint::Tcp { host: "127.0.0.1".to_owned(), port }
    }

    #[test]
    fn a_request_goes_out_and_its_answer_comes_back() {
        let (port, server) = serve_once(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok");
        let url = Url::parse(&format!("http://127.0.0.1:{port}/a?b")).unwrap();
        let headers = [("X-Token".to_owned(), "t".to_owned())];
        let request = Request {
            method: "POST",
            url: &url,
            endpoint: &tcp(port),
            headers: &headers,
            body: b"body",
            timeout: Duration::from_secs(20),
            max_body: 99,
        };
        let answer = exchange(&request, &Control::default()).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (201, b"ok".as_slice()));
        let seen = server.join().unwrap();
        assert!(seen.starts_with(&format!("POST /a?b HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n")), "{seen}");
        assert!(seen.contains("X-Token: t\r\n") && seen.ends_with("\r\n\r\nbody"), "{seen}");
    }

    #[test]
    fn a_unix_socket_answers_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            answer_one(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n{}")
        });
        let url = Url::parse("http://localhost/health").unwrap();
        let answer = get(&url, &Endpoint::Unix(path), Duration::from_secs(20)).unwrap();
        assert_eq!(answer.body, b"{}");
        assert!(server.join().unwrap().contains("Host: localhost\r\n"));
    }

    #[test]
    fn what_refuses_hangs_or_has_no_name_is_told_apart() {
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let url = Url::parse("http://127.0.0.1/").unwrap();
        let short = Duration::from_millis(50);
        assert!(matches!(get(&url, &tcp(closed), Duration::from_secs(9)), Err(HttpError::Connect { .. })));
        let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = deaf.local_addr().unwrap().port();
        assert!(matches!(get(&url, &tcp(port), short), Err(HttpError::TimedOut { .. })));
        let name = Endpoint::Tcp { host: "no-such-host.invalid".to_owned(), port: 1 };
        assert!(matches!(get(&url, &name, short), Err(HttpError::Lookup { .. })));
        let absent = Endpoint::Unix("/nonexistent/sock".into());
        assert!(matches!(get(&url, &absent, short), Err(HttpError::Connect { .. })));
    }

    #[test]
    fn a_unix_server_that_never_accepts_cannot_hang_the_client() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let mut held = Vec::new();
        let outcome = loop {
            match open_unix(&path, Instant::now() + Duration::from_millis(50)) {
                Ok(stream) => held.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(outcome.kind(), std::io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_cancelled_request_does_not_wait_for_its_answer() {
        let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse("http://127.0.0.1/").unwrap();
        let endpoint = tcp(deaf.local_addr().unwrap().port());
        let timeout = Duration::from_secs(600);
        let request =
            Request { method: "GET", url: &url, endpoint: &endpoint, headers: &[], body: b"", timeout, max_body: 9 };
        let control = Control::default();
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| exchange(&request, &control));
            let (_held, _) = deaf.accept().unwrap();
            control.cancel();
            assert!(asking.join().unwrap().is_err());
        });
    }

    #[test]
    fn a_header_cannot_smuggle_another() {
        let url = Url::parse("http://127.0.0.1/").unwrap();
        let headers = [("X".to_owned(), "a\r\nY: b".to_owned())];
        let request = Request {
            method: "GET",
            url: &url,
            endpoint: &tcp(1),
            headers: &headers,
            body: b"",
            timeout: Duration::from_secs(1),
            max_body: 9,
        };
        assert!(matches!(exchange(&request, &Control::default()), Err(HttpError::Malformed(_))));
    }
}

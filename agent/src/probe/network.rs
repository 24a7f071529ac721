//! HTTP, Unix sockets and TCP ports as probes.

use super::run::{Seen, beginning};
use crate::http::{Endpoint, HttpError, Request, Response, Scheme, Url, curl, exchange, host_resolver, open};
use crate::protocol::ProbeStatus;
use crate::serve::Control;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The largest body that is read as JSON, in bytes.
const JSON_CAP: usize = 256 << 10;

/// GETs an address once; redirects are answers and not followed.
pub(super) fn get(address: &str, unix_socket: Option<&str>, timeout: Duration, control: &Control) -> Seen {
    let url = match Url::parse(address) {
        Ok(url) => url,
        Err(error) => return Seen::new(ProbeStatus::Error, error.to_string()),
    };
    let endpoint = match unix_socket {
        Some(path) => Endpoint::Unix(PathBuf::from(path)),
        None => Endpoint::Tcp { host: url.host.clone(), port: url.port },
    };
    let request =
        Request { method: "GET", url: &url, endpoint: &endpoint, headers: &[], body: b"", timeout, max_body: JSON_CAP };
    let answer = match url.scheme {
        Scheme::Http => exchange(&request, control),
        Scheme::Https => curl(&request, true, control),
    };
    match answer {
        Ok(response) => answered(&response),
        Err(error) => Seen::new(verdict(&error), error.to_string()),
    }
}

fn answered(response: &Response) -> Seen {
    let json = (!response.truncated).then(|| serde_json::from_slice(&response.body).ok()).flatten();
    let detail = if json.is_some() { String::new() } else { beginning(&response.body) };
    Seen { http_status: Some(response.status), json, ..Seen::new(ProbeStatus::Answered, detail) }
}

/// Connects to a Unix socket once.
pub(super) fn connect_unix(path: &str, timeout: Duration, control: &Control) -> Seen {
    connect(&Endpoint::Unix(PathBuf::from(path)), timeout, control)
}

/// Connects to a port once.
pub(super) fn connect_tcp(host: &str, port: u16, timeout: Duration, control: &Control) -> Seen {
    connect(&Endpoint::Tcp { host: host.to_owned(), port }, timeout, control)
}

fn connect(endpoint: &Endpoint, timeout: Duration, control: &Control) -> Seen {
    match open(endpoint, Instant::now() + timeout, timeout, &host_resolver(control)) {
        Ok(_) => Seen::new(ProbeStatus::Answered, ""),
        Err(error) => Seen::new(verdict(&error), error.to_string()),
    }
}

/// A target that refuses or is silent is bad; a question that could not be put is an error (rollout.md 2.1).
fn verdict(error: &HttpError) -> ProbeStatus {
    match error {
        // Row 17: only a target that has taken the connection is to blame for its silence.
        HttpError::Lookup { .. } | HttpError::NoConnection { .. } | HttpError::Unsupported(_) => ProbeStatus::Error,
        HttpError::Connect { error, .. } if out_of_descriptors(error) => ProbeStatus::Error,
        HttpError::Connect { .. } | HttpError::TimedOut { .. } | HttpError::Io(_) | HttpError::Malformed(_) => {
            ProbeStatus::Bad
        }
    }
}

fn out_of_descriptors(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let codes = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::super::run;
    use super::*;
    use crate::http::serve_once;
    use crate::protocol::{ProbeCall, ProbeKind, ProbeReport};
    use serde_json::json;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    fn ask(kind: ProbeKind) -> ProbeReport {
        let mut reports = run(&ProbeCall { kind, timeout_ms: 20_000, count: 1 }, &Control::default());
        assert_eq!(reports.len(), 1);
        reports.remove(0)
    }

    fn http(port: u16) -> ProbeReport {
        ask(ProbeKind::Http { url: format!("http://127.0.0.1:{port}/health"), unix_socket: None })
    }

    #[test]
    fn a_health_document_is_read_whatever_its_status() {
        let (port, server) =
            serve_once(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 22\r\n\r\n{\"docker\":\"unhealthy\"}");
        let report = http(port);
        server.join().unwrap();
        assert_eq!((report.status, report.http_status), (ProbeStatus::Answered, Some(503)));
        assert_eq!(report.json, Some(json!({"docker": "unhealthy"})));
    }

    #[test]
    fn text_is_shown_and_is_no_json() {
        let (port, server) = serve_once(b"HTTP/1.1 200 OK\r\n\r\nall well");
        let report = http(port);
        server.join().unwrap();
        assert_eq!((report.json, report.detail.as_str()), (None, "all well"));
    }

    #[test]
    fn silence_refusal_and_a_wrong_protocol_are_bad_and_a_wrong_question_is_an_error() {
        let (port, server) = serve_once(b"SSH-2.0-x\r\n");
        assert_eq!(http(port).status, ProbeStatus::Bad);
        server.join().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert_eq!(http(closed).status, ProbeStatus::Bad);
        let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://127.0.0.1:{}/", deaf.local_addr().unwrap().port());
        let call = ProbeCall { kind: ProbeKind::Http { url, unix_socket: None }, timeout_ms: 50, count: 2 };
        let statuses: Vec<_> = run(&call, &Control::default()).iter().map(|report| report.status).collect();
        assert_eq!(statuses, [ProbeStatus::Bad, ProbeStatus::Bad]);
        let wrong = ProbeKind::Http { url: "gopher://x/".to_owned(), unix_socket: None };
        assert_eq!(ask(wrong).status, ProbeStatus::Error);
        let nameless = ProbeKind::Tcp { host: "no-such-host.invalid".to_owned(), port: 1 };
        assert_eq!(ask(nameless).status, ProbeStatus::Error);
    }

    #[test]
    fn sockets_and_ports_answer_or_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let kind = ProbeKind::Unix { path: path.display().to_string() };
        assert_eq!(ask(kind.clone()).status, ProbeStatus::Bad, "no such socket");
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(ask(kind.clone()).status, ProbeStatus::Answered);
        drop(listener);
        assert_eq!(ask(kind).status, ProbeStatus::Bad, "a socket that nobody listens on");
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = port.local_addr().unwrap().port();
        assert_eq!(ask(ProbeKind::Tcp { host: "localhost".to_owned(), port: number }).status, ProbeStatus::Answered);
    }

    #[test]
    fn a_cancelled_round_asks_no_more() {
        let control = Control::default();
        control.cancel();
        let call = ProbeCall { kind: ProbeKind::Command { command: "true".to_owned() }, timeout_ms: 1000, count: 3 };
        assert!(run(&call, &control).is_empty());
    }
}

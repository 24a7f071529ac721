//! `https://` by the host's curl: the agent links no TLS. What may be secret goes by standard input, never in arguments.

use super::client::Request;
use super::resolve::Endpoint;
use super::response::{HttpError, Response, read_response};
use crate::serve::{Control, Process, RunError};
use std::fmt::Write;
use std::io::ErrorKind;

/// curl's exit codes: name not resolved, connection failed, timed out.
const NOT_RESOLVED: i32 = 6;
const NOT_CONNECTED: i32 = 7;
const TIMED_OUT: i32 = 28;

/// Sends a request by curl and reads its answer; `verify` checks the server's certificate.
///
/// # Errors
/// [`HttpError::Unsupported`] where the host has no curl; otherwise as `exchange`.
pub fn curl(request: &Request<'_>, verify: bool, control: &Control) -> Result<Response, HttpError> {
    let config = config(request, verify)?;
    // One response in raw form: the same reader takes it as from a socket.
    let argv = ["curl", "--disable", "--config", "-"];
    // curl's own limit comes first; this one is for a curl that does not keep it.
    let limit = request.timeout + std::time::Duration::from_secs(2);
    let finished = match Process::new(argv, control).stdin(config).timeout(limit).run() {
        Ok(finished) => finished,
        Err(RunError::Start { source, .. }) if source.kind() == ErrorKind::NotFound => {
            let sentence = "https needs curl on the host, and there is none: install curl, or use http";
            return Err(HttpError::Unsupported(sentence.to_owned()));
        }
        Err(RunError::TimedOut { .. }) => return Err(timed_out(request)),
        Err(error) => return Err(HttpError::Unsupported(error.to_string())),
    };
    let said = finished.stderr_text().trim().trim_start_matches("curl: ").to_owned();
    match finished.rc {
        0 => read_response(finished.stdout.as_slice(), request.method == "HEAD", request.max_body),
        NOT_RESOLVED => Err(HttpError::Lookup { name: request.url.host.clone(), why: said }),
        NOT_CONNECTED => {
            Err(HttpError::Connect { place: request.endpoint.to_string(), error: std::io::Error::other(said) })
        }
        TIMED_OUT => Err(timed_out(request)),
        _ => Err(HttpError::Io(std::io::Error::other(said))),
    }
}

fn timed_out(request: &Request<'_>) -> HttpError {
    HttpError::TimedOut { place: request.endpoint.to_string(), after_ms: request.timeout.as_millis() }
}

fn config(request: &Request<'_>, verify: bool) -> Result<String, HttpError> {
    let mut config = String::from("silent\nshow-error\ninclude\nraw\nhttp1.1\nsuppress-connect-headers\n");
    if !verify {
        config.push_str("insecure\n");
    }
    if request.method == "HEAD" {
        config.push_str("head\n");
    }
    let mut set = |name: &str, value: &str| {
        // curl's config has no way to write a NUL byte.
        if value.contains('\0') {
            return Err(HttpError::Malformed(format!("the {name} holds a NUL byte")));
        }
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
        // Writing to a string cannot fail.
        let _ok = writeln!(config, "{name} = \"{quoted}\"");
        Ok(())
    };
    set("url", &request.url.to_string())?;
    set("request", request.method)?;
    set("max-time", &format!("{:.3}", request.timeout.as_secs_f64()))?;
    if let Endpoint::Unix(path) = request.endpoint {
        set("unix-socket", &path.to_string_lossy())?;
    }
    for (name, value) in request.headers {
        if value.contains(['\r', '\n']) || name.contains(['\r', '\n', ':']) {
            return Err(HttpError::Malformed(format!(
                "the header {name:?} has a name or value that no header may have"
            )));
        }
        // curl drops a header without a value, unless it ends in a semicolon.
        set("header", &if value.is_empty() { format!("{name};") } else { format!("{name}: {value}") })?;
    }
    if !request.body.is_empty() {
        let body = std::str::from_utf8(request.body)
            .map_err(|_| HttpError::Malformed("a body that is no UTF-8 cannot go by curl".to_owned()))?;
        set("data-raw", body)?;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::serve_once;
    use super::super::url::Url;
    use super::*;
    use std::time::Duration;

    #[test]
    fn curl_sends_the_same_request_and_its_answer_is_read_the_same_way() {
        let (port, server) = serve_once(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n");
        let url = Url::parse(&format!("http://127.0.0.1:{port}/a?b=\"c\\")).unwrap();
        let endpoint = Endpoint::Tcp { host: url.host.clone(), port };
        let headers = [("Authorization".to_owned(), "Basic s\"e\\c".to_owned())];
        let request = Request {
            method: "POST",
            url: &url,
            endpoint: &endpoint,
            headers: &headers,
            body: b"x=1\ny",
            timeout: Duration::from_secs(20),
            max_body: 99,
        };
        match curl(&request, true, &Control::default()) {
            Ok(answer) => {
                assert_eq!((answer.status, answer.body.as_slice()), (200, b"{}".as_slice()));
                let seen = server.join().unwrap();
                assert!(seen.starts_with("POST /a?b=") && seen.contains("Basic s\"e\\c\r\n"), "{seen}");
                assert!(seen.ends_with("x=1\ny"), "{seen}");
            }
            // A host without curl says so; the server's thread is left waiting then.
            Err(error) => assert!(matches!(error, HttpError::Unsupported(_)), "{error}"),
        }
    }

    #[test]
    fn a_refused_connection_is_told_from_a_name_without_address() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let fetch = |address: String| {
            let url = Url::parse(&address).unwrap();
            let endpoint = Endpoint::Tcp { host: url.host.clone(), port: url.port };
            let timeout = Duration::from_secs(20);
            let request = Request {
                method: "GET",
                url: &url,
                endpoint: &endpoint,
                headers: &[],
                body: b"",
                timeout,
                max_body: 9,
            };
            curl(&request, true, &Control::default())
        };
        let refused = fetch(format!("https://127.0.0.1:{closed}/"));
        assert!(matches!(refused, Err(HttpError::Connect { .. } | HttpError::Unsupported(_))), "{refused:?}");
        let nameless = fetch("https://no-such-host.invalid/".to_owned());
        assert!(matches!(nameless, Err(HttpError::Lookup { .. } | HttpError::Unsupported(_))), "{nameless:?}");
    }
}

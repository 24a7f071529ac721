//! `uri`: one HTTP request and what came back, as ansible-core's `uri.py`. `https` goes by the host's curl.

use super::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::http::{Endpoint, HttpError, Request, Response, Scheme, Url, curl, exchange};
use crate::protocol::{Change, ModuleCall, TaskReport};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(super) const SPEC: ModuleSpec = ModuleSpec {
    name: "uri",
    params: &[
        ParamSpec::required("url", ParamKind::Str),
        ParamSpec::optional("method", ParamKind::Str),
        ParamSpec::optional("headers", ParamKind::Dict),
        ParamSpec::optional("body", ParamKind::Any),
        ParamSpec {
            choices: &["form-urlencoded", "json", "raw"],
            ..ParamSpec::optional("body_format", ParamKind::Str)
        },
        ParamSpec::optional("status_code", ParamKind::List),
        ParamSpec::optional("return_content", ParamKind::Bool),
        ParamSpec::optional("timeout", ParamKind::Int),
        ParamSpec::optional("unix_socket", ParamKind::Path),
        ParamSpec {
            choices: &["all", "no", "none", "safe", "urllib2", "yes"],
            ..ParamSpec::optional("follow_redirects", ParamKind::Str)
        },
        ParamSpec { aliases: &["user"], ..ParamSpec::optional("url_username", ParamKind::Str) },
        ParamSpec { aliases: &["password"], ..ParamSpec::optional("url_password", ParamKind::Str) },
        ParamSpec::optional("force_basic_auth", ParamKind::Bool),
        ParamSpec::optional("validate_certs", ParamKind::Bool),
        ParamSpec::optional("http_agent", ParamKind::Str),
    ],
    free_form: None,
    undo: UndoClass::NotNeeded,
    check: CheckClass::Unknown,
    require_one_of: &[],
};

/// The largest body that is taken, in bytes.
const BODY_CAP: usize = 1 << 20;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    url: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default)]
    headers: Map<String, Value>,
    body: Option<Value>,
    #[serde(default)]
    body_format: BodyFormat,
    #[serde(default)]
    status_code: Vec<Value>,
    #[serde(default)]
    return_content: bool,
    #[serde(default = "half_a_minute")]
    timeout: u64,
    unix_socket: Option<String>,
    follow_redirects: Option<String>,
    url_username: Option<String>,
    url_password: Option<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "credentials are sent at once, asked for or not")]
    force_basic_auth: bool,
    validate_certs: Option<bool>,
    http_agent: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum BodyFormat {
    FormUrlencoded,
    Json,
    #[default]
    Raw,
}

fn get() -> String {
    "GET".to_owned()
}

fn half_a_minute() -> u64 {
    30
}

#[derive(Debug)]
struct Uri {
    params: Params,
    url: Url,
    expected: Vec<u16>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

pub(super) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    let mut params: Params = decode(call)?;
    let wrong = |param: &str, what: String| ParamError::new("uri", param, what);
    let url = Url::parse(&params.url).map_err(|error| wrong("url", format!("is not usable: {error}")))?;
    params.method = params.method.to_uppercase();
    if params.method.is_empty() || !params.method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(wrong("method", "must be a single word, like GET or POST".to_owned()));
    }
    let expected = if params.status_code.is_empty() {
        vec![200]
    } else {
        let codes = params.status_code.iter().map(|code| match code {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_u64().and_then(|code| u16::try_from(code).ok()),
        });
        codes.collect::<Option<_>>().ok_or_else(|| wrong("status_code", "must be a list of status codes".to_owned()))?
    };
    let (body, kind) = body(&params).map_err(|what| wrong("body", what))?;
    let headers = headers(&params, &url, kind);
    Ok(Box::new(Uri { params, url, expected, headers, body }))
}

/// The bytes to send and their type.
fn body(params: &Params) -> Result<(Vec<u8>, Option<&'static str>), String> {
    let Some(body) = &params.body else { return Ok((Vec::new(), None)) };
    match (params.body_format, body) {
        (BodyFormat::Json, Value::String(text)) => Ok((text.clone().into_bytes(), Some("application/json"))),
        (BodyFormat::Json, value) => Ok((value.to_string().into_bytes(), Some("application/json"))),
        (BodyFormat::FormUrlencoded, Value::String(text)) => {
            Ok((text.clone().into_bytes(), Some("application/x-www-form-urlencoded")))
        }
        (BodyFormat::FormUrlencoded, Value::Object(fields)) => {
            Ok((form(fields).into_bytes(), Some("application/x-www-form-urlencoded")))
        }
        (BodyFormat::FormUrlencoded, _) => Err("must be a map or text for body_format form-urlencoded".to_owned()),
        (BodyFormat::Raw, Value::String(text)) => Ok((text.clone().into_bytes(), None)),
        (BodyFormat::Raw, value) => Ok((value.to_string().into_bytes(), None)),
    }
}

/// `application/x-www-form-urlencoded` (WHATWG URL, 5.2); a list gives its name several times.
fn form(fields: &Map<String, Value>) -> String {
    let mut pairs = Vec::new();
    for (name, value) in fields {
        let values = match value {
            Value::Array(values) => values.iter().collect(),
            value => vec![value],
        };
        for value in values {
            pairs.push(format!("{}={}", encode(name), encode(&scalar(value))));
        }
    }
    pairs.join("&")
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            b' ' => "+".to_owned(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn headers(params: &Params, url: &Url, kind: Option<&str>) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> =
        params.headers.iter().map(|(name, value)| (name.clone(), scalar(value))).collect();
    let given =
        |headers: &[(String, String)], name: &str| headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    if let Some(kind) = kind.filter(|_| !given(&headers, "content-type")) {
        headers.push(("Content-Type".to_owned(), kind.to_owned()));
    }
    if let Some(agent) = params.http_agent.as_ref().filter(|_| !given(&headers, "user-agent")) {
        headers.push(("User-Agent".to_owned(), agent.clone()));
    }
    // Basic is all that there is here, so that it is sent at once, asked for or not.
    let written = url.userinfo.clone();
    let user = params
        .url_username
        .as_ref()
        .map(|user| format!("{user}:{}", params.url_password.as_deref().unwrap_or_default()));
    if let Some(user) = user.or(written).filter(|_| !given(&headers, "authorization")) {
        headers.push(("Authorization".to_owned(), format!("Basic {}", STANDARD.encode(user))));
    }
    headers
}

impl Module for Uri {
    /// A request may change what it asks; Ansible skips it in check mode as well.
    fn check(&self, _: &Context) -> Result<TaskReport, ModuleError> {
        let mut report = TaskReport::new(Change::Unknown);
        report.skipped = Some("check mode sends no request".to_owned());
        Ok(report)
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        let begun = Instant::now();
        let outcome = self.follow(cx);
        let report = TaskReport::new(Change::Unchanged).with("elapsed", begun.elapsed().as_secs());
        match outcome {
            Ok((url, response)) => Ok(self.describe(report, &url, &response)),
            Err(error @ HttpError::Unsupported(_)) => Err(ModuleError::failed(error.to_string())),
            Err(error) => {
                let sentence = format!("Status code was -1 and not {:?}: {error}", self.expected);
                Ok(report
                    .with("status", -1)
                    .with("redirected", false)
                    .with("url", self.url.to_string())
                    .with("msg", sentence.as_str())
                    .failing(sentence))
            }
        }
    }
}

impl Uri {
    /// Sends the request, and again to where the answer points.
    fn follow(&self, cx: &Context) -> Result<(Url, Response), HttpError> {
        let deadline = Instant::now() + Duration::from_secs(self.params.timeout.max(1));
        let (mut url, mut method) = (self.url.clone(), self.params.method.clone());
        let (mut headers, mut body) = (self.headers.clone(), self.body.as_slice());
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(cx, &url, &method, &headers, body, deadline)?;
            let Some(next) = self.redirect(&method, &url, &response) else { return Ok((url, response)) };
            let next = next?;
            if next.host != url.host || next.port != url.port || next.scheme != url.scheme {
                // Credentials are for the server that they were given for.
                headers.retain(|(name, _)| !["authorization", "cookie"].contains(&name.to_lowercase().as_str()));
            }
            if response.status == 303 || (matches!(response.status, 301 | 302) && method == "POST") {
                method = if method == "HEAD" { method } else { get() };
                body = b"";
                headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
            }
            url = next;
        }
        Err(HttpError::Malformed(format!("more than {MAX_REDIRECTS} redirects")))
    }

    fn send(
        &self,
        cx: &Context,
        url: &Url,
        method: &str,
        headers: &[(String, String)],
        body: &[u8],
        deadline: Instant,
    ) -> Result<Response, HttpError> {
        let endpoint = match &self.params.unix_socket {
            Some(path) => Endpoint::Unix(PathBuf::from(path)),
            None => Endpoint::Tcp { host: url.host.clone(), port: url.port },
        };
        let timeout = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let request = Request { method, url, endpoint: &endpoint, headers, body, timeout, max_body: BODY_CAP };
        match url.scheme {
            Scheme::Http => exchange(&request, &cx.control),
            Scheme::Https => curl(&request, self.params.validate_certs.unwrap_or(true), &cx.control),
        }
    }

    fn redirect(&self, method: &str, url: &Url, response: &Response) -> Option<Result<Url, HttpError>> {
        if !matches!(response.status, 301 | 302 | 303 | 307 | 308) || self.expected.contains(&response.status) {
            return None;
        }
        let follows = match self.params.follow_redirects.as_deref().unwrap_or("safe") {
            "no" | "none" => false,
            "all" | "yes" => true,
            _ => matches!(method, "GET" | "HEAD"),
        };
        let location = response.header("location").filter(|_| follows)?;
        Some(url.join(location).map_err(|error| HttpError::Malformed(format!("the redirect's address: {error}"))))
    }

    fn describe(&self, report: TaskReport, url: &Url, response: &Response) -> TaskReport {
        let mut data = Map::new();
        for (name, value) in &response.headers {
            let name = name.to_lowercase().replace('-', "_");
            match data.get_mut(&name) {
                // Several headers of one name are one list (RFC 9110, 5.3).
                Some(Value::String(before)) => *before = format!("{before}, {value}"),
                _ => drop(data.insert(name, json!(value))),
            }
        }
        let text = String::from_utf8_lossy(&response.body);
        let size = response.body.len();
        data.insert("status".to_owned(), json!(response.status));
        data.insert("url".to_owned(), json!(url.to_string()));
        data.insert("redirected".to_owned(), json!(*url != self.url));
        data.insert("msg".to_owned(), json!(format!("{} ({size} bytes)", response.reason)));
        if is_json(response)
            && let Ok(json) = serde_json::from_slice::<Value>(&response.body)
        {
            data.insert("json".to_owned(), json);
        }
        if self.params.return_content {
            data.insert("content".to_owned(), json!(text));
        }
        let mut report = report;
        report.data.extend(data);
        if response.truncated {
            return report.failing(format!("{url} answered with more than {BODY_CAP} bytes, the most that uri takes"));
        }
        if !self.expected.contains(&response.status) {
            let sentence =
                format!("Status code was {} and not {:?}: {}", response.status, self.expected, response.reason);
            return report.with("msg", sentence.as_str()).failing(sentence);
        }
        report
    }
}

/// `json` and `javascript`, and what ends in `+json` (RFC 6839).
fn is_json(response: &Response) -> bool {
    let kind = response.header("content-type").unwrap_or_default().to_lowercase();
    let sub = kind.split(';').next().unwrap_or_default().trim().split('/').nth(1).unwrap_or_default();
    let suffix = sub.rsplit('+').next().unwrap_or_default();
    matches!(suffix, "json" | "javascript")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::serve_once;
    use crate::protocol::Mode;
    use std::net::TcpListener;

    fn run(params: Value) -> TaskReport {
        let dir = tempfile::tempdir().unwrap();
        let call = ModuleCall { module: "uri".to_owned(), params: params.as_object().unwrap().clone() };
        crate::modules::build(&call).unwrap().apply(&mut Context::new(Mode::Apply, dir.path())).unwrap()
    }

    #[test]
    fn json_is_parsed_and_headers_become_variables() {
        let (port, server) = serve_once(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/health+json; charset=utf-8\r\nX-Two: a\r\nx-two: b\r\nContent-Length: 11\r\n\r\n{\"up\":true}",
        );
        let report = run(json!({"url": format!("http://127.0.0.1:{port}/health")}));
        server.join().unwrap();
        assert_eq!((&report.failed, &report.data["json"]), (&None, &json!({"up": true})));
        assert_eq!(
            (&report.data["status"], &report.data["x_two"], &report.data["msg"]),
            (&json!(200), &json!("a, b"), &json!("OK (11 bytes)"))
        );
        assert!(!report.data.contains_key("content"));
    }

    #[test]
    fn a_body_goes_out_in_the_format_asked_for() {
        let (port, server) = serve_once(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok");
        let report = run(json!({
            "url": format!("http://127.0.0.1:{port}/"), "method": "post", "body": {"a": [1, "x y"]},
            "body_format": "json", "status_code": ["200", 201], "return_content": true,
            "url_username": "u", "url_password": "p", "headers": {"X-N": 5},
        }));
        let seen = server.join().unwrap();
        assert_eq!((&report.failed, &report.data["content"]), (&None, &json!("ok")));
        assert!(seen.starts_with("POST / HTTP/1.1\r\n") && seen.ends_with("{\"a\":[1,\"x y\"]}"), "{seen}");
        for header in ["Content-Type: application/json\r\n", "Authorization: Basic dTpw\r\n", "X-N: 5\r\n"] {
            assert!(seen.contains(header), "{header} in {seen}");
        }
        let fields = json!({"a b": "c&d", "l": [1, 2]});
        assert_eq!(form(fields.as_object().unwrap()), "a+b=c%26d&l=1&l=2");
    }

    #[test]
    fn another_status_fails_with_the_answer_still_there() {
        let (port, server) =
            serve_once(b"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
        let report = run(json!({"url": format!("http://127.0.0.1:{port}/")}));
        server.join().unwrap();
        assert_eq!(report.failed.as_deref(), Some("Status code was 503 and not [200]: Busy"));
        assert_eq!((&report.data["status"], &report.data["json"]), (&json!(503), &json!({})));
    }

    #[test]
    fn no_answer_is_a_failure_with_status_minus_one() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let report = run(json!({"url": format!("http://127.0.0.1:{port}/")}));
        assert!(report.failed.unwrap().contains("cannot connect"));
        assert_eq!(report.data["status"], -1);
    }

    #[test]
    fn a_redirect_is_followed_for_get_and_credentials_stay_behind() {
        let (last, target) = serve_once(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let first = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let read = std::io::Read::read(&mut stream, &mut buffer).unwrap();
            let answer =
                format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{last}/new\r\nContent-Length: 0\r\n\r\n");
            std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&buffer[..read]).into_owned()
        });
        let report = run(json!({
            "url": format!("http://127.0.0.1:{port}/old"), "url_username": "u", "url_password": "p", "return_content": true,
        }));
        assert!(first.join().unwrap().contains("Authorization: Basic"));
        let seen = target.join().unwrap();
        assert!(seen.starts_with("GET /new ") && !seen.contains("Authorization"), "{seen}");
        assert_eq!((&report.data["content"], &report.data["redirected"]), (&json!("here"), &json!(true)));
    }

    #[test]
    fn a_redirect_of_a_post_is_an_answer() {
        let (port, server) = serve_once(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n");
        let report = run(json!({"url": format!("http://127.0.0.1:{port}/"), "method": "POST", "status_code": 302}));
        server.join().unwrap();
        assert_eq!((&report.failed, &report.data["location"]), (&None, &json!("/x")));
    }

    #[test]
    fn a_body_over_the_cap_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _head = std::io::Read::read(&mut stream, &mut [0; 4096]).unwrap();
            std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            // The client hangs up when it has enough.
            let _cut = std::io::Write::write_all(&mut stream, &vec![b'x'; BODY_CAP + (1 << 20)]);
        });
        let report = run(json!({"url": format!("http://127.0.0.1:{port}/")}));
        server.join().unwrap();
        assert!(report.failed.unwrap().contains("more than 1048576 bytes"));
    }

    #[test]
    fn check_mode_sends_nothing_and_bad_parameters_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let build = |params: Value| {
            let call = ModuleCall { module: "uri".to_owned(), params: params.as_object().unwrap().clone() };
            crate::modules::build(&call)
        };
        let checked = build(json!({"url": "http://127.0.0.1:1/"}))
            .unwrap()
            .check(&Context::new(Mode::Check, dir.path()))
            .unwrap();
        assert!(checked.skipped.is_some());
        for params in [
            json!({"url": "nowhere"}),
            json!({"url": "http://x", "method": "G T"}),
            json!({"url": "http://x", "status_code": ["ok"]}),
        ] {
            assert!(build(params.clone()).is_err(), "{params}");
        }
    }
}

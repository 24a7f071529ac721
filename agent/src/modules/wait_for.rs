//! `wait_for`: a port or a path until it is there, is gone, or says something; as ansible-core's `wait_for.py`.

use super::{
    CheckClass, Context, Module, ModuleError, ModuleSpec, ParamError, ParamKind, ParamSpec, UndoClass, decode,
};
use crate::http::{Endpoint, host_resolver, open};
use crate::protocol::{Change, ModuleCall, TaskReport};
use crate::serve::Ended;
use regex_lite::{Captures, Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) const SPEC: ModuleSpec = ModuleSpec {
    name: "wait_for",
    params: &[
        ParamSpec::optional("host", ParamKind::Str),
        ParamSpec::optional("port", ParamKind::Int),
        ParamSpec::optional("path", ParamKind::Path),
        ParamSpec {
            choices: &["absent", "drained", "present", "started", "stopped"],
            ..ParamSpec::optional("state", ParamKind::Str)
        },
        ParamSpec::optional("search_regex", ParamKind::Str),
        ParamSpec::optional("timeout", ParamKind::Int),
        ParamSpec::optional("connect_timeout", ParamKind::Int),
        ParamSpec::optional("delay", ParamKind::Int),
        ParamSpec::optional("sleep", ParamKind::Int),
        ParamSpec::optional("msg", ParamKind::Str),
    ],
    free_form: None,
    undo: UndoClass::NotNeeded,
    check: CheckClass::Unknown,
    require_one_of: &[],
};

/// How much of a file or of what a port says is searched, in bytes.
const SEARCH_CAP: u64 = 16 << 20;

/// The longest pause between two looks at whether the request is to end.
const SLICE: Duration = Duration::from_millis(200);

/// The pause that `sleep: 0` comes to: the target must not be flooded.
const LEAST_SLEEP: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Absent,
    Drained,
    Present,
    #[default]
    Started,
    Stopped,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    #[serde(default = "this_host")]
    host: String,
    port: Option<u16>,
    path: Option<String>,
    #[serde(default)]
    state: State,
    search_regex: Option<String>,
    #[serde(default = "five_minutes")]
    timeout: u64,
    #[serde(default = "five_seconds")]
    connect_timeout: u64,
    #[serde(default)]
    delay: u64,
    #[serde(default = "one_second")]
    sleep: u64,
    msg: Option<String>,
}

fn this_host() -> String {
    "127.0.0.1".to_owned()
}

fn five_minutes() -> u64 {
    300
}

fn five_seconds() -> u64 {
    5
}

fn one_second() -> u64 {
    1
}

/// What is waited for.
#[derive(Debug)]
enum Target {
    Port(Endpoint),
    Path(String),
    /// Neither: the time itself.
    Time,
}

#[derive(Debug)]
struct WaitFor {
    params: Params,
    target: Target,
    pattern: Option<Regex>,
}

pub(super) fn build(call: &ModuleCall) -> Result<Box<dyn Module>, ParamError> {
    let params: Params = decode(call)?;
    let wrong = |param: &str, what: &str| Err(ParamError::new("wait_for", param, what));
    let target = match (&params.path, params.port) {
        (Some(_), Some(_)) => return wrong("port", "and `path` exclude each other"),
        (Some(path), None) => Target::Path(path.clone()),
        (None, Some(port)) => Target::Port(Endpoint::Tcp { host: params.host.clone(), port }),
        (None, None) => Target::Time,
    };
    if params.state == State::Drained {
        return wrong(
            "state",
            "`drained` is not supported: wait for the port to be `stopped`, or ask the service itself",
        );
    }
    if params.state == State::Stopped && params.path.is_some() {
        return wrong("state", "`stopped` is for ports; for a path it is `absent`");
    }
    let pattern = params.search_regex.as_deref().map(|text| RegexBuilder::new(text).multi_line(true).build());
    let pattern = match pattern.transpose() {
        Ok(pattern) => pattern,
        Err(error) => return wrong("search_regex", &format!("is no regular expression: {error}")),
    };
    Ok(Box::new(WaitFor { params, target, pattern }))
}

impl Module for WaitFor {
    /// What is waited for may be the work of a task that check mode did not run; Ansible skips it as well.
    fn check(&self, _: &Context) -> Result<TaskReport, ModuleError> {
        let mut report = TaskReport::new(Change::Unknown);
        report.skipped = Some("check mode does not wait".to_owned());
        Ok(report)
    }

    fn apply(&self, cx: &mut Context) -> Result<TaskReport, ModuleError> {
        let begun = Instant::now();
        let deadline = begun + Duration::from_secs(self.params.timeout);
        let found = self.wait(cx, begun, deadline)?;
        let report = TaskReport::new(Change::Unchanged)
            .with("elapsed", begun.elapsed().as_secs())
            .with("state", json!(self.state_word()))
            .with("port", json!(self.params.port))
            .with("path", json!(self.params.path))
            .with("search_regex", json!(self.params.search_regex));
        match found {
            Ok(Matched { groups, named }) => {
                Ok(report.with("match_groups", groups).with("match_groupdict", Value::Object(named)))
            }
            Err(sentence) => Ok(report.failing(self.params.msg.clone().unwrap_or(sentence))),
        }
    }
}

/// What a search found.
#[derive(Debug, Default)]
struct Matched {
    groups: Vec<Value>,
    named: Map<String, Value>,
}

impl Matched {
    fn of(pattern: &Regex, captures: &Captures<'_>) -> Self {
        let text = |group: Option<regex_lite::Match<'_>>| group.map_or(Value::Null, |group| json!(group.as_str()));
        Self {
            groups: captures.iter().skip(1).map(text).collect(),
            named: pattern.capture_names().flatten().map(|name| (name.to_owned(), text(captures.name(name)))).collect(),
        }
    }
}

impl WaitFor {
    fn wait(&self, cx: &Context, begun: Instant, deadline: Instant) -> Result<Result<Matched, String>, ModuleError> {
        pause(cx, begun + Duration::from_secs(self.params.delay))?;
        if matches!(self.target, Target::Time) {
            pause(cx, deadline)?;
            return Ok(Ok(Matched::default()));
        }
        let gone = matches!(self.params.state, State::Absent | State::Stopped);
        while Instant::now() < deadline {
            if gone {
                if !self.is_there(cx, deadline) {
                    return Ok(Ok(Matched::default()));
                }
            } else if let Some(matched) = self.look(cx, deadline)? {
                return Ok(Ok(matched));
            }
            let sleep = Duration::from_secs(self.params.sleep).max(LEAST_SLEEP);
            pause(cx, deadline.min(Instant::now() + sleep))?;
        }
        Ok(Err(self.too_late(gone)))
    }

    fn is_there(&self, cx: &Context, deadline: Instant) -> bool {
        match &self.target {
            Target::Path(path) => rustix::fs::access(path.as_str(), rustix::fs::Access::EXISTS).is_ok(),
            Target::Port(endpoint) => self.connect(cx, endpoint, deadline).is_some(),
            Target::Time => false,
        }
    }

    fn look(&self, cx: &Context, deadline: Instant) -> Result<Option<Matched>, ModuleError> {
        match &self.target {
            Target::Path(path) => self.look_at_path(Path::new(path)),
            Target::Port(endpoint) => Ok(self.look_at_port(cx, endpoint, deadline)),
            Target::Time => Ok(None),
        }
    }

    fn look_at_path(&self, path: &Path) -> Result<Option<Matched>, ModuleError> {
        match fs_err::metadata(path) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let Some(pattern) = &self.pattern else { return Ok(Some(Matched::default())) };
        let mut bytes = Vec::new();
        // A file that goes or cannot be read now may be there the next time.
        let read = fs_err::File::open(path).and_then(|file| file.take(SEARCH_CAP).read_to_end(&mut bytes));
        let text = String::from_utf8_lossy(&bytes);
        Ok(read.ok().and_then(|_| pattern.captures(&text).map(|captures| Matched::of(pattern, &captures))))
    }

    fn look_at_port(&self, cx: &Context, endpoint: &Endpoint, deadline: Instant) -> Option<Matched> {
        let mut stream = self.connect(cx, endpoint, deadline)?;
        let Some(pattern) = &self.pattern else { return Some(Matched::default()) };
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        while said.len() as u64 <= SEARCH_CAP && cx.control.ended().is_none() {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            stream.set_timeouts(left.min(SLICE)).ok()?;
            match stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => said.extend_from_slice(buffer.get(..read).unwrap_or_default()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => return None,
            }
            if let Some(captures) = pattern.captures(&String::from_utf8_lossy(&said)) {
                return Some(Matched::of(pattern, &captures));
            }
        }
        None
    }

    fn connect(&self, cx: &Context, endpoint: &Endpoint, deadline: Instant) -> Option<crate::http::Stream> {
        let limit = Duration::from_secs(self.params.connect_timeout.max(1));
        let until = deadline.min(Instant::now() + limit);
        open(endpoint, until, limit, &host_resolver(&cx.control)).ok()
    }

    fn too_late(&self, gone: bool) -> String {
        let place = match &self.target {
            Target::Port(endpoint) => endpoint.to_string(),
            Target::Path(path) => path.clone(),
            Target::Time => String::new(),
        };
        match (&self.target, gone, &self.params.search_regex) {
            (Target::Port(_), true, _) => format!("Timeout when waiting for {place} to stop."),
            (_, true, _) => format!("Timeout when waiting for {place} to be absent."),
            (_, false, Some(pattern)) => format!("Timeout when waiting for search string {pattern} in {place}"),
            (Target::Port(_), false, None) => format!("Timeout when waiting for {place}"),
            (_, false, None) => format!("Timeout when waiting for file {place}"),
        }
    }

    fn state_word(&self) -> &'static str {
        match self.params.state {
            State::Absent => "absent",
            State::Drained => "drained",
            State::Present => "present",
            State::Started => "started",
            State::Stopped => "stopped",
        }
    }
}

/// Waits, and ends early with the request.
fn pause(cx: &Context, until: Instant) -> Result<(), ModuleError> {
    loop {
        match cx.control.ended() {
            Some(Ended::Cancelled) => return Err(ModuleError::failed("the wait was cancelled")),
            Some(Ended::TimedOut) => return Err(ModuleError::failed("the wait ran into the task's timeout")),
            None => {}
        }
        let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
            return Ok(());
        };
        std::thread::sleep(left.min(SLICE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::serve_once;
    use crate::protocol::Mode;
    use std::net::TcpListener;

    fn wait(params: Value) -> Result<TaskReport, ModuleError> {
        let dir = tempfile::tempdir().unwrap();
        let call = ModuleCall { module: "wait_for".to_owned(), params: params.as_object().unwrap().clone() };
        crate::modules::build(&call).unwrap().apply(&mut Context::new(Mode::Apply, dir.path()))
    }

    #[test]
    fn a_port_that_listens_is_started_and_one_that_does_not_is_stopped() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(wait(json!({"port": port})).unwrap().failed, None);
        let late = wait(json!({"port": port, "state": "stopped", "timeout": 1, "sleep": 0})).unwrap();
        assert_eq!(late.failed.unwrap(), format!("Timeout when waiting for 127.0.0.1:{port} to stop."));
        drop(listener);
        assert_eq!(wait(json!({"port": port, "state": "stopped"})).unwrap().failed, None);
        let late = wait(json!({"port": port, "timeout": 1, "msg": "not up"})).unwrap();
        assert_eq!(late.failed.unwrap(), "not up");
    }

    #[test]
    fn what_a_port_says_is_searched() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            std::io::Write::write_all(&mut stream, b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
            let _closed = std::io::Read::read(&mut stream, &mut [0; 1]);
        });
        let report = wait(json!({"port": port, "search_regex": "^SSH-(?P<version>[0-9.]+)-(\\w+)"})).unwrap();
        assert_eq!((&report.failed, &report.data["match_groups"]), (&None, &json!(["2.0", "OpenSSH_9"])));
        assert_eq!(report.data["match_groupdict"], json!({"version": "2.0"}));
        server.join().unwrap();
    }

    #[test]
    fn a_server_that_says_something_else_and_closes_is_asked_again() {
        let (port, server) = serve_once(b"HTTP/1.1 200 OK\r\n\r\n");
        let report = wait(json!({"port": port, "search_regex": "never", "timeout": 1, "sleep": 0})).unwrap();
        assert!(report.failed.unwrap().contains("search string never"));
        server.join().unwrap();
    }

    #[test]
    fn a_path_comes_goes_and_holds_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(wait(json!({"path": path, "state": "absent"})).unwrap().failed, None);
        let late = wait(json!({"path": path, "timeout": 1, "sleep": 0})).unwrap();
        assert_eq!(late.failed.unwrap(), format!("Timeout when waiting for file {}", path.display()));
        let writer = std::thread::spawn({
            let path = path.clone();
            move || fs_err::write(path, "starting\nready on 8000\n").unwrap()
        });
        let report = wait(json!({"path": path, "search_regex": "^ready on (\\d+)$", "sleep": 0})).unwrap();
        assert_eq!(report.data["match_groups"], json!(["8000"]));
        writer.join().unwrap();
    }

    #[test]
    fn a_cancelled_wait_ends() {
        let dir = tempfile::tempdir().unwrap();
        let call =
            ModuleCall { module: "wait_for".to_owned(), params: json!({"timeout": 600}).as_object().unwrap().clone() };
        let mut cx = Context::new(Mode::Apply, dir.path());
        cx.control.cancel();
        assert!(crate::modules::build(&call).unwrap().apply(&mut cx).is_err());
    }

    #[test]
    fn combinations_that_mean_nothing_are_refused() {
        for params in [
            json!({"port": 1, "path": "/x"}),
            json!({"path": "/x", "state": "stopped"}),
            json!({"port": 1, "state": "drained"}),
            json!({"port": 70000}),
            json!({"port": 1, "search_regex": "("}),
        ] {
            let call = ModuleCall { module: "wait_for".to_owned(), params: params.as_object().unwrap().clone() };
            assert!(crate::modules::build(&call).is_err(), "{params}");
        }
    }
}

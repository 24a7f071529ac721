//! A controller's side of the channel to the real agent program, and the agent's library on a sandbox.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod data_root;
pub(crate) mod guarded;
pub(crate) mod sandbox;
pub(crate) mod tree;

use rollgate_agent::protocol::{
    AgentError, Answer, BundledTask, Call, FromAgent, Hello, Mode, ModuleCall, PROTOCOL_VERSION, Progress, Step,
    TaskCall, TaskReport, ToAgent, TxnOpen, Welcome, read_frame, write_frame,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

pub(crate) const TXN: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn start() -> Child {
    Command::new(env!("CARGO_BIN_EXE_rollgate-agent"))
        .arg("--stdio")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

pub(crate) struct Channel {
    pub(crate) child: Child,
    pub(crate) to: Option<ChildStdin>,
    pub(crate) from: ChildStdout,
    pub(crate) welcome: Welcome,
    next: u64,
}

impl Channel {
    pub(crate) fn open(state_dir: &Path, run: &str) -> Self {
        let mut child = start();
        let mut to = child.stdin.take().unwrap();
        let mut from = child.stdout.take().unwrap();
        let state_dir = Some(state_dir.to_str().unwrap().to_owned());
        let hello = Hello { protocol: PROTOCOL_VERSION, run: run.to_owned(), state_dir };
        write_frame(&mut to, &ToAgent::Hello(hello)).unwrap();
        let FromAgent::Welcome(welcome) = read_frame(&mut from).unwrap() else { panic!("no welcome") };
        Self { child, to: Some(to), from, welcome, next: 0 }
    }

    pub(crate) fn send(&mut self, message: &ToAgent) {
        write_frame(self.to.as_mut().unwrap(), message).unwrap();
    }

    pub(crate) fn request(&mut self, call: Call) -> u64 {
        self.next += 1;
        let id = self.next;
        self.send(&ToAgent::Request { id, call: Box::new(call) });
        id
    }

    pub(crate) fn read(&mut self) -> FromAgent {
        read_frame(&mut self.from).unwrap()
    }

    /// Reads until some progress of this request holds these bytes.
    pub(crate) fn wait_output(&mut self, id: u64, wanted: &str) {
        let mut seen = Vec::new();
        loop {
            match self.read() {
                FromAgent::Progress { id: of, progress: Progress::Output { data, .. } } if of == id => {
                    seen.extend(data);
                    if String::from_utf8_lossy(&seen).contains(wanted) {
                        return;
                    }
                }
                FromAgent::Response { id: of, result } if of == id => panic!("answered before {wanted}: {result:?}"),
                _ => {}
            }
        }
    }

    pub(crate) fn answer(&mut self, id: u64) -> Result<Answer, AgentError> {
        loop {
            if let FromAgent::Response { id: of, result } = self.read()
                && of == id
            {
                return result;
            }
        }
    }

    pub(crate) fn call(&mut self, call: Call) -> Result<Answer, AgentError> {
        let id = self.request(call);
        self.answer(id)
    }

    pub(crate) fn task(&mut self, task: TaskCall) -> Result<TaskReport, AgentError> {
        self.call(Call::Task(task)).map(|answer| match answer {
            Answer::Task(report) => *report,
            other => panic!("{other:?}"),
        })
    }

    pub(crate) fn open_txn(
        &mut self,
        run: &str,
        generation: u64,
        rollback: Vec<BundledTask>,
    ) -> Result<Answer, AgentError> {
        self.call(Call::TxnOpen(TxnOpen {
            txn: TXN.to_owned(),
            run: run.to_owned(),
            host: "web1".to_owned(),
            play: "a play".to_owned(),
            generation,
            rollback,
        }))
    }

    /// Closes the channel and waits for the agent's end.
    pub(crate) fn close(mut self) -> ExitStatus {
        drop(self.to.take());
        self.child.wait().unwrap()
    }
}

pub(crate) fn module(module: &str, params: Value) -> ModuleCall {
    ModuleCall { module: module.to_owned(), params: params.as_object().unwrap().clone() }
}

pub(crate) fn task(name: &str, params: Value) -> TaskCall {
    TaskCall {
        call: module(name, params),
        mode: Mode::Apply,
        diff: true,
        environment: BTreeMap::new(),
        timeout_ms: None,
        critical: false,
        step: None,
    }
}

pub(crate) fn step(seq: u64) -> Step {
    Step {
        txn: TXN.to_owned(),
        seq,
        name: format!("step {seq}"),
        handler: None,
        notify: Vec::new(),
        undo: Vec::new(),
        generation: 1,
        no_log: false,
    }
}

pub(crate) fn bundled(name: &str, params: Value) -> BundledTask {
    BundledTask {
        name: "bundled".to_owned(),
        call: module(name, params),
        environment: BTreeMap::new(),
        timeout_ms: None,
        no_log: false,
    }
}

pub(crate) fn path(directory: &tempfile::TempDir, name: &str) -> PathBuf {
    directory.path().join(name)
}

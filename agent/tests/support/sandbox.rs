//! The agent's library on a directory of its own: transactions without a channel.

use super::{TXN, step, task};
use rollgate_agent::files::{PathState, fingerprint};
use rollgate_agent::protocol::{
    AgentError, Answer, BundledTask, Call, Hello, PROTOCOL_VERSION, RevertReport, Step, TaskReport, TxnOpen,
    VerifyReport,
};
use rollgate_agent::serve::{Agent, Control};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) struct Sandbox {
    /// What tasks change.
    pub(crate) root: tempfile::TempDir,
    /// The agent's own.
    pub(crate) state: tempfile::TempDir,
    pub(crate) agent: Agent,
    seq: u64,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self::with_rollback(Vec::new())
    }

    pub(crate) fn with_rollback(rollback: Vec<BundledTask>) -> Self {
        let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let agent = agent(state.path(), "run1");
        let sandbox = Self { root, state, agent, seq: 0 };
        let open = TxnOpen {
            txn: TXN.to_owned(),
            run: "run1".to_owned(),
            host: "web1".to_owned(),
            play: "a play".to_owned(),
            generation: 1,
            rollback,
        };
        sandbox.call(&Call::TxnOpen(open)).unwrap();
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn at(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        fs_err::write(self.path(name), text).unwrap();
        self.at(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn call(&self, call: &Call) -> Result<Answer, AgentError> {
        self.agent.answer(call, &Control::default(), &|_| {})
    }

    /// Runs a step of the transaction.
    pub(crate) fn step(&mut self, module: &str, params: Value) -> TaskReport {
        self.step_with(module, params, |_| {}).unwrap()
    }

    pub(crate) fn step_with(
        &mut self,
        module: &str,
        params: Value,
        change: impl FnOnce(&mut Step),
    ) -> Result<TaskReport, AgentError> {
        self.seq += 1;
        let mut step = step(self.seq);
        change(&mut step);
        let mut task = task(module, params);
        task.step = Some(step);
        self.call(&Call::Task(task)).map(report)
    }

    /// Runs a task outside of the transaction.
    pub(crate) fn task(&self, module: &str, params: Value) -> TaskReport {
        report(self.call(&Call::Task(task(module, params))).unwrap())
    }

    pub(crate) fn check(&self, module: &str, params: Value) -> TaskReport {
        let mut task = task(module, params);
        task.mode = rollgate_agent::protocol::Mode::Check;
        report(self.call(&Call::Task(task)).unwrap())
    }

    pub(crate) fn revert(&self) -> RevertReport {
        match self.call(&Call::Revert { txn: TXN.to_owned() }).unwrap() {
            Answer::Revert(report) => report,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn verify(&self) -> VerifyReport {
        match self.call(&Call::Verify { txn: TXN.to_owned() }).unwrap() {
            Answer::Verify(report) => report,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.state.path().join("txn").join(TXN).join("steps.jsonl")
    }

    /// Everything below the root, as it is.
    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, PathState> {
        snapshot(self.root.path())
    }
}

pub(crate) fn agent(state: &Path, run: &str) -> Agent {
    let state_dir = Some(state.to_str().unwrap().to_owned());
    Agent::open(&Hello { protocol: PROTOCOL_VERSION, run: run.to_owned(), state_dir }).unwrap()
}

pub(crate) fn report(answer: Answer) -> TaskReport {
    match answer {
        Answer::Task(report) => *report,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn snapshot(root: &Path) -> BTreeMap<PathBuf, PathState> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let state = fingerprint(&path).unwrap();
        if state.kind == rollgate_agent::files::Kind::Directory {
            left.extend(fs_err::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path, state);
    }
    found
}

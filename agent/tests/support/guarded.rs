//! A host with an armed guard: the real agent program, its real guard process, real files.

use super::{Channel, TXN, step, task};
use rollgate_agent::protocol::{
    AgentError, Answer, BundledTask, Call, GuardArm, GuardReport, GuardState, Step, TaskReport,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

pub(crate) const NONCE: &str = "00112233445566778899aabbccddeeff";

/// Longer than any test.
pub(crate) const LONG: u64 = 600_000;

pub(crate) struct Guarded {
    /// What steps change.
    pub(crate) root: tempfile::TempDir,
    /// The agent's own.
    pub(crate) state: tempfile::TempDir,
    /// The controller's channel, while it is there.
    pub(crate) channel: Option<Channel>,
    pub(crate) armed: GuardReport,
}

impl Guarded {
    /// A host with an open transaction of run1, and its guard armed for so long.
    pub(crate) fn new(timeout_ms: u64) -> Self {
        Self::with(timeout_ms, |_| Vec::new(), |_| {})
    }

    pub(crate) fn with(
        timeout_ms: u64,
        rollback: impl FnOnce(&tempfile::TempDir) -> Vec<BundledTask>,
        change: impl FnOnce(&mut GuardArm),
    ) -> Self {
        let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut channel = Channel::open(state.path(), "run1");
        channel.open_txn("run1", 1, rollback(&root)).unwrap();
        let mut arm = arming(timeout_ms);
        change(&mut arm);
        let armed = report(channel.call(Call::GuardArm(arm)).unwrap());
        Self { root, state, channel: Some(channel), armed }
    }

    pub(crate) fn at(&self, name: &str) -> String {
        self.root.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        fs_err::write(self.at(name), text).unwrap();
        self.at(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.at(name)).unwrap()
    }

    /// One of the transaction's own files.
    pub(crate) fn record(&self, name: &str) -> PathBuf {
        self.state.path().join("txn").join(TXN).join(name)
    }

    pub(crate) fn call(&mut self, call: Call) -> Result<Answer, AgentError> {
        self.channel.as_mut().unwrap().call(call)
    }

    pub(crate) fn step(&mut self, seq: u64, module: &str, params: Value) -> Result<TaskReport, AgentError> {
        self.step_with(seq, module, params, |_| {})
    }

    pub(crate) fn step_with(
        &mut self,
        seq: u64,
        module: &str,
        params: Value,
        change: impl FnOnce(&mut Step),
    ) -> Result<TaskReport, AgentError> {
        let mut task = task(module, params);
        let mut step = step(seq);
        change(&mut step);
        task.step = Some(step);
        self.channel.as_mut().unwrap().task(task)
    }

    /// The same host as another channel sees it.
    pub(crate) fn contact(&self, run: &str) -> Channel {
        Channel::open(self.state.path(), run)
    }

    /// The guard, by the eyes of another run.
    pub(crate) fn status(&self) -> GuardReport {
        self.look().unwrap()
    }

    /// The same, where its files may be gone.
    fn look(&self) -> Option<GuardReport> {
        match self.contact("run2").call(Call::GuardStatus { txn: Some(TXN.to_owned()) }).unwrap() {
            Answer::Guards(mut reports) => reports.pop(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn wait_for(&self, wanted: GuardState) -> GuardReport {
        let begun = Instant::now();
        loop {
            let found = self.look();
            if let Some(found) = found.as_ref().filter(|found| found.state == wanted) {
                return found.clone();
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "not {wanted:?}: {found:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The guard's process.
    pub(crate) fn pid(&self) -> Pid {
        let text = fs_err::read_to_string(self.record("guard.run")).unwrap();
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }

    /// Kills the guard's process, as running out of memory would.
    pub(crate) fn kill_guard(&self) {
        let pid = self.pid();
        kill_process(pid, Signal::KILL).unwrap();
        wait_gone(pid);
    }

    /// `rollgate-agent guard ...` on this host.
    pub(crate) fn command(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_rollgate-agent"))
            .arg("guard")
            .args(words)
            .arg("--state-dir")
            .arg(self.state.path())
            .output()
            .unwrap()
    }

    /// Makes the deadline one of another boot.
    pub(crate) fn reboot(&self) {
        self.kill_guard();
        let path = self.record("deadline");
        let mut deadline: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        deadline["boot"] = Value::String("another boot".to_owned());
        fs_err::write(path, serde_json::to_vec(&deadline).unwrap()).unwrap();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let Ok(text) = fs_err::read_to_string(self.record("guard.run")) else { return };
        if let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw)
            && lives(pid)
        {
            let _gone = kill_process(pid, Signal::KILL);
        }
    }
}

pub(crate) fn arming(timeout_ms: u64) -> GuardArm {
    GuardArm {
        txn: TXN.to_owned(),
        nonce: NONCE.to_owned(),
        timeout_ms,
        delay_ms: 0,
        revert_budget_ms: 90_000,
        expect_reboot: false,
    }
}

pub(crate) fn extend(nonce: &str) -> Call {
    Call::GuardExtend { txn: TXN.to_owned(), nonce: nonce.to_owned() }
}

pub(crate) fn confirm(nonce: &str) -> Call {
    Call::GuardConfirm { txn: TXN.to_owned(), nonce: nonce.to_owned() }
}

pub(crate) fn cancel(nonce: &str) -> Call {
    Call::GuardCancel { txn: TXN.to_owned(), nonce: nonce.to_owned() }
}

pub(crate) fn report(answer: Answer) -> GuardReport {
    match answer {
        Answer::Guard(report) => *report,
        other => panic!("{other:?}"),
    }
}

/// Whether a guard's process is there and no zombie.
pub(crate) fn lives(pid: Pid) -> bool {
    let stat = fs_err::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

pub(crate) fn wait_gone(pid: Pid) {
    let begun = Instant::now();
    while lives(pid) {
        assert!(begun.elapsed() < Duration::from_secs(60), "process {pid:?} stays");
        std::thread::sleep(Duration::from_millis(10));
    }
}

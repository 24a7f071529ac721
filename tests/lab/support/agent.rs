//! The agent on a host of the lab, without a controller: frames over ssh, as any dead controller's agent had them.

use super::Lab;
use fs_err as fs;
use rollgate_agent::protocol::{
    AgentError, Answer, Call, FromAgent, GuardArm, GuardReport, GuardState, Hello, Mode, ModuleCall, PROTOCOL_VERSION,
    Step, TaskCall, ToAgent, TxnOpen, Welcome, read_frame, write_frame,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::{Duration, Instant},
};

/// The transaction of such a test.
pub(crate) const TXN: &str = "fedcba9876543210fedcba9876543210";

/// Its nonce.
pub(crate) const NONCE: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// One channel to root's agent on a host.
pub(crate) struct Agent {
    ssh: Child,
    to: ChildStdin,
    from: ChildStdout,
    next: u64,
    pub(crate) welcome: Welcome,
}

impl Lab {
    /// Puts the agent where the controller would (S1), and returns its path there.
    pub(crate) fn install_agent(&self, host: &str) -> String {
        let built = Path::new(env!("CARGO_BIN_EXE_rollgate")).with_file_name("rollgate-agent");
        let bytes = fs::read(&built).unwrap();
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let directory = format!("/var/lib/rollgate/agent/{digest}");
        let command = format!(
            "sudo sh -c 'umask 022; mkdir -p {directory} && chmod 711 /var/lib/rollgate && cat >{directory}/rollgate-agent \
             && chmod 755 {directory}/rollgate-agent'"
        );
        let mut ssh = self
            .ssh_command(host, &command)
            .stdin(Stdio::from(fs::File::open(&built).unwrap().into_file()))
            .spawn()
            .unwrap();
        assert!(ssh.wait().unwrap().success());
        format!("{directory}/rollgate-agent")
    }

    /// The agent that a run put on the host.
    pub(crate) fn agent_path(&self, host: &str) -> String {
        self.ssh(host, "sudo sh -c 'ls -t /var/lib/rollgate/agent/*/rollgate-agent | head -n 1'").trim().to_owned()
    }

    /// Asks a host, over new connections, until its guards have nothing to do any more.
    pub(crate) fn settled_guards(&self, host: &str, path: &str) -> Vec<GuardReport> {
        let begun = Instant::now();
        loop {
            let found = match self.agent(host, path, "observer").call(Call::GuardStatus { txn: None }) {
                Ok(Answer::Guards(found)) => found,
                other => panic!("{host} does not say what its guards do: {other:?}"),
            };
            if !found.iter().any(|guard| matches!(guard.state, GuardState::Armed | GuardState::Reverting)) {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(240), "{host} has not settled: {found:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Opens a channel for a run.
    pub(crate) fn agent(&self, host: &str, path: &str, run: &str) -> Agent {
        let mut ssh = self
            .ssh_command(host, &format!("sudo -n {path} --stdio"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut to, mut from) = (ssh.stdin.take().unwrap(), ssh.stdout.take().unwrap());
        let hello = Hello { protocol: PROTOCOL_VERSION, run: run.to_owned(), state_dir: None };
        write_frame(&mut to, &ToAgent::Hello(hello)).unwrap();
        let FromAgent::Welcome(welcome) = read_frame(&mut from).unwrap() else { panic!("no welcome") };
        Agent { ssh, to, from, next: 0, welcome }
    }

    /// Asks a host, over new connections, until its guard is in the wanted state.
    pub(crate) fn wait_for_guard(&self, host: &str, path: &str, wanted: GuardState) -> GuardReport {
        let begun = Instant::now();
        loop {
            let found = self.agent(host, path, "observer").guard();
            if found.state == wanted {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(180), "{host} is not {wanted:?}: {found:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Agent {
    pub(crate) fn call(&mut self, call: Call) -> Result<Answer, AgentError> {
        self.next += 1;
        let id = self.next;
        write_frame(&mut self.to, &ToAgent::Request { id, call: Box::new(call) }).unwrap();
        loop {
            match read_frame(&mut self.from).unwrap() {
                FromAgent::Response { id: of, result } if of == id => return result,
                _ => {}
            }
        }
    }

    /// Opens the transaction and arms its guard.
    pub(crate) fn arm(&mut self, run: &str, timeout: Duration) -> GuardReport {
        let generation = self.welcome.generation + 1;
        let open = TxnOpen {
            txn: TXN.to_owned(),
            run: run.to_owned(),
            host: "a host".to_owned(),
            play: "a play".to_owned(),
            generation,
            rollback: Vec::new(),
        };
        self.call(Call::TxnOpen(open)).unwrap();
        let arm = GuardArm {
            txn: TXN.to_owned(),
            nonce: NONCE.to_owned(),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap(),
            delay_ms: 0,
            revert_budget_ms: 90_000,
            expect_reboot: false,
        };
        match self.call(Call::GuardArm(arm)) {
            Ok(Answer::Guard(report)) => *report,
            other => panic!("not armed: {other:?}"),
        }
    }

    /// A step of the transaction; `change` makes it a handler's, say.
    pub(crate) fn step(&mut self, seq: u64, module: &str, params: Value, change: impl FnOnce(&mut Step)) {
        let mut step = Step {
            txn: TXN.to_owned(),
            seq,
            name: format!("step {seq}"),
            handler: None,
            notify: Vec::new(),
            undo: Vec::new(),
            generation: self.welcome.generation + 1,
            no_log: false,
        };
        change(&mut step);
        let task = TaskCall {
            call: ModuleCall { module: module.to_owned(), params: params.as_object().unwrap().clone() },
            mode: Mode::Apply,
            diff: false,
            environment: BTreeMap::new(),
            timeout_ms: None,
            critical: false,
            step: Some(step),
        };
        match self.call(Call::Task(task)) {
            Ok(Answer::Task(report)) => assert_eq!(report.failed, None),
            other => panic!("the step was not done: {other:?}"),
        }
    }

    pub(crate) fn guard(&mut self) -> GuardReport {
        match self.call(Call::GuardStatus { txn: Some(TXN.to_owned()) }).unwrap() {
            Answer::Guards(mut reports) => reports.pop().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Cuts the connection at this end, as a killed controller would.
    pub(crate) fn kill(mut self) {
        self.ssh.kill().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Gone already, or to be gone.
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}

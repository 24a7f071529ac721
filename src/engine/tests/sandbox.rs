//! Hosts with the real agent behind them, in this process, each on a directory of its own.

use super::support::{Log, Outcome, Project};
use crate::host::{Fleet, Host, HostError, RawOutput, Request, RunAs, Target};
use async_trait::async_trait;
use rollgate_agent::{
    protocol::{Answer, Call, Hello, PROTOCOL_VERSION, Welcome},
    serve::{Agent, Control},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// A project whose hosts are directories below it: `{{ root }}` in the playbook.
pub(super) struct Sandbox {
    pub(super) project: Project,
    hosts: Vec<String>,
}

impl Sandbox {
    /// Hosts `h1` to `hN`.
    pub(super) fn new(playbook: &str, count: usize) -> Self {
        let hosts: Vec<String> = (1..=count).map(|n| format!("h{n}")).collect();
        // An agent in this process is no program that a guard could run; the guard is tested with the real one.
        let stanza = "  rollout:\n    confirm: none\n    accept_irreversible: true\n";
        let project = Project::new(&playbook.replace("  rollout:\n", stanza), "");
        let base = project.dir.path().join("hosts");
        let lines: Vec<String> =
            hosts.iter().map(|host| format!("{host} root={}", base.join(host).join("root").display())).collect();
        fs_err::write(project.dir.path().join("hosts.ini"), lines.join("\n")).expect("written");
        for host in &hosts {
            fs_err::create_dir_all(base.join(host).join("root")).expect("made");
        }
        Self { project, hosts }
    }

    pub(super) fn file(&self, name: &str, text: &str) {
        fs_err::write(self.project.dir.path().join(name), text).expect("written");
    }

    pub(super) fn path(&self, host: &str, name: &str) -> PathBuf {
        self.project.dir.path().join("hosts").join(host).join("root").join(name)
    }

    pub(super) fn read(&self, host: &str, name: &str) -> Option<String> {
        fs_err::read_to_string(self.path(host, name)).ok()
    }

    pub(super) fn write(&self, host: &str, name: &str, text: &str) {
        fs_err::write(self.path(host, name), text).expect("written");
    }

    /// Everything on all hosts: path and bytes.
    pub(super) fn everything(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for host in &self.hosts {
            for entry in fs_err::read_dir(self.path(host, "")).expect("there") {
                let path = entry.expect("an entry").path();
                all.push((path.display().to_string(), fs_err::read(&path).unwrap_or_default()));
            }
        }
        all.sort();
        all
    }

    pub(super) fn fleet(&self) -> impl FnOnce(&str) -> Arc<dyn Fleet> {
        let base = self.project.dir.path().join("hosts");
        move |run| Arc::new(SandboxFleet { base, run: run.to_owned() })
    }

    pub(super) async fn run(&self) -> Outcome {
        self.project.run(self.fleet(), &Log::default()).await
    }
}

struct SandboxFleet {
    base: PathBuf,
    run: String,
}

impl Fleet for SandboxFleet {
    fn host(&self, target: &Target) -> Arc<dyn Host> {
        let state = self.base.join(&target.name).join("state");
        Arc::new(SandboxHost { name: target.name.clone(), agent: agent(&state, &self.run) })
    }
}

fn agent(state: &Path, run: &str) -> Arc<Agent> {
    fs_err::create_dir_all(state).expect("made");
    let state_dir = Some(state.display().to_string());
    Arc::new(Agent::open(&Hello { protocol: PROTOCOL_VERSION, run: run.to_owned(), state_dir }).expect("an agent"))
}

struct SandboxHost {
    name: String,
    agent: Arc<Agent>,
}

#[async_trait]
impl Host for SandboxHost {
    fn name(&self) -> &str {
        &self.name
    }

    async fn open(&self, _run_as: &RunAs) -> Result<Welcome, HostError> {
        let agent = Arc::clone(&self.agent);
        let welcome = tokio::task::spawn_blocking(move || agent.welcome()).await.expect("no panic");
        welcome.map_err(|error| HostError::Protocol { message: error.to_string() })
    }

    async fn call(&self, request: Request) -> Result<Answer, HostError> {
        let Request { call, cancel, .. } = request;
        let agent = Arc::clone(&self.agent);
        let critical = matches!(&call, Call::Task(task) if task.critical);
        let timeout = match &call {
            Call::Task(task) => task.timeout_ms.map(Duration::from_millis),
            _ => None,
        };
        let control = Control::new(timeout, None);
        let control = if critical { control.critical() } else { control };
        let ended = control.clone();
        let answer = tokio::task::spawn_blocking(move || agent.answer(&call, &ended, &|_| ()));
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => return Ok(answer.expect("no panic")?),
            () = cancel.cancelled() => control.cancel(),
        }
        Ok(answer.await.expect("no panic")?)
    }

    async fn raw(&self, command: &str, _run_as: &RunAs, _deadline: Duration) -> Result<RawOutput, HostError> {
        let output = tokio::process::Command::new("sh").arg("-c").arg(command).output().await;
        let output = output.map_err(|error| HostError::Lost { message: error.to_string() })?;
        Ok(RawOutput { rc: output.status.code(), stdout: output.stdout, stderr: output.stderr })
    }

    async fn close(&self) {}
}

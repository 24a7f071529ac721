//! This machine: the agent as a child process.

use super::{
    AgentFiles, Fleet, Host, HostError, RawOutput, Request, RunAs, Stage, Target,
    child::{self, ChildSource},
    mux::Mux,
    raw::{self, Process},
    slots::Slots,
    stream::Sink as _,
};
use async_trait::async_trait;
use rollgate_agent::protocol::{Answer, Hello, PROTOCOL_VERSION, ToAgent, Welcome, encode};
use rustix::process::Signal;
use std::{sync::Arc, time::Duration};
use tokio::process::Command;

/// How long a local agent may take to start.
const START: Duration = Duration::from_secs(30);

/// Hosts that are all this machine (`ansible_connection: local`).
#[derive(Debug, Clone)]
pub struct LocalFleet {
    run: String,
    agents: AgentFiles,
}

impl LocalFleet {
    /// A fleet for one run; `run` is the run's id.
    pub fn new(run: impl Into<String>, agents: AgentFiles) -> Self {
        Self { run: run.into(), agents }
    }
}

impl Fleet for LocalFleet {
    fn host(&self, target: &Target) -> Arc<dyn Host> {
        Arc::new(LocalHost {
            name: target.name.clone(),
            hello: Hello { protocol: PROTOCOL_VERSION, run: self.run.clone(), state_dir: target.state_dir.clone() },
            agents: self.agents.clone(),
            running: Slots::new(),
        })
    }
}

/// This machine as a host.
pub struct LocalHost {
    name: String,
    hello: Hello,
    agents: AgentFiles,
    running: Slots<Mux>,
}

impl LocalHost {
    async fn agent(&self, run_as: &RunAs) -> Result<Arc<Mux>, HostError> {
        let user = become_user(run_as);
        let (hello, agents, of) = (self.hello.clone(), self.agents.clone(), user.clone());
        self.running.get(user.as_deref().unwrap_or_default(), move || start(hello, agents, of)).await
    }
}

/// The user to become; none for the one we are.
fn become_user(run_as: &RunAs) -> Option<String> {
    let RunAs::Become(user) = run_as else { return None };
    (super::identity::user().as_deref() != Some(user)).then(|| user.clone())
}

fn command(user: Option<&str>, words: &[&str]) -> Command {
    let mut all: Vec<&str> = user.map(|user| vec!["sudo", "-n", "-H", "-u", user]).unwrap_or_default();
    all.extend(words);
    let mut words = all.into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir("/");
    command
}

async fn start(hello: Hello, agents: AgentFiles, user: Option<String>) -> Result<Mux, HostError> {
    let failed = |message: String| HostError::Unreachable { stage: Stage::Agent, message, hint: None };
    let path = agents.local().map_err(failed)?;
    let path = path.to_str().ok_or_else(|| failed(format!("{} is not UTF-8", path.display())))?;
    let hello = encode(&ToAgent::Hello(hello)).map_err(|error| failed(error.to_string()))?;
    let (source, mut sink) = child::start_agent(&mut command(user.as_deref(), &[path, "--stdio"]))
        .map_err(|error| failed(format!("{path} cannot be started: {error}")))?;
    // A child that has gone already says why on its standard error, which `start` reads.
    drop(sink.send(hello.into()).await);
    let stage = if user.is_some() { Stage::Become } else { Stage::Agent };
    match tokio::time::timeout(START, Mux::start(Box::new(source), Box::new(sink), &[], stage)).await {
        Ok(mux) => mux.map_err(super::become_hint),
        Err(_) => Err(failed(format!("{path} said nothing within {} s", START.as_secs()))),
    }
}

#[async_trait]
impl Process for ChildSource {
    async fn kill(&mut self, hard: bool) {
        self.signal(if hard { Signal::KILL } else { Signal::TERM });
    }
}

#[async_trait]
impl Host for LocalHost {
    fn name(&self) -> &str {
        &self.name
    }

    async fn open(&self, run_as: &RunAs) -> Result<Welcome, HostError> {
        Ok(self.agent(run_as).await?.welcome().clone())
    }

    async fn call(&self, request: Request) -> Result<Answer, HostError> {
        self.agent(&request.run_as).await?.call(request).await
    }

    async fn raw(&self, line: &str, run_as: &RunAs, deadline: Duration) -> Result<RawOutput, HostError> {
        let user = become_user(run_as);
        let mut source = child::start(&mut command(user.as_deref(), &["/bin/sh", "-c", line])).map_err(|error| {
            HostError::Unreachable {
                stage: if user.is_some() { Stage::Become } else { Stage::Connect },
                message: format!("the shell cannot be started: {error}"),
                hint: None,
            }
        })?;
        raw::collect(&mut source, deadline).await
    }

    async fn close(&self) {
        for agent in self.running.take() {
            agent.close().await;
        }
    }
}

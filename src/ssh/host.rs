//! A host reached by SSH: one connection, an agent for each user on it, made at first use and again when found dead.

use super::{
    exec,
    session::{Common, Session},
    start,
};
use crate::host::{
    self, Alive as _, Host, HostError, Mux, RawOutput, Request, RunAs, Slots, Stage, Target, become_hint,
};
use async_trait::async_trait;
use rollgate_agent::protocol::{Answer, Welcome};
use std::{sync::Arc, time::Duration};

/// A host reached by SSH.
pub(crate) struct SshHost {
    inner: Arc<Inner>,
}

struct Inner {
    target: Target,
    common: Arc<Common>,
    sessions: Slots<Session>,
    agents: Slots<Mux>,
}

impl SshHost {
    pub(crate) fn new(target: &Target, common: Arc<Common>) -> Self {
        let inner = Inner { target: target.clone(), common, sessions: Slots::new(), agents: Slots::new() };
        Self { inner: Arc::new(inner) }
    }

    async fn agent(&self, run_as: &RunAs) -> Result<Arc<Mux>, HostError> {
        let session = self.inner.session().await?;
        let user = start::become_user(run_as, &session.user).map(str::to_owned);
        let (key, inner) = (user.clone().unwrap_or_default(), self.inner.clone());
        self.inner.agents.get(&key, move || async move { inner.start(session, user.as_deref()).await }).await
    }
}

impl Inner {
    async fn session(self: &Arc<Self>) -> Result<Arc<Session>, HostError> {
        let inner = self.clone();
        self.sessions.get("", move || async move { Session::open(&inner.target, &inner.common).await }).await
    }

    /// Starts an agent. A connection that turns out to be dead is made anew, once: nothing has reached an agent yet.
    async fn start(self: Arc<Self>, session: Arc<Session>, user: Option<&str>) -> Result<Mux, HostError> {
        let state_dir = self.target.state_dir.as_deref();
        match start::start(&session, &self.common, user, state_dir).await {
            Err(_) if !session.alive() => {
                let session = self.session().await?;
                start::start(&session, &self.common, user, state_dir).await
            }
            done => done,
        }
    }
}

#[async_trait]
impl Host for SshHost {
    fn name(&self) -> &str {
        &self.inner.target.name
    }

    async fn open(&self, run_as: &RunAs) -> Result<Welcome, HostError> {
        Ok(self.agent(run_as).await?.welcome().clone())
    }

    async fn call(&self, request: Request) -> Result<Answer, HostError> {
        self.agent(&request.run_as).await?.call(request).await
    }

    async fn raw(&self, command: &str, run_as: &RunAs, deadline: Duration) -> Result<RawOutput, HostError> {
        let mut session = self.inner.session().await?;
        let opened = match session.command_channel().await {
            // Found dead, and nothing was sent: once more on a new connection.
            Err(_) if !session.alive() => None,
            opened => Some(opened?),
        };
        let (channel, _permit) = match opened {
            Some(opened) => opened,
            None => {
                session = self.inner.session().await?;
                session.command_channel().await?
            }
        };
        let line = match start::become_user(run_as, &session.user) {
            Some(user) => start::shell_line(Some(user), &[command]),
            None => command.to_owned(),
        };
        let (mut source, mut sink) = exec::exec(channel, &line).await?;
        host::Sink::end(&mut sink).await;
        let output = host::collect(&mut source, deadline).await?;
        refused_by_sudo(run_as, &output).map_or(Ok(output), Err)
    }

    async fn close(&self) {
        for agent in self.inner.agents.take() {
            agent.end().await;
        }
        for session in self.inner.sessions.take() {
            session.close().await;
        }
    }
}

/// sudo's own refusal is no result of the command.
fn refused_by_sudo(run_as: &RunAs, output: &RawOutput) -> Option<HostError> {
    let text = String::from_utf8_lossy(&output.stderr);
    let refused = matches!(run_as, RunAs::Become(_)) && output.rc == Some(1) && output.stdout.is_empty();
    let said = text.lines().find(|line| line.starts_with("sudo: ")).filter(|_| refused)?;
    Some(become_hint(HostError::Unreachable { stage: Stage::Become, message: said.to_owned(), hint: None }))
}

//! Starts an agent on a host: one command, whose script (start.sh) looks for the agent and asks for it where it is not.
//!
//! The Hello goes out together with the command, so that a warm start costs no more round trips than opening one
//! channel and running one command; a cold start costs two more.

use super::{
    exec,
    session::{Common, Session},
};
use crate::host::{
    AgentFile, AgentFiles, HostError, Mux, Output, RunAs, Sink, Source, Stage, Tail, become_hint, ending, quote,
};
use rollgate_agent::protocol::{Hello, PROTOCOL_VERSION, ToAgent, encode};
use std::{
    fmt::Write as _,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Goes before each line of the script, and before the line that announces the file.
const MARK: &str = "ROLLGATE1 ";

/// What login files may print before the script begins.
const NOISE: usize = 64 << 10;

/// How long a Hello may wait to be sent.
const HELLO: Duration = Duration::from_secs(10);

/// How much of an upload is handed to the connection at a time, in bytes.
const PIECE: usize = 64 << 10;

/// The slowest upload that is waited for, in bytes a second.
const SLOWEST: u64 = 16 << 10;

/// The script on one line: comments and line ends taken out.
fn script() -> &'static str {
    static SCRIPT: OnceLock<String> = OnceLock::new();
    SCRIPT.get_or_init(|| {
        let lines = include_str!("start.sh").lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect::<Vec<_>>().join(" ")
    })
}

/// The user to become; none for the login user, by whatever name.
pub(crate) fn become_user<'a>(run_as: &'a RunAs, login: &str) -> Option<&'a str> {
    match run_as {
        RunAs::Become(user) if user != login => Some(user),
        RunAs::Login | RunAs::Become(_) => None,
    }
}

/// A command line for any login shell: `words` by /bin/sh, under sudo if another user is meant.
pub(crate) fn shell_line(user: Option<&str>, words: &[&str]) -> String {
    let mut line = "exec ".to_owned();
    if let Some(user) = user {
        let _ = write!(line, "sudo -n -H -u {} ", quote(user));
    }
    line.push_str("/bin/sh -c");
    for word in words {
        let _ = write!(line, " {}", quote(word));
    }
    line
}

/// A word that every login shell leaves alone in single quotes.
fn plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte >= 0x80)
        && !text.contains(['\'', '\\', '!'])
}

/// Starts the agent as a user and waits for its welcome.
pub(crate) async fn start(
    session: &Session,
    common: &Common,
    user: Option<&str>,
    state_dir: Option<&str>,
) -> Result<Mux, HostError> {
    if let Some(word) = [user, state_dir].into_iter().flatten().find(|word| !plain(word) || word.starts_with('-')) {
        return Err(failed(format!(
            "{word:?} cannot be a user or a state directory: it has characters that shells change"
        )));
    }
    let hello =
        Hello { protocol: PROTOCOL_VERSION, run: common.options.run.clone(), state_dir: state_dir.map(str::to_owned) };
    let hello = encode(&ToAgent::Hello(hello)).map_err(|error| failed(error.to_string()))?;
    let files = common.options.agents.clone();
    let agents = agents(&files).await?;
    let words = words(&agents, state_dir);
    let line = shell_line(user, &words.iter().map(String::as_str).collect::<Vec<_>>());

    let channel = session.channel().await?;
    let (source, sink) = exec::exec_agent(channel, &line, session.local).await?;
    let stage = if user.is_some() { Stage::Become } else { Stage::Agent };
    let starting = Starting::new(Box::new(source), Box::new(sink), hello, agents, stage);
    starting.run(!session.local, common.options.start_timeout).await.map_err(become_hint)
}

/// The script and its arguments.
fn words(agents: &[Arc<AgentFile>], state_dir: Option<&str>) -> Vec<String> {
    let directory = state_dir.unwrap_or("-").to_owned();
    let mut words = vec![script().to_owned(), "rollgate".to_owned(), directory];
    words.extend(agents.iter().map(|agent| format!("{}:{}", agent.arch, agent.sha256)));
    words
}

async fn agents(files: &AgentFiles) -> Result<Vec<Arc<AgentFile>>, HostError> {
    if let Some(ready) = files.ready() {
        return ready.map(<[_]>::to_vec).map_err(failed);
    }
    let files = files.clone();
    let read = tokio::task::spawn_blocking(move || files.all().map(<[_]>::to_vec)).await;
    read.map_err(|error| failed(error.to_string()))?.map_err(failed)
}

struct Starting {
    source: Box<dyn Source>,
    sink: Box<dyn Sink>,
    hello: Vec<u8>,
    agents: Vec<Arc<AgentFile>>,
    /// What failed if the script does not even begin.
    stage: Stage,
    seen: Vec<u8>,
    stderr: Tail,
    exit: Option<crate::host::Exit>,
}

impl Starting {
    fn new(
        source: Box<dyn Source>,
        sink: Box<dyn Sink>,
        hello: Vec<u8>,
        agents: Vec<Arc<AgentFile>>,
        stage: Stage,
    ) -> Self {
        Self { source, sink, hello, agents, stage, seen: Vec::new(), stderr: Tail::default(), exit: None }
    }

    async fn run(mut self, compress: bool, limit: Duration) -> Result<Mux, HostError> {
        self.send_hello().await;
        let mut line = self.line_within(limit).await?;
        if let ["need", arch, coding] = line.split_whitespace().collect::<Vec<_>>().as_slice() {
            let allowed = self.upload(arch, *coding == "gzip" && compress, limit).await?;
            // From here on the script has begun: a failure is the agent's.
            self.stage = Stage::Agent;
            line = self.line_within(allowed).await?;
            if line.starts_with("start ") {
                self.send_hello().await;
            }
        }
        match line.split_once(' ') {
            Some(("start", _)) => {}
            Some(("arch", arch)) => return Err(self.no_agent(arch)),
            Some(("fail", why)) => return Err(failed(why.to_owned())),
            _ => return Err(failed(format!("the host answers {line:?} instead of starting the agent"))),
        }
        let serving = Mux::start(self.source, self.sink, &self.seen, Stage::Agent);
        match tokio::time::timeout(limit, serving).await {
            Ok(mux) => mux,
            Err(_) => Err(failed(format!("the agent was started and said nothing within {limit:?}"))),
        }
    }

    async fn send_hello(&mut self) {
        // A connection that breaks or stands still here shows at the next read.
        drop(tokio::time::timeout(HELLO, self.sink.send(self.hello.clone().into())).await);
    }

    async fn line_within(&mut self, limit: Duration) -> Result<String, HostError> {
        tokio::time::timeout(limit, self.line()).await.map_err(|_| self.silent(limit))?
    }

    /// The next line of the script, without its mark; what other programs print before it is passed over.
    async fn line(&mut self) -> Result<String, HostError> {
        loop {
            if let Some(at) = find(&self.seen, MARK.as_bytes())
                && let Some(end) = find(self.seen.get(at..).unwrap_or_default(), b"\n")
            {
                let line = self.seen.get(at + MARK.len()..at + end).unwrap_or_default();
                let line = String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).collect();
                self.seen.drain(..=at + end);
                return Ok(line);
            }
            if self.seen.len() > NOISE {
                return Err(failed("the login shell prints without end before the agent can start".to_owned()));
            }
            match self.source.next().await {
                Output::Stdout(bytes) => self.seen.extend_from_slice(&bytes),
                Output::Stderr(bytes) => self.stderr.push(&bytes),
                Output::Exit(exit) => self.exit = Some(exit),
                Output::End => return Err(self.ended()),
            }
        }
    }

    fn ended(&mut self) -> HostError {
        // A login shell that refuses (nologin) says so on standard output.
        self.stderr.push(&std::mem::take(&mut self.seen));
        let what = match self.stage {
            Stage::Become => "sudo did not run the agent",
            _ => "the agent did not start",
        };
        HostError::Unreachable {
            stage: self.stage,
            message: format!("{what}: {}", ending(self.exit.as_ref(), &self.stderr)),
            hint: None,
        }
    }

    fn silent(&self, limit: Duration) -> HostError {
        let mut message = format!("the login shell has not started the agent within {limit:?}");
        let said = self.stderr.text();
        if !said.is_empty() {
            let _ = write!(message, ": {said}");
        }
        failed(message)
    }

    fn no_agent(&self, arch: &str) -> HostError {
        let have: Vec<&str> = self.agents.iter().map(|agent| agent.arch.as_str()).collect();
        HostError::Unreachable {
            stage: Stage::Agent,
            message: format!("no agent for the architecture {arch}; there is one for {}", have.join(", ")),
            hint: Some(format!("Build rollgate-agent for {arch} and put it into libexec/rollgate/{arch}/.")),
        }
    }

    /// Sends the agent's file; gives the time that the next line may take.
    async fn upload(&mut self, arch: &str, gzip: bool, limit: Duration) -> Result<Duration, HostError> {
        let agent = self.agents.iter().find(|agent| agent.arch == arch).cloned().ok_or_else(|| self.no_agent(arch))?;
        let bytes = if gzip {
            let packed = tokio::task::spawn_blocking(move || agent.gzip()).await;
            packed.map_err(|error| failed(error.to_string()))?
        } else {
            agent.bytes.clone()
        };
        let allowed = limit + Duration::from_secs(bytes.len() as u64 / SLOWEST);
        // On a line of its own: the Hello that the script passes over need not end one.
        let begin = format!("\n{MARK}{} {}\n", bytes.len(), if gzip { "gzip" } else { "raw" });
        let Self { sink, source, stderr, seen, exit, .. } = self;
        // All hosts' uploads share the one copy of the file.
        let sending = async {
            sink.send(begin.into()).await?;
            for at in (0..bytes.len()).step_by(PIECE) {
                sink.send(bytes.slice(at..bytes.len().min(at + PIECE))).await?;
            }
            std::io::Result::Ok(())
        };
        tokio::pin!(sending);
        let limit = tokio::time::sleep(allowed);
        tokio::pin!(limit);
        loop {
            tokio::select! {
                // Refused: the script's own word about it comes next.
                _ = &mut sending => return Ok(allowed),
                () = &mut limit => return Err(failed(format!("the agent could not be sent within {allowed:?}"))),
                output = source.next() => match output {
                    Output::Stdout(bytes) if seen.len() <= NOISE => {
                        seen.extend_from_slice(&bytes);
                        // It speaks before it has everything: it has failed.
                        if find(seen, b"\n").is_some() { return Ok(allowed); }
                    }
                    Output::Stdout(_) => return Err(failed("the host prints without end".to_owned())),
                    Output::Stderr(bytes) => stderr.push(&bytes),
                    Output::Exit(how) => *exit = Some(how),
                    Output::End => return Ok(allowed),
                },
            }
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn failed(message: String) -> HostError {
    HostError::Unreachable { stage: Stage::Agent, message, hint: None }
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;

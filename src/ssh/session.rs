//! One authenticated connection to one host.

use super::{
    SshOptions,
    auth::{self, Keyring},
    config::{self, HostConfig},
    host_key::{Client, HostKeyCheck, KnownHostsCache},
    lookup,
    socket::Socket,
};
use crate::host::{Alive, HostError, Stage, Target};
use russh::{
    Channel, ChannelOpenFailure, Disconnect, Preferred,
    client::{self, Handle, Msg},
};
use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Commands at one time on one connection; at 8 some opens already fail (rust.md 2.2).
const COMMANDS: usize = 5;

/// Tries to open a channel, with 20, 40, 80 ... ms between them: the host frees a slot a little after a command's end.
const OPEN_TRIES: u32 = 7;

/// How long the host may take to open a channel.
const OPEN: Duration = Duration::from_secs(15);

/// What the hosts of a fleet share.
pub(crate) struct Common {
    pub(crate) options: SshOptions,
    pub(crate) known_hosts: Arc<KnownHostsCache>,
    pub(crate) keyring: Keyring,
    pub(crate) handshakes: Semaphore,
}

impl Common {
    pub(crate) fn new(options: SshOptions) -> Self {
        let handshakes = Semaphore::new(options.handshakes.max(1));
        Self { options, known_hosts: Arc::default(), keyring: Keyring::default(), handshakes }
    }
}

/// A connection that is up.
pub(crate) struct Session {
    handle: Handle<Client>,
    socket: Socket,
    commands: Arc<Semaphore>,
    /// Login user.
    pub(crate) user: String,
    /// About one round trip to the host.
    pub(crate) round_trip: Duration,
}

impl Alive for Session {
    fn alive(&self) -> bool {
        !self.handle.is_closed()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.socket.cut();
    }
}

impl Session {
    /// Looks the host up, connects, checks its key and authenticates.
    pub(crate) async fn open(target: &Target, common: &Common) -> Result<Self, HostError> {
        let _turn = common.handshakes.acquire().await.map_err(|_| connect(target, "the fleet is closed", None))?;
        let config = config::resolve(target, &common.options).await?;
        let limit = common.options.connect_timeout;
        let stage = Mutex::new(Stage::Connect);
        let socket = Mutex::new(None);
        let opening = handshake(target, &config, common, &stage, &socket);
        match tokio::time::timeout(limit, opening).await {
            Ok(opened) => opened,
            Err(_) => {
                // The session's task runs on by itself (rust.md 2.2): take its socket away.
                if let Some(socket) = lock(&socket).take() {
                    Socket::cut(&socket);
                }
                Err(HostError::Unreachable {
                    stage: *lock(&stage),
                    message: format!(
                        "{} ({}:{}) did not get there within {limit:?}",
                        target.name, config.host, config.port
                    ),
                    hint: Some("Raise --timeout if the host or the way to it is slow.".to_owned()),
                })
            }
        }
    }

    /// A channel for a command, one of few at a time.
    pub(crate) async fn command_channel(&self) -> Result<(Channel<Msg>, OwnedSemaphorePermit), HostError> {
        let permit = self.commands.clone().acquire_owned().await.map_err(|_| gone("the connection is closed"))?;
        Ok((self.channel().await?, permit))
    }

    /// A channel for an agent, which stays.
    pub(crate) async fn channel(&self) -> Result<Channel<Msg>, HostError> {
        let mut wait = Duration::from_millis(20);
        for _ in 1..OPEN_TRIES {
            match self.try_channel().await {
                Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed)) => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                done => return done.map_err(|error| gone(&format!("the host opens no channel: {error}"))),
            }
        }
        self.try_channel().await.map_err(|error| gone(&format!("the host opens no channel: {error}")))
    }

    async fn try_channel(&self) -> Result<Channel<Msg>, russh::Error> {
        tokio::time::timeout(OPEN, self.handle.channel_open_session())
            .await
            .unwrap_or(Err(russh::Error::ConnectionTimeout))
    }

    /// Says goodbye, and cuts the connection off if the host does not listen.
    pub(crate) async fn close(&self) {
        let bye = self.handle.disconnect(Disconnect::ByApplication, "", "");
        drop(tokio::time::timeout(Duration::from_secs(1), bye).await);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn handshake(
    target: &Target,
    config: &HostConfig,
    common: &Common,
    stage: &Mutex<Stage>,
    kept: &Mutex<Option<Socket>>,
) -> Result<Session, HostError> {
    let options = &common.options;
    let at = format!("{}:{}", config.host, config.port);
    let addresses = lookup::addresses(&config.host, config.port)
        .await
        .map_err(|error| connect(target, &format!("{} cannot be looked up: {error}", config.host), None))?;
    let (socket, round_trip) = Socket::connect(&addresses)
        .await
        .map_err(|error| connect(target, &error.to_string(), Some("Is the host up, and sshd at this port?")))?;
    *lock(kept) = Some(socket.clone());
    let new_key = options.on_new_key.clone();
    let check =
        HostKeyCheck::new(&target.name, config, common.known_hosts.clone(), options.accept_new_host_keys, new_key)?;
    let preferred = Preferred { key: Cow::Owned(check.preferred()), ..Preferred::DEFAULT };
    let refusal = Arc::new(Mutex::new(None));
    let client = Client { check, refusal: refusal.clone() };
    let opened = client::connect_stream(Arc::new(settings(preferred)), socket.clone(), client).await;
    let mut handle = opened.map_err(|error| {
        lock(&refusal).take().unwrap_or_else(|| connect(target, &format!("{at}: {}", explain(&error)), None))
    })?;
    *lock(stage) = Stage::Authenticate;
    auth::authenticate(&mut handle, &target.name, config, &common.keyring).await?;
    let user = config.user.clone();
    Ok(Session { handle, socket, commands: Arc::new(Semaphore::new(COMMANDS)), user, round_trip })
}

/// The settings of rust.md 2.4.
fn settings(preferred: Preferred) -> client::Config {
    client::Config {
        channel_buffer_size: 1024,
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 3,
        inactivity_timeout: None,
        preferred,
        ..client::Config::default()
    }
}

fn explain(error: &russh::Error) -> String {
    match error {
        russh::Error::NoCommonAlgo { kind, ours, theirs } => {
            format!("no common {kind:?} algorithm: ours are {}; its are {}", ours.join(", "), theirs.join(", "))
        }
        russh::Error::Disconnect | russh::Error::HUP => {
            "it closed the connection before the key exchange (MaxStartups, or a firewall)".to_owned()
        }
        other => other.to_string(),
    }
}

fn connect(target: &Target, message: &str, hint: Option<&str>) -> HostError {
    HostError::Unreachable {
        stage: Stage::Connect,
        message: format!("{}: {message}", target.name),
        hint: hint.map(str::to_owned),
    }
}

fn gone(message: &str) -> HostError {
    HostError::Unreachable { stage: Stage::Connect, message: message.to_owned(), hint: None }
}

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
    Channel, ChannelOpenFailure, Disconnect, Preferred, cipher,
    client::{self, Handle, Msg},
    kex,
};
use std::{
    borrow::Cow,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Commands at one time on one connection; at 8 some opens already fail (rust.md 2.2).
const COMMANDS: usize = 5;

/// Tries to open a channel, with 20, 40, 80 ... ms between them: the host frees a slot a little after a command's end.
const OPEN_TRIES: u32 = 7;

/// Processes (`ssh -G`, `getent`) at one time.
const LOOKUPS: usize = 8;

/// How long the host may take to open a channel.
const OPEN: Duration = Duration::from_secs(15);

/// What the hosts of a fleet share.
pub(crate) struct Common {
    pub(crate) options: SshOptions,
    pub(crate) known_hosts: Arc<KnownHostsCache>,
    pub(crate) keyring: Keyring,
    /// Turns at the handshake.
    handshakes: Semaphore,
    /// Turns at asking the ssh program and the resolver.
    lookups: Semaphore,
}

impl Common {
    pub(crate) fn new(options: SshOptions) -> Self {
        let handshakes = Semaphore::new(options.handshakes.max(1));
        let lookups = Semaphore::new(LOOKUPS);
        Self { options, known_hosts: Arc::default(), keyring: Keyring::default(), handshakes, lookups }
    }
}

/// A connection that is up.
pub(crate) struct Session {
    handle: Handle<Client>,
    socket: Socket,
    commands: Arc<Semaphore>,
    /// Login user.
    pub(crate) user: String,
    /// Whether the host is this machine.
    pub(crate) local: bool,
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
    /// Looks the host up, connects, checks its key and authenticates. One limit for all of it; waiting for a turn at
    /// the handshake, which costs processor time on our side, does not count.
    pub(crate) async fn open(target: &Target, common: &Common) -> Result<Self, HostError> {
        let limit = common.options.connect_timeout;
        let (config, addresses) = {
            let _turn = common.lookups.acquire().await.map_err(|_| gone("the fleet is closed"))?;
            let config = config::resolve(target, &common.options).await?;
            let addresses = timeout(limit, lookup::addresses(&config.host, config.port)).await;
            let addresses = addresses.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let said = |error| gone(&format!("{} cannot be looked up: {error}", config.host));
            (config.clone(), addresses.map_err(said)?)
        };
        let at = format!("{}:{}", config.host, config.port);
        let begin = Instant::now();
        let socket = match timeout(limit, Socket::connect(&addresses)).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Err(unreachable(Stage::Connect, &error.to_string(), NOBODY)),
            Err(_) => {
                return Err(unreachable(Stage::Connect, &format!("{at} does not answer within {limit:?}"), NOBODY));
            }
        };
        let left = limit.saturating_sub(begin.elapsed());
        let _turn = common.handshakes.acquire().await.map_err(|_| gone("the fleet is closed"))?;
        let stage = Mutex::new(Stage::Connect);
        let shaking = handshake(target, &config, common, &stage, socket.clone());
        let Ok(shaken) = timeout(left, shaking).await else {
            // The session's task runs on by itself (rust.md 2.2): take its socket away.
            socket.cut();
            let stage = *lock(&stage);
            return Err(unreachable(stage, &format!("{at} does not let us in within {limit:?}"), SLOW));
        };
        let handle = shaken?;
        let local = socket.is_local();
        Ok(Self { handle, socket, commands: Arc::new(Semaphore::new(COMMANDS)), user: config.user, local })
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
        timeout(OPEN, self.handle.channel_open_session()).await.unwrap_or(Err(russh::Error::ConnectionTimeout))
    }

    /// Says goodbye, and cuts the connection off if the host does not listen.
    pub(crate) async fn close(&self) {
        let bye = self.handle.disconnect(Disconnect::ByApplication, "", "");
        drop(timeout(Duration::from_secs(1), bye).await);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const NOBODY: &str = "Is the host up, and sshd at this port?";
const SLOW: &str = "Raise --timeout if the host or the way to it is slow.";

async fn handshake(
    target: &Target,
    config: &HostConfig,
    common: &Common,
    stage: &Mutex<Stage>,
    socket: Socket,
) -> Result<Handle<Client>, HostError> {
    let options = &common.options;
    let new_key = options.on_new_key.clone();
    let check =
        HostKeyCheck::new(&target.name, config, common.known_hosts.clone(), options.accept_new_host_keys, new_key)?;
    let preferred =
        Preferred { kex: key_exchanges(), key: Cow::Owned(check.preferred()), cipher: ciphers(), ..Preferred::DEFAULT };
    let refusal = Arc::new(Mutex::new(None));
    let client = Client { check, refusal: refusal.clone() };
    let opened = client::connect_stream(Arc::new(settings(preferred)), socket, client).await;
    let mut handle = opened.map_err(|error| {
        let why = || gone(&format!("{}:{}: {}", config.host, config.port, explain(&error)));
        lock(&refusal).take().unwrap_or_else(why)
    })?;
    *lock(stage) = Stage::Authenticate;
    auth::authenticate(&mut handle, config, &common.keyring).await?;
    Ok(handle)
}

/// The library's own, and the NIST curves (RFC 5656) for hosts in FIPS mode, which allow no Curve25519. P-256 comes right
/// after the post-quantum exchange: as strong as Curve25519 and, in OpenSSH, a twentieth of its processor time on the host
/// (libcrypto has machine code for it; OpenSSH's own Curve25519 is portable C).
fn key_exchanges() -> Cow<'static, [kex::Name]> {
    let mut names = Preferred::DEFAULT.kex.into_owned();
    let place = |names: &[kex::Name], after| names.iter().position(|name| *name == after).map_or(0, |index| index + 1);
    names.insert(place(&names, kex::MLKEM768X25519_SHA256), kex::ECDH_SHA2_NISTP256);
    let rest = place(&names, kex::CURVE25519_PRE_RFC_8731);
    names.splice(rest..rest, [kex::ECDH_SHA2_NISTP384, kex::ECDH_SHA2_NISTP521]);
    Cow::Owned(names)
}

/// The library's own, but AES-GCM first where the processor has instructions for it: as strong, several times as fast.
fn ciphers() -> Cow<'static, [cipher::Name]> {
    let mut names = Preferred::DEFAULT.cipher;
    if aes_in_hardware() {
        names.to_mut().sort_by_key(|name| *name != cipher::AES_256_GCM);
    }
    names
}

fn aes_in_hardware() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
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

fn unreachable(stage: Stage, message: &str, hint: &str) -> HostError {
    HostError::Unreachable { stage, message: message.to_owned(), hint: Some(hint.to_owned()) }
}

fn gone(message: &str) -> HostError {
    HostError::Unreachable { stage: Stage::Connect, message: message.to_owned(), hint: None }
}

//! Where a request goes, and how a name becomes addresses.

use crate::serve::{Control, Process};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How long a look-up may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// What is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port of a name or numeric address.
    Tcp {
        /// Name or numeric address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix socket {}", path.display()),
        }
    }
}

/// Looks names up; numeric addresses and `localhost` never get here. A static program cannot use the host's name
/// services itself, so the agent's resolver asks `getent ahosts`.
pub trait Resolver {
    /// The addresses of a name, in the order to be tried.
    ///
    /// # Errors
    /// Why there is none, in words.
    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String>;
}

impl<F: Fn(&str) -> Result<Vec<IpAddr>, String>> Resolver for F {
    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        self(name)
    }
}

/// The host's own name services, by `getent ahosts`.
pub fn host_resolver(control: &Control) -> impl Resolver {
    let control = control.clone();
    move |name: &str| {
        let argv = ["getent", "--", "ahosts", name];
        let finished = Process::new(argv, &control).timeout(LOOKUP_TIMEOUT).run().map_err(|error| error.to_string())?;
        if finished.success() { Ok(getent_addresses(&finished.stdout_text())) } else { Err("it is unknown".to_owned()) }
    }
}

/// The addresses in the output of `getent ahosts NAME`, each once.
fn getent_addresses(output: &str) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for line in output.lines() {
        let Some(Ok(address)) = line.split_whitespace().next().map(str::parse) else { continue };
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// The addresses of a host part.
pub(super) fn resolve(host: &str, resolver: &dyn Resolver) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0u16, 0, 0, 0, 0, 0, 0, 1])]);
    }
    let addresses = resolver.addresses(host)?;
    if addresses.is_empty() { Err("it has no address".to_owned()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn getent_lists_an_address_once_a_socket_type() {
        let output = "10.0.0.1       STREAM db\n10.0.0.1       DGRAM\n10.0.0.1       RAW\nfe80::1 STREAM\n";
        assert_eq!(getent_addresses(output), ["10.0.0.1".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
    }

    #[test]
    fn numbers_and_localhost_need_no_look_up() {
        let never = |_: &str| -> Result<Vec<IpAddr>, String> { Err("asked".to_owned()) };
        assert_eq!(resolve("::1", &never).unwrap().len(), 1);
        assert_eq!(resolve("LocalHost", &never).unwrap().len(), 2);
        assert_eq!(resolve("other", &never), Err("asked".to_owned()));
    }
}

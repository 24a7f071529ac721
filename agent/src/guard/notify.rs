//! Telling whoever started a guard that it watches (sd_notify(3)).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells systemd, where it asked to be told. It notices by itself if that fails.
pub(super) fn ready() {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let _it_waits_and_restarts = UnixDatagram::unbound().and_then(|socket| {
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            _ => SocketAddr::from_pathname(std::ffi::OsString::from_vec(name.clone().into_vec()))?,
        };
        socket.send_to_addr(b"READY=1", &address)
    });
}

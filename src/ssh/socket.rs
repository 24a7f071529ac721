//! The TCP connection, kept at hand so that a session whose task hangs can still be cut off.

use rustix::net::{Shutdown, sockopt};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A socket that the session owns one handle of and the connection another.
#[derive(Clone)]
pub(crate) struct Socket(Arc<TcpStream>);

impl Socket {
    /// Connects to the first address that answers.
    pub(crate) async fn connect(addresses: &[SocketAddr]) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    // Between SSH's own keepalives a NAT may forget the connection (rust.md 2.1).
                    sockopt::set_socket_keepalive(&stream, true)?;
                    sockopt::set_tcp_keepidle(&stream, Duration::from_secs(15))?;
                    sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(15))?;
                    return Ok(Self(Arc::new(stream)));
                }
                Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
            }
        }
        Err(last)
    }

    /// Whether the other end is this machine: then there is no network that compressing could spare.
    pub(crate) fn is_local(&self) -> bool {
        match (self.0.peer_addr(), self.0.local_addr()) {
            (Ok(peer), Ok(own)) => peer.ip().is_loopback() || peer.ip() == own.ip(),
            _ => false,
        }
    }

    /// Ends the connection under whoever reads or writes it.
    pub(crate) fn cut(&self) {
        // A connection that is gone already is what was asked for.
        let _ = rustix::net::shutdown(&*self.0, Shutdown::Both);
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(n) => {
                    buffer.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&*self.0, Shutdown::Write).map_err(Into::into))
    }
}

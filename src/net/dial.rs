//! A connection to a target.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use super::descriptors;
use super::stream::Stream;
use super::tls::TlsStream;
use crate::model::{Endpoint, UnixPath};
use crate::tls;

/// Between the first two tries at a Unix socket whose queue is full. The time doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The longest time between two tries: far below the time in which a connection is to be made.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Why there is no connection to a target.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Refused or unreachable.
    #[error(transparent)]
    Io(io::Error),
    /// This host has run out of descriptors, ports or memory: not a fault of the target.
    #[error(transparent)]
    Shortage(io::Error),
    /// The deadline passed first.
    #[error("timed out")]
    TimedOut,
}

impl DialError {
    /// The same error, for another that waited for the connection.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        match self {
            Self::Io(error) => Self::Io(duplicate(error)),
            Self::Shortage(error) => Self::Shortage(duplicate(error)),
            Self::TimedOut => Self::TimedOut,
        }
    }
}

fn duplicate(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// What comes on a connection to a target before the first byte of its protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prelude<'a> {
    /// A header of the PROXY protocol, or nothing.
    pub header: &'a [u8],
    /// The handshake.
    pub tls: Option<&'a tls::Client>,
}

/// Connects, with Nagle's algorithm off: every write is a whole message or the start of one. The
/// prelude is a part of it.
pub async fn dial(
    endpoint: &Endpoint,
    prelude: Prelude<'_>,
    within: Duration,
) -> Result<Stream, DialError> {
    let stream = timeout(within, connect_with(endpoint, prelude))
        .await
        .map_err(|_| DialError::TimedOut)?
        .map_err(|error| {
            if is_own_shortage(endpoint, &error) {
                DialError::Shortage(error)
            } else {
                DialError::Io(error)
            }
        })?;
    Ok(stream)
}

/// The same, however long it takes.
pub(super) async fn connect_with(endpoint: &Endpoint, prelude: Prelude<'_>) -> io::Result<Stream> {
    let mut stream = connect(endpoint).await?;
    stream.set_nodelay()?;
    stream.write_all(prelude.header).await?;
    match (stream, prelude.tls) {
        (Stream::Plain(socket), Some(tls)) => {
            // Boxed, because few connections need room for it.
            let stream = Box::pin(TlsStream::connect(socket, tls)).await?;
            Ok(Stream::Tls(Box::new(stream)))
        }
        (stream, _) => Ok(stream),
    }
}

/// Connects, however long it takes.
pub async fn connect(endpoint: &Endpoint) -> io::Result<Stream> {
    match endpoint {
        Endpoint::Address(address) => TcpStream::connect(address).await.map(Stream::from),
        Endpoint::Unix(path) => connect_unix(path).await.map(Stream::from),
    }
}

/// The kernel does not wait for a place in the queue of a Unix socket as it does for one of TCP:
/// it says at once that the queue is full (unix(7), `EAGAIN`), so it is asked again.
async fn connect_unix(path: &UnixPath) -> io::Result<UnixStream> {
    let mut pause = FIRST_PAUSE;
    loop {
        match UnixStream::connect(path.as_path()).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(pause).await,
            connected => return connected,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether a connection failed because this host has run out of something.
///
/// `EADDRNOTAVAIL` means either that no local port is free, or that this host has no address from
/// which it can reach the endpoint (IPv6 that is switched off): only the first is a shortage.
pub fn is_own_shortage(endpoint: &Endpoint, error: &io::Error) -> bool {
    let is_without_address = Errno::from_io_error(error) == Some(Errno::ADDRNOTAVAIL);
    descriptors::is_shortage(error)
        || (is_without_address && endpoint.address().is_some_and(has_source))
}

/// Whether this host has an address from which it can reach `addr`. Sends nothing.
fn has_source(addr: SocketAddr) -> bool {
    let any = match addr {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    UdpSocket::bind(any).is_ok_and(|socket| socket.connect(addr).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_used_up_are_told_from_an_address_that_is_missing() {
        let error = || io::Error::from(Errno::ADDRNOTAVAIL);
        let local = Endpoint::from(([127, 0, 0, 1], 1));
        assert!(is_own_shortage(&local, &error()));
        // Set aside for documentation (RFC 3849) and with a scope that no host has.
        let nowhere = "[fe80::1%4294967]:1"
            .parse()
            .ok()
            .filter(|addr| !has_source(*addr));
        assert!(nowhere.is_none_or(|addr| !is_own_shortage(&addr.into(), &error())));
        let refused = io::Error::from(Errno::CONNREFUSED);
        assert!(!is_own_shortage(&local, &refused));
    }
}

//! A connection to a target.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::descriptors;

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

/// Connects, with Nagle's algorithm off: every write is a whole message or the start of one.
pub async fn dial(addr: SocketAddr, within: Duration) -> Result<TcpStream, DialError> {
    let stream = timeout(within, TcpStream::connect(addr))
        .await
        .map_err(|_| DialError::TimedOut)?
        .map_err(|error| {
            if is_own_shortage(addr, &error) {
                DialError::Shortage(error)
            } else {
                DialError::Io(error)
            }
        })?;
    stream.set_nodelay(true).map_err(DialError::Io)?;
    Ok(stream)
}

/// Whether a connection failed because this host has run out of something.
///
/// `EADDRNOTAVAIL` means either that no local port is free, or that this host has no address from
/// which it can reach `addr` (IPv6 that is switched off): only the first is a shortage.
pub fn is_own_shortage(addr: SocketAddr, error: &io::Error) -> bool {
    let is_without_address = Errno::from_io_error(error) == Some(Errno::ADDRNOTAVAIL);
    descriptors::is_shortage(error) || (is_without_address && has_source(addr))
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
        assert!(is_own_shortage("127.0.0.1:1".parse().unwrap(), &error()));
        // Set aside for documentation (RFC 3849) and with a scope that no host has.
        let nowhere = "[fe80::1%4294967]:1"
            .parse()
            .ok()
            .filter(|addr| !has_source(*addr));
        assert!(nowhere.is_none_or(|addr| !is_own_shortage(addr, &error())));
        let refused = io::Error::from(Errno::CONNREFUSED);
        assert!(!is_own_shortage("127.0.0.1:1".parse().unwrap(), &refused));
    }
}

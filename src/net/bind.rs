//! Listening sockets: one per worker on the same address, or one Unix socket for all of them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::{ListeningSocket, SocketFile, unix_socket};
use crate::model::{Endpoint, UnixPath};

/// Connections that the kernel completes before a worker accepts them (`net.core.somaxconn` may
/// lower it). Large, because thousands of clients may connect in one second.
const BACKLOG: i32 = 4096;

/// An address or a Unix socket that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {endpoint}: {source}")]
pub struct BindError {
    /// As configured.
    pub endpoint: Endpoint,
    /// The error of the system.
    pub source: io::Error,
}

/// Binds `count` sockets to one address (`SO_REUSEPORT`: the kernel spreads new connections over
/// them). They do not listen yet. With port 0 all get the same free port.
pub fn reserve(addr: SocketAddr, count: usize) -> Result<Vec<TcpListener>, BindError> {
    reserve_beside(probe(addr).map_err(failed(addr))?, count)
}

/// Binds `count` more sockets to an address to which this process has bound sockets already.
pub fn reserve_beside(addr: SocketAddr, count: usize) -> Result<Vec<TcpListener>, BindError> {
    (0..count)
        .map(|_| bound(addr).map_err(failed(addr)))
        .collect()
}

/// Binds a Unix socket, of which the workers get copies, with these permissions or those which the
/// umask leaves. Replaces a file that was left over, and no other. It does not listen yet.
pub fn reserve_unix(
    path: &UnixPath,
    mode: Option<u32>,
) -> Result<(ListeningSocket, SocketFile), BindError> {
    match unix_socket::reserve(path.as_path(), mode) {
        Ok((socket, file)) => Ok((ListeningSocket::Unix(socket), file)),
        Err(source) => Err(BindError {
            endpoint: Endpoint::Unix(path.clone()),
            source,
        }),
    }
}

fn failed(addr: SocketAddr) -> impl Fn(io::Error) -> BindError {
    move |source| BindError {
        endpoint: addr.into(),
        source,
    }
}

/// Listens on sockets that were reserved at `endpoint`. Those that listen already go on.
pub fn listen(endpoint: &Endpoint, sockets: &[ListeningSocket]) -> Result<(), BindError> {
    for socket in sockets {
        rustix::net::listen(socket, BACKLOG).map_err(|error| BindError {
            endpoint: endpoint.clone(),
            source: error.into(),
        })?;
    }
    Ok(())
}

/// Checks that the address is free. Returns it with the port that 0 becomes.
///
/// `SO_REUSEPORT` alone would let a second Weir share the port in silence; a socket without it is
/// refused while any process listens there.
fn probe(addr: SocketAddr) -> io::Result<SocketAddr> {
    let socket = socket(addr)?;
    socket.bind(&addr.into())?;
    let actual = socket.local_addr()?;
    actual
        .as_socket()
        .ok_or_else(|| io::Error::other("not an internet address"))
}

fn bound(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(addr)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        // `[::]` means IPv6 only, so that `0.0.0.0` beside it is no conflict.
        socket.set_only_v6(true)?;
    }
    // Connections of a previous process may still be in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_gets_the_same_free_port() {
        let sockets = reserve("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let ports: Vec<u16> = sockets
            .iter()
            .map(|s| s.local_addr().unwrap().port())
            .collect();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0));
    }

    #[test]
    fn an_address_in_use_is_refused_even_to_another_weir() {
        let socket = reserve("127.0.0.1:0".parse().unwrap(), 1)
            .unwrap()
            .remove(0);
        let addr = socket.local_addr().unwrap();
        let sockets = [socket.into()];
        listen(&addr.into(), &sockets).unwrap();
        let error = reserve(addr, 1).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&addr.to_string()));
    }
}

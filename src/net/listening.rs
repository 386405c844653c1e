//! Sockets that listen, whatever their clients come over.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use super::Stream;
use crate::model::{Endpoint, Peer};

/// A socket that listens, or is to. Its copies have one queue of clients.
#[derive(Debug)]
pub enum ListeningSocket {
    /// On an IP address and a port.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// A socket from which a worker accepts.
#[derive(Debug)]
pub enum Acceptor {
    /// On an IP address and a port.
    Tcp(tokio::net::TcpListener),
    /// A Unix socket.
    Unix(tokio::net::UnixListener),
}

impl ListeningSocket {
    /// A socket of another process, which listens at `endpoint`.
    pub fn received(descriptor: OwnedFd, endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Address(_) => Self::Tcp(descriptor.into()),
            Endpoint::Unix(_) => Self::Unix(descriptor.into()),
        }
    }

    /// A copy.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    /// The socket, if it is one of TCP.
    pub fn tcp(&self) -> Option<&TcpListener> {
        match self {
            Self::Tcp(socket) => Some(socket),
            Self::Unix(_) => None,
        }
    }
}

impl Acceptor {
    /// For the runtime of the calling thread.
    pub fn new(socket: ListeningSocket) -> io::Result<Self> {
        match socket {
            ListeningSocket::Tcp(socket) => {
                tokio::net::TcpListener::from_std(socket).map(Self::Tcp)
            }
            ListeningSocket::Unix(socket) => {
                tokio::net::UnixListener::from_std(socket).map(Self::Unix)
            }
        }
    }

    /// The next client. Cancel-safe.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                Ok((stream.into(), Peer::Address(peer)))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                Ok((stream.into(), Peer::Unix))
            }
        }
    }
}

impl From<TcpListener> for ListeningSocket {
    fn from(socket: TcpListener) -> Self {
        Self::Tcp(socket)
    }
}

impl From<ListeningSocket> for OwnedFd {
    fn from(socket: ListeningSocket) -> Self {
        match socket {
            ListeningSocket::Tcp(socket) => socket.into(),
            ListeningSocket::Unix(socket) => socket.into(),
        }
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

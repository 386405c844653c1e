//! What a client is known by: its IP address, unless it came over a Unix socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The other end of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// It came over TCP.
    Address(SocketAddr),
    /// It came over a Unix socket, where clients have no address.
    Unix,
}

/// A client, as its connection or a trusted proxy names it. As text `192.0.2.1` or `unix:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// Its IP address.
    Ip(IpAddr),
    /// One of those that came over a Unix socket, which cannot be told apart.
    Unix,
}

impl Peer {
    /// The client, if the peer is no proxy.
    pub fn client(self) -> ClientAddress {
        match self {
            Self::Address(address) => ClientAddress::Ip(address.ip()),
            Self::Unix => ClientAddress::Unix,
        }
    }

    /// Where a connection to `local` came from and went to, if that was over TCP.
    pub fn addresses(self, local: Option<SocketAddr>) -> Option<(SocketAddr, SocketAddr)> {
        match self {
            Self::Address(peer) => Some((peer, local?)),
            Self::Unix => None,
        }
    }
}

impl ClientAddress {
    /// What stands for all clients without an address. No client of the network is called so.
    pub const UNIX: &'static str = "unix:";

    /// Its IP address, an IPv4 address as such: a listener on `[::]` sees them as mapped addresses.
    pub fn canonical_ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.to_canonical()),
            Self::Unix => None,
        }
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix => f.pad(ClientAddress::UNIX),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.pad(ClientAddress::UNIX),
        }
    }
}

//! A connection as it begins.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    AcceptProxy, ClientLimits, FieldNames, ListenerId, ListenerSlot, Peer, Protocol, ProxyFacts,
    SocketId,
};
use crate::net::Stream;
use crate::tls;

/// How often the kernel is asked whether a client is still there, while nothing is read from it.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// A stream as the accept loop hands it over.
#[derive(Debug)]
pub struct Accepted {
    /// The client's stream.
    pub stream: Stream,
    /// The client, or a proxy before it.
    pub peer: Peer,
    /// The address that the peer connected to; `None` if that was a Unix socket.
    pub local: Option<SocketAddr>,
    /// What it has in common with others.
    pub terms: Rc<Terms>,
}

/// What all connections have in common that a socket has accepted under one configuration. One of
/// which a proxy has told more has terms of its own.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The socket.
    pub socket: SocketId,
    /// The listener that serves it at first, by slot and by name.
    pub listener: (ListenerSlot, ListenerId),
    /// What the listener's clients speak.
    pub protocol: Protocol,
    /// Whether proxies begin with a header that names the client.
    pub proxy_protocol: AcceptProxy,
    /// In what they speak it; `None` for plain bytes.
    pub tls: Option<Arc<tls::Server>>,
    /// The listener's limits.
    pub limits: ClientLimits,
    /// How strictly the listener reads the names of fields.
    pub field_names: FieldNames,
    /// What a proxy has told of a connection beside addresses.
    pub proxied: Option<Rc<ProxyFacts>>,
}

//! A connection as it begins.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::http1::{self, Limits};
use crate::model::{
    AcceptProxy, ClientLimits, FieldNames, ListenerId, ListenerSlot, Peer, Protocol, ProxyFacts,
    SocketId,
};
use crate::net::Stream;
use crate::observe::{Ports, Transport};
use crate::tls;

/// How often the kernel is asked whether a client is still there, while nothing is read from it.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// How long a connection without a request stays open when its listener begins to drain:
/// most clients send their first request as soon as they are connected.
pub(super) const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection keeps its memory after a request, or after it was accepted: the next
/// request often follows at once.
pub(super) const WARM_INTERVAL: Duration = Duration::from_secs(1);

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
    /// Whether its clients may speak HTTP/2.
    pub http2: bool,
}

impl Terms {
    /// What is known of a connection beside its addresses.
    pub(super) fn transport(&self, stream: &Stream) -> Transport {
        Transport {
            proxied: self.proxied.clone(),
            tls: stream.tls().map(Arc::clone),
            ports: Ports::default(),
        }
    }

    /// How many requests a connection may have.
    pub(super) fn allowance(&self) -> u32 {
        let most = self.limits.max_requests;
        most.map_or(u32::MAX, NonZeroU32::get)
    }

    /// The limits of the heads of requests.
    pub(super) fn parsing(&self) -> Limits {
        Limits {
            max_head: self.limits.max_head,
            max_fields: self.limits.max_fields,
            field_names: match self.field_names {
                FieldNames::Strict => http1::FieldNames::Strict,
                FieldNames::Pass => http1::FieldNames::Pass,
            },
            ..Limits::REQUEST
        }
    }
}

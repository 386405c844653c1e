//! The facts about a client's connection that its requests need.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use http::{HeaderMap, HeaderValue};

use crate::model::{Forwarded, ListenerId, ListenerSlot, SocketId};
use crate::net::ClientState;
use crate::relay::{ForwardedFields, Tunnel, forwarded_for};

/// A client's connection, shared by its requests.
#[derive(Debug)]
pub struct Client {
    /// The socket that accepted it; the snapshot says which listener serves it now.
    pub socket: SocketId,
    /// The listener that served it when it was accepted.
    pub listener: (ListenerSlot, ListenerId),
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// Whether the stream is idle, in a head or in a request, and how it is to be closed.
    pub state: Rc<ClientState>,
    /// Set when the connection has to end with its next response.
    pub closing: Rc<Cell<bool>>,
    /// Requests it may still send; `u32::MAX` at the start if there is no limit.
    pub allowance: Cell<u32>,
    /// Values of the `X-Forwarded-*` fields for targets.
    pub forwarded: ForwardedFields,
    /// The target's side, once the connection has switched to another protocol.
    pub tunnel: RefCell<Option<Box<Tunnel>>>,
}

impl Client {
    /// The `X-Forwarded-*` values for requests of `peer`, which connected to `local`.
    pub fn forwarded_fields(peer: SocketAddr, local: SocketAddr) -> ForwardedFields {
        let address = canonical(peer.ip()).to_string();
        ForwardedFields {
            peer: HeaderValue::try_from(address).expect("an address has no control characters"),
            proto: HeaderValue::from_static("http"),
            port: HeaderValue::from(local.port()),
        }
    }

    /// Counts a request against the allowance.
    pub(super) fn count_request(&self) {
        self.allowance.set(self.allowance.get().saturating_sub(1));
    }

    /// Whether it has sent as many requests as one connection may.
    pub(super) fn has_sent_enough(&self) -> bool {
        self.allowance.get() == 0
    }

    /// Whether the next response must close the connection.
    pub(super) fn closes(&self) -> bool {
        self.closing.get() || self.has_sent_enough()
    }

    /// Whether the peer is a trusted proxy.
    pub(super) fn is_trusted(&self, forwarded: &Forwarded) -> bool {
        !forwarded.trusted_proxies.is_empty() && trusted(self.peer.ip(), forwarded)
    }

    /// The client behind a trusted peer: the last address of the chain that is not a
    /// trusted proxy itself. That address may have invented those before it, so the first
    /// address of the chain means nothing.
    pub(super) fn behind_proxies(&self, headers: &HeaderMap, forwarded: &Forwarded) -> IpAddr {
        let mut client = self.peer.ip();
        for value in forwarded_for(headers).iter().rev() {
            let Ok(text) = value.to_str() else {
                return client;
            };
            for address in text.rsplit(',') {
                let Some(address) = parse_address(address.trim()) else {
                    return client;
                };
                client = address;
                if !trusted(address, forwarded) {
                    return client;
                }
            }
        }
        client
    }
}

/// Parses an address of the chain: bare, with a port, or in brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse()
        .or_else(|_| text.parse::<SocketAddr>().map(|addr| addr.ip()))
        .ok()
        .map(canonical)
}

fn trusted(address: IpAddr, forwarded: &Forwarded) -> bool {
    let address = canonical(address);
    forwarded
        .trusted_proxies
        .iter()
        .any(|net| net.contains(&address))
}

/// Turns an IPv4 address that came over IPv6 into the IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_for(chain: &[&str], trusted: &[&str]) -> IpAddr {
        let (peer, local) = (
            "10.0.0.1:5000".parse().unwrap(),
            "10.0.0.2:80".parse().unwrap(),
        );
        let client = Client {
            socket: SocketId(0),
            listener: (ListenerSlot(0), "web".into()),
            peer,
            local,
            state: Rc::default(),
            closing: Rc::default(),
            allowance: Cell::new(u32::MAX),
            forwarded: Client::forwarded_fields(peer, local),
            tunnel: RefCell::default(),
        };
        let mut headers = HeaderMap::new();
        for value in chain {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let forwarded = Forwarded {
            trusted_proxies: trusted.iter().map(|net| net.parse().unwrap()).collect(),
            ..Forwarded::default()
        };
        if client.is_trusted(&forwarded) {
            client.behind_proxies(&headers, &forwarded)
        } else {
            peer.ip()
        }
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_a_trusted_proxy() {
        let cases: [(&[&str], &[&str], &str); 7] = [
            (&["1.1.1.1"], &[], "10.0.0.1"),
            (&["1.1.1.1"], &["10.0.0.0/8"], "1.1.1.1"),
            (&["6.6.6.6, 1.1.1.1, 10.0.0.7"], &["10.0.0.0/8"], "1.1.1.1"),
            (&["6.6.6.6", "1.1.1.1:99"], &["10.0.0.0/8"], "1.1.1.1"),
            (&["[2001:db8::1]"], &["10.0.0.0/8"], "2001:db8::1"),
            (&["nonsense"], &["10.0.0.0/8"], "10.0.0.1"),
            (&["1.1.1.1"], &["192.168.0.0/16"], "10.0.0.1"),
        ];
        for (chain, trusted, expected) in cases {
            let found = client_for(chain, trusted);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{chain:?}");
        }
    }
}

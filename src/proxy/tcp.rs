//! The path of a TCP connection to a target. No byte of it is looked at here.
//!
//! The group is that of the first rule for its host and its client, else the listener's. The target is
//! found as for a request, and a target to which no
//! connection can be opened is passed over for another one: nothing was sent to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::preference::Preference;
use super::presence::{Presence, unless_gone};
use super::search::Search;
use super::worker::Proxy;
use crate::clock;
use crate::model::{Action, Blame, Failure, ListenerId, ListenerSlot, Peer, Protocol, SocketId};
use crate::net::descriptors::DescriptorPermit;
use crate::net::{Input, Prelude, Stream, proxy_protocol};
use crate::observe::{LoggedHead, Outcome, Ports, Record, Transport};
use crate::router;
use crate::state::DataPlaneSnapshot;
use crate::target::{Lease, RequestResult};
use crate::target_group::{TargetGroup, hash_client};
use crate::tunnel::{TargetEnd, Tunnel};

/// A connection to a target, with its descriptor.
type Opened = (Stream, DescriptorPermit);

/// A connection of a client for which a target is to be found.
pub struct Arrival<'a> {
    /// The socket that has accepted it.
    pub socket: SocketId,
    /// The listener to which the socket belonged then.
    pub listener: &'a (ListenerSlot, ListenerId),
    /// The client, and the address that it has connected to.
    pub addresses: (Peer, Option<SocketAddr>),
    /// What else is known of it.
    pub transport: Transport,
    /// The host that it asks for in its TLS, if that was looked at.
    pub host: Option<&'a str>,
}

/// One connection of a client while targets are tried.
struct Opening<'a, P> {
    proxy: &'a Proxy,
    group: &'a TargetGroup,
    search: Search<'a>,
    /// What a target's connection begins with.
    header: Vec<u8>,
    record: &'a mut Record,
    client: &'a mut P,
}

impl Proxy {
    /// Opens a connection to a target for that of a client. Returns the tunnel between both; `None` if
    /// there is no target for it or the client has gone, which is recorded.
    ///
    /// Cancel safety: dropping the future abandons the connection, ends its lease and records that
    /// the client left.
    pub async fn connect(
        &self,
        arrival: Arrival<'_>,
        client: &mut impl Presence,
    ) -> Option<Box<Tunnel>> {
        // The record takes this reading over.
        clock::now();
        let snapshot = self.reader.load();
        let accepted = (arrival.socket, arrival.listener);
        let (peer, local) = arrival.addresses;
        let mut record = self.record(&snapshot, Protocol::Tcp, accepted, peer.client());
        record.transport = arrival.transport;
        record.transport.ports = Ports::of(peer, local);
        let host = arrival.host.map(str::as_bytes);
        record.head = host.map(|host| LoggedHead::new(b"", b"", Some(host)));
        let group = self.group_of(&snapshot, arrival.socket, arrival.host, &mut record);
        // Not to be held while a target is found.
        drop(snapshot);
        let addresses = peer.addresses(local);
        match self.open(group, addresses, &mut record, client).await {
            Ok(((stream, descriptor), lease, idle)) => {
                let end = TargetEnd::Connection(stream, descriptor);
                let target = (end, Input::default());
                Some(Box::new(Tunnel::new(target, lease, record, idle, false)))
            }
            Err(failure) => {
                record.failure = Some(failure);
                None
            }
        }
    }

    async fn open(
        &self,
        group: Option<(Arc<TargetGroup>, Duration)>,
        addresses: Option<(SocketAddr, SocketAddr)>,
        record: &mut Record,
        client: &mut impl Presence,
    ) -> Result<(Opened, Lease, Duration), Failure> {
        let (group, idle) = group.ok_or(Failure::ListenerGone)?;
        record.group = Some(group.id.clone());
        group.admit()?;
        if group.failing_open {
            self.metrics.failed_open();
        }
        let preference = Preference {
            session: None,
            key: group.hash_key.as_ref().map(|_| hash_client(record.client)),
        };
        let opening = Opening {
            proxy: self,
            group: &group,
            search: Search::new(self, &group, preference, None),
            header: proxy_header(&group, addresses),
            record,
            client,
        };
        let (opened, lease) = opening.run().await?;
        Ok((opened, lease, idle))
    }

    /// Whether the listener of a socket has rules about hosts, for which a hello has to be looked at.
    pub fn routes_by_host(&self, socket: SocketId) -> bool {
        let snapshot = self.reader.load();
        let listener = snapshot.serving(socket);
        listener.is_some_and(|listener| listener.rules.has_hosts())
    }

    /// The group that gets a connection, and the longest time without a byte.
    fn group_of(
        &self,
        snapshot: &DataPlaneSnapshot,
        socket: SocketId,
        host: Option<&str>,
        record: &mut Record,
    ) -> Option<(Arc<TargetGroup>, Duration)> {
        let listener = snapshot.serving(socket)?;
        let (action, rule) = listener.rules.route_connection(host, record.client);
        record.rule = rule.map(|priority| priority.0);
        match action {
            Action::Forward(forward) if listener.protocol == Protocol::Tcp => {
                record.outcome = Some(Outcome::Forward);
                let index = router::choose(forward, self.entropy.next());
                let group = Arc::clone(snapshot.group(index));
                Some((group, listener.client.idle_timeout))
            }
            // A reload has made it a listener of another protocol.
            Action::Forward(_) | Action::Redirect(_) | Action::FixedResponse(_) => None,
        }
    }
}

/// The header that tells a target where its connection came from and went to.
fn proxy_header(group: &TargetGroup, addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let version = group.upstream.proxy_protocol;
    version.map_or_else(Vec::new, |version| {
        proxy_protocol::encode(version, addresses, None)
    })
}

impl<P: Presence> Opening<'_, P> {
    /// Tries targets until one has accepted the connection.
    async fn run(mut self) -> Result<(Opened, Lease), Failure> {
        let mut lease = self.search.first(self.record, self.client).await?;
        loop {
            self.record.attempts += 1;
            self.record.target = Some(Arc::clone(lease.target()));
            let begun = Instant::now();
            let opened = self.attempt(&mut lease).await;
            self.measure(&lease, &opened, begun);
            match opened {
                Ok(opened) => {
                    self.note_last("");
                    return Ok((opened, lease));
                }
                Err(failure) => lease = self.next(failure, lease).await?,
            }
        }
    }

    async fn attempt(&mut self, lease: &mut Lease) -> Result<Opened, Failure> {
        let target = Arc::clone(lease.target());
        let prelude = Prelude {
            header: &self.header,
            tls: self.group.tls.as_ref(),
        };
        let opening = self.proxy.pool.open(&target, &self.group.upstream, prelude);
        let begun = Instant::now();
        let opened = unless_gone(opening, self.client, None).await?;
        let connected = Instant::now();
        self.record.connecting = Some(connected - begun);
        let metrics = self.proxy.metrics();
        metrics.connect_took(&target.id.group, opened.is_ok(), connected - begun);
        let result = match opened {
            Ok(opened) => {
                // Now and not at the end: how a connection ends says nothing about the target.
                lease.settle(RequestResult::Served);
                self.record.dispatched = Some(connected);
                return Ok(opened);
            }
            Err(error) => error,
        };
        self.proxy.shortages.note(&target.id, &result);
        self.record.connect_error = Some(result.to_string().into());
        let failure = Failure::from(&result);
        if failure.blame() == Blame::Target {
            target.report(RequestResult::GatewayError);
        }
        Err(failure)
    }

    /// The time to the connection is what algorithms compare that go by response times.
    fn measure(&self, lease: &Lease, opened: &Result<Opened, Failure>, begun: Instant) {
        let is_targets = |failure: &Failure| failure.blame() == Blame::Target;
        if self.group.measures_time && opened.as_ref().err().is_none_or(is_targets) {
            let latency = lease.target().latency();
            latency.record(begun, Instant::now(), opened.is_err());
        }
    }

    /// The target for another attempt; the failure of the last one if there is none.
    async fn next(&mut self, failure: Failure, lease: Lease) -> Result<Lease, Failure> {
        let found = match failure.blame() {
            Blame::Target => self.search.acquire(self.record),
            Blame::Client | Blame::Weir => return Err(self.ends(failure)),
        };
        match found {
            Ok(next) => {
                self.note_retry(failure);
                Ok(next)
            }
            Err(unavailable) if self.search.may_wait(unavailable) => {
                self.note_retry(failure);
                // What waits for capacity must not occupy some.
                drop(lease);
                let (record, client) = (&mut *self.record, &mut *self.client);
                self.search.wait_after(failure, record, client).await
            }
            Err(_) => Err(self.ends(failure)),
        }
    }

    fn note_retry(&mut self, failure: Failure) {
        self.proxy.metrics.retried(&self.group.id, failure.code());
        self.record.attempt_ended(failure.code());
    }

    fn ends(&mut self, failure: Failure) -> Failure {
        self.note_last(failure.code());
        failure
    }

    /// The last of several attempts is in the record like the others.
    fn note_last(&mut self, reason: &'static str) {
        if self.record.attempts > 1 {
            self.record.attempt_ended(reason);
        }
    }
}

//! The proxy of one worker, and what its requests share.

use std::cell::RefCell;
use std::rc::Rc;

use super::client::Client;
use super::date::Date;
use super::ids::{Entropy, RequestIds};
use super::shortage::Shortages;
use super::trust;
use crate::clock;
use crate::message::ResponseHead;
use crate::model::{
    AccessPolicy, ClientAddress, Failure, ListenerId, ListenerSlot, Protocol, SocketId,
};
use crate::net::Buffers;
use crate::observe::{Record, WorkerMetrics};
use crate::state::{DataPlaneReader, DataPlaneSnapshot};
use crate::upstream::Pool;

/// Handles the requests of one worker.
#[derive(Debug)]
pub struct Proxy {
    pub(super) reader: DataPlaneReader,
    pub(super) pool: Rc<Pool>,
    buffers: Buffers,
    pub(super) metrics: Rc<WorkerMetrics>,
    pub(super) ids: RequestIds,
    pub(super) entropy: Entropy,
    pub(super) shortages: Shortages,
    pub(super) date: Date,
    /// Heads of responses that are not in use, for their memory.
    heads: RefCell<Vec<ResponseHead>>,
}

/// Heads that are kept; more are freed.
const MAX_HEADS: usize = 64;

/// Bytes of text that a kept head has room for; memory beyond is freed.
const KEPT_HEAD: usize = 4 * 1024;

impl Proxy {
    /// A proxy that sends requests over the connections of `pool`.
    pub fn new(
        reader: DataPlaneReader,
        pool: Rc<Pool>,
        buffers: Buffers,
        metrics: Rc<WorkerMetrics>,
    ) -> Self {
        Self {
            reader,
            pool,
            buffers,
            metrics,
            ids: RequestIds::default(),
            entropy: Entropy::default(),
            shortages: Shortages::default(),
            date: Date::default(),
            heads: RefCell::default(),
        }
    }

    /// The metrics of this worker.
    pub fn metrics(&self) -> &Rc<WorkerMetrics> {
        &self.metrics
    }

    /// The free list of this worker's buffers.
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Begins the record of a request. The clock was read when its head was complete.
    #[inline]
    pub(super) fn begin(&self, snapshot: &DataPlaneSnapshot, client: &Client) -> Record {
        let accepted = (client.socket, &client.listener);
        let mut record = self.record(snapshot, client.protocol, accepted, client.peer.client());
        record.request_id = Some(self.ids.next());
        record.transport.clone_from(&client.transport);
        record
    }

    /// Whether a peer is a trusted proxy of the listener that serves the socket now.
    pub fn trusts(&self, socket: SocketId, peer: ClientAddress) -> bool {
        let snapshot = self.reader.load();
        let listener = snapshot.serving(socket);
        listener.is_some_and(|listener| trust::is_trusted(&listener.forwarded, peer))
    }

    /// Records a connection that is closed before anything of it is served. The clock was read.
    pub fn drop_connection(
        &self,
        protocol: Protocol,
        accepted: (SocketId, &(ListenerSlot, ListenerId)),
        client: ClientAddress,
        failure: Failure,
    ) {
        let mut record = self.record(&self.reader.load(), protocol, accepted, client);
        record.failure = Some(failure);
    }

    /// Begins the record of a request or of a connection: of the listener that serves the socket
    /// now, or else of the one that did when the connection was accepted. The clock was read when
    /// the head was complete, or the connection accepted.
    pub(super) fn record(
        &self,
        snapshot: &DataPlaneSnapshot,
        protocol: Protocol,
        (socket, accepted): (SocketId, &(ListenerSlot, ListenerId)),
        client: ClientAddress,
    ) -> Record {
        let (log, id) = match snapshot.serving(socket) {
            Some(listener) => (listener.access_log, (listener.slot, listener.id.clone())),
            None => (AccessPolicy::FAILURES, accepted.clone()),
        };
        let started = clock::last().into_std();
        Record::begin(&self.metrics, log, protocol, started, id, client)
    }

    /// A head for a response, to be cleared by its reader; with the memory of one that was kept, if
    /// there is one.
    pub(super) fn take_head(&self) -> ResponseHead {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps the memory of a head for [`Self::take_head`].
    pub(super) fn keep_head(&self, mut head: ResponseHead) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < MAX_HEADS {
            head.shrink(KEPT_HEAD);
            heads.push(head);
        }
    }
}

//! One connection of HTTP/2 to a target, and how many streams it may have.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::SendStream;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::Request;
use tokio::task::spawn_local;

use super::driver::Driver;
use super::monitor::Monitored;
use super::vitals::Vitals;
use crate::model::{TargetId, UpstreamLimits};
use crate::net::Stream;
use crate::net::descriptors::DescriptorPermit;

/// Most bytes that a target may send on one stream before the client has taken some: enough for
/// 1 Gbit/s over 4 ms there and back, which is a long way within a region.
const STREAM_WINDOW: u32 = 512 * 1024;

/// Bytes of a request's body that wait for the driver on one stream.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that were given up and of which something may still come. The crate's ten would take
/// what comes of others for errors of the target.
const RESET_STREAMS: usize = 1024;

/// How long something may still come of them.
const RESET_INTERVAL: Duration = Duration::from_secs(10);

/// Below the number of streams after which no identifier is left (RFC 9113 section 5.1.1).
const MAX_SERVED: u64 = 1 << 30;

/// A connection. Dropping the last reference to it closes it.
pub(super) struct Http2Connection {
    sender: SendRequest<Bytes>,
    pub(super) vitals: Rc<Vitals>,
    served: Cell<u64>,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
}

impl Http2Connection {
    /// Begins the protocol on a stream, and starts the task of the connection. Does not wait for
    /// the target.
    pub(super) async fn begin(
        stream: Stream,
        policy: &UpstreamLimits,
        target: TargetId,
        descriptor: DescriptorPermit,
    ) -> Result<Self, h2::Error> {
        let vitals = Vitals::new();
        let scheme = if stream.tls().is_some() {
            "https"
        } else {
            "http"
        };
        let stream = Monitored {
            stream,
            vitals: Rc::clone(&vitals),
        };
        let (sender, connection) = builder(policy).handshake(stream).await?;
        spawn_local(Driver::new(
            connection,
            Rc::clone(&vitals),
            target,
            descriptor,
        ));
        Ok(Self {
            sender,
            vitals,
            served: Cell::new(0),
            scheme,
        })
    }

    /// Whether another stream may be begun, ever.
    pub(super) fn is_usable(&self) -> bool {
        if self.vitals.is_over() || self.served.get() >= MAX_SERVED {
            return false;
        }
        // Fails once the target has said GOAWAY; a clone waits for nothing.
        let cx = &mut Context::from_waker(Waker::noop());
        !matches!(self.sender.clone().poll_ready(cx), Poll::Ready(Err(_)))
    }

    /// Most streams at a time: what the target allows may change while it is open.
    pub(super) fn limit(&self, policy: &UpstreamLimits) -> usize {
        let configured = policy.max_streams.get() as usize;
        let of_target = self.sender.current_max_send_streams();
        configured.min(of_target)
    }

    /// How many more streams it may have now.
    pub(super) fn room(&self, policy: &UpstreamLimits) -> usize {
        self.limit(policy).saturating_sub(self.vitals.open())
    }

    /// Whether it carried a stream before.
    pub(super) fn has_served(&self) -> bool {
        self.served.get() > 0
    }

    /// For how long it has been idle; `None` while a stream is open.
    pub(super) fn idle(&self, now: Instant) -> Option<Duration> {
        self.vitals.idle(now)
    }

    /// Whether the target takes extended CONNECT (RFC 8441), as its SETTINGS say.
    pub(super) fn takes_websockets(&self) -> bool {
        self.sender.is_extended_connect_protocol_enabled()
    }

    /// Begins a stream.
    pub(super) fn send(
        &self,
        request: Request<()>,
        is_over: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.served.set(self.served.get() + 1);
        // A sender keeps a stream that waits to be opened alive, even if it is given up: one of its
        // own for each.
        self.sender.clone().send_request(request, is_over)
    }
}

impl fmt::Debug for Http2Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2Connection")
            .field("vitals", &self.vitals)
            .finish_non_exhaustive()
    }
}

fn builder(policy: &UpstreamLimits) -> Builder {
    let max_streams = policy.max_streams.get();
    // Every stream has its window for itself: clients that take nothing cannot use up that of
    // the others.
    let window = u64::from(STREAM_WINDOW) * u64::from(max_streams);
    let window = window.min((1 << 31) - 1) as u32;
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(window)
        .initial_max_send_streams(max_streams as usize)
        .max_header_list_size(policy.max_head as u32)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .reset_stream_duration(RESET_INTERVAL)
        // A count over the life of a connection, and it may live for months.
        .max_local_error_reset_streams(None);
    builder
}

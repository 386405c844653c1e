//! Whether the client is still there while its request is served.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use crate::clock;
use crate::downstream::accepted::CHECK_INTERVAL;
use crate::model::Failure;
use crate::net::{HangUp, Timer};

/// How soon after its request the end of a client's sending side counts as part of it: such a
/// client wants its response.
const HALF_CLOSE_GRACE: Duration = Duration::from_millis(250);

/// What is sent to a client that has ended its sending side, half a second later: one that only
/// reads passes over it (RFC 9110 section 15.2), one that has closed answers with a reset. Nothing
/// else tells them apart.
const PROBE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Notices that a client goes away, although bytes that it has sent ahead are not read. A client
/// that only ends its sending side has gone if `abort_on_close` is set and its request was complete
/// for longer than [`HALF_CLOSE_GRACE`].
#[derive(Debug)]
pub(super) struct Departure {
    /// When bytes of the request came last.
    received: Instant,
    abort_on_close: bool,
    /// How often the kernel was asked.
    checks: u32,
    /// How many checks there had been when it was found that the client had ended its sending side
    /// and still wants its response.
    half_closed: Option<u32>,
    check_at: Instant,
    /// Whether the socket was looked at since the request came.
    has_looked: bool,
    timer: Timer,
}

impl Departure {
    pub(super) fn new(now: Instant, abort_on_close: bool) -> Self {
        Self {
            received: now,
            abort_on_close,
            checks: 0,
            half_closed: None,
            check_at: now + CHECK_INTERVAL,
            has_looked: false,
            timer: Timer::default(),
        }
    }

    /// Notes that a part of the request has come.
    pub(super) fn note_received(&mut self) {
        self.received = clock::now();
    }

    /// Ready once the client has gone. Reads ahead what the client sends, up to a bound.
    /// `may_probe` is whether an interim response may be sent now.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        may_probe: bool,
    ) -> Poll<Failure> {
        while self.half_closed.is_none() && !connection.input.is_full() {
            let filled = connection.poll_fill(cx);
            if filled.is_pending() {
                self.has_looked = true;
            }
            match ready!(filled) {
                Ok(0) if self.is_part_of_the_request() => self.half_closed = Some(self.checks),
                Ok(0) | Err(_) => return Poll::Ready(Failure::ClientGone),
                Ok(_) => {}
            }
        }
        self.poll_hang_up(cx, connection, may_probe, false)
    }

    /// Whether an end that is found now may have come soon after the request.
    fn is_part_of_the_request(&self) -> bool {
        !self.abort_on_close || !self.has_looked || self.received.elapsed() <= HALF_CLOSE_GRACE
    }

    /// As [`Self::poll`] without reading: asks the kernel every [`CHECK_INTERVAL`], because no
    /// event tells of an end behind bytes that are not read.
    pub(super) fn poll_hang_up(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        may_probe: bool,
        is_sending: bool,
    ) -> Poll<Failure> {
        loop {
            ready!(self.timer.poll(cx, self.check_at));
            self.check_at = clock::now() + CHECK_INTERVAL;
            self.checks += 1;
            match connection.stream.hang_up() {
                HangUp::Closed => return Poll::Ready(Failure::ClientGone),
                HangUp::None => {}
                // The first check finds an end that came behind more than is read ahead.
                HangUp::SendingSide
                    if self.half_closed.is_some() || self.checks == 1 || is_sending =>
                {
                    self.half_closed.get_or_insert(self.checks);
                }
                HangUp::SendingSide if self.abort_on_close => {
                    return Poll::Ready(Failure::ClientGone);
                }
                HangUp::SendingSide => self.half_closed = Some(self.checks),
            }
            if may_probe && self.half_closed.is_some_and(|at| self.checks == at + 2) {
                connection.writer().extend_from_slice(PROBE);
                // Pending or not: the next check tells.
                let _ = connection.poll_drain(cx);
            }
        }
    }
}

//! An upgraded connection: bytes both ways until both sides have ended (RFC 9110
//! section 7.8).
//!
//! Each direction has backpressure and one buffer, which exists only while bytes are in
//! flight, so that an idle WebSocket costs two sockets and little else. The end of one
//! direction is passed on and leaves the other open. What neither side ends is ended here:
//! when nothing comes for too long, when the target is released, or when Weir goes away;
//! a WebSocket is told so in its own words.

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{Response, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep_until, timeout};

use super::forward::Answered;
use super::headers::prepare_response;
use super::response_body::ResponseBody;
use super::upgrade::Upgrade;
use super::websocket::{self, Frames};
use crate::model::{Failure, Lease, Verdict};
use crate::net::Watch;
use crate::net::descriptors::Taken;
use crate::observe::{OpenTunnel, Record};

/// Bytes in flight in one direction, beyond the sockets' own buffers.
const BUFFER: usize = 16 * 1024;

/// How often a tunnel looks whether it has to end.
const LOOK: Duration = Duration::from_secs(1);

/// How long a side that is told to go has to say that it goes.
const FAREWELL: Duration = Duration::from_secs(1);

/// A target's side of an upgraded connection. It carries all that must last as long: the
/// target is loaded, and the request is not over.
#[derive(Debug)]
pub struct Tunnel {
    target: TcpStream,
    /// The target's, until the tunnel ends.
    _descriptor: Taken,
    /// What the target sent beyond the head of its 101.
    early: Bytes,
    lease: Lease,
    idle: Duration,
    is_websocket: bool,
    account: Account,
}

/// What has come through, for the record. Written down however the tunnel ends.
#[derive(Debug)]
struct Account {
    record: Record,
    _open: OpenTunnel,
    received: Cell<u64>,
    sent: Cell<u64>,
    last: Cell<Instant>,
}

impl Drop for Account {
    fn drop(&mut self) {
        self.record.received = self.received.get();
        self.record.sent = self.sent.get();
    }
}

impl Tunnel {
    /// Takes the connection of a target that has switched protocols; the response is for
    /// the client. Gives the record back if the connection broke.
    pub async fn open(
        answered: Answered,
        mut record: Record,
        watch: Rc<Watch>,
    ) -> Result<(Response<ResponseBody>, Self), Record> {
        let Answered {
            mut head,
            checkout,
            lease,
            idle,
            ..
        } = answered;
        let Some(switched) = checkout.switch(&mut head).await else {
            return Err(record);
        };
        // Now, not at the end: what a tunnel lives to see says nothing of the target.
        lease.target().report(Verdict::Served);
        record.status = Some(StatusCode::SWITCHING_PROTOCOLS);
        let protocol = Upgrade::chosen(head.headers());
        let tunnel = Self {
            target: switched.stream,
            early: switched.early,
            _descriptor: switched.descriptor,
            lease,
            idle,
            is_websocket: protocol.is_some_and(|protocol| protocol.is_websocket()),
            account: Account {
                _open: record.tunnel(),
                record,
                received: Cell::new(0),
                sent: Cell::new(0),
                last: Cell::new(Instant::now()),
            },
        };
        let id = tunnel.account.record.request_id.clone();
        let (mut parts, _) = head.into_parts();
        prepare_response(&mut parts, id);
        let body = ResponseBody::switched(watch);
        Ok((Response::from_parts(parts, body), tunnel))
    }

    /// Passes bytes on until both sides have ended, or one is gone, or it has to end;
    /// `closing` resolves with the reason when that is not the tunnel's own. `early` is what
    /// the client sent before it had its answer.
    ///
    /// Cancel safety: dropping the future resets both sides.
    pub async fn run(
        mut self,
        mut client: TcpStream,
        early: Bytes,
        closing: impl Future<Output = Failure>,
    ) {
        let account = &self.account;
        let (from_client, to_client) = client.split();
        let (from_target, to_target) = self.target.split();
        let frames = || self.is_websocket.then(Frames::default);
        let mut up = Way {
            from: from_client,
            to: to_target,
            frames: frames(),
            broken: [Failure::ClientGone, Failure::TargetBodyBroken],
            passed: &account.received,
            last: &account.last,
            unsent: held(early),
            is_over: false,
            failure: None,
        };
        let mut down = Way {
            from: from_target,
            to: to_client,
            frames: frames(),
            broken: [Failure::TargetBodyBroken, Failure::ClientGone],
            passed: &account.sent,
            last: &account.last,
            unsent: held(std::mem::take(&mut self.early)),
            is_over: false,
            failure: None,
        };
        let outcome = tokio::select! {
            biased;
            outcome = pass(&mut up, &mut down) => outcome.map_err(|failure| (failure, false)),
            failure = due(closing, &self.lease, account, self.idle) => Err((failure, true)),
        };
        if let Err((_, true)) = outcome {
            let to_target = websocket::close_for_target(fastrand::u32(..).to_ne_bytes());
            let to_client = websocket::close_for_client();
            let farewell = async { tokio::join!(up.close(&to_target), down.close(&to_client)) };
            // A side that takes no more or says no more has been told, and that is all.
            let _ = timeout(FAREWELL, farewell).await;
            let _ = tokio::join!(up.to.shutdown(), down.to.shutdown());
        }
        let record = &mut self.account.record;
        match outcome {
            Ok(()) => record.complete = true,
            Err((failure, _)) => record.failure = Some(failure),
        }
    }
}

/// Bytes that came early. None of them may still hold a buffer.
fn held(early: Bytes) -> BytesMut {
    if early.is_empty() {
        return BytesMut::new();
    }
    early.into()
}

/// Both ways until both are over, or the first of them breaks.
async fn pass(up: &mut Way<'_>, down: &mut Way<'_>) -> Result<(), Failure> {
    tokio::try_join!(up.pass(), down.pass())?;
    up.failure.or(down.failure).map_or(Ok(()), Err)
}

/// Resolves when a tunnel has to end that nobody has ended, with the reason.
async fn due(
    closing: impl Future<Output = Failure>,
    lease: &Lease,
    account: &Account,
    idle: Duration,
) -> Failure {
    let mut closing = pin!(closing);
    loop {
        let look = Instant::now() + LOOK;
        let idle_end = account.last.get() + idle;
        tokio::select! {
            biased;
            reason = &mut closing => return reason,
            () = sleep_until(look.min(idle_end)) => {}
        }
        if lease.target().is_released() {
            return Failure::TargetReleased;
        }
        if account.last.get().elapsed() >= idle {
            return Failure::TunnelTimeout;
        }
    }
}

/// One direction.
struct Way<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    /// Where in a frame the written bytes end; `None` if it is not a WebSocket.
    frames: Option<Frames>,
    /// What has happened when reading fails, and when writing does.
    broken: [Failure; 2],
    passed: &'a Cell<u64>,
    last: &'a Cell<Instant>,
    /// Read and not yet written.
    unsent: BytesMut,
    /// The end of one side was passed on to the other, or could not be.
    is_over: bool,
    /// Writing has failed.
    failure: Option<Failure>,
}

impl Way<'_> {
    /// Passes bytes on until there are no more, then the end.
    ///
    /// Cancel-safe: what was read and not written is in `unsent`.
    async fn pass(&mut self) -> Result<(), Failure> {
        let [reading, writing] = self.broken;
        while !self.is_over {
            if self.send().await.is_err() {
                // Whoever takes nothing more may have said something before, which the other
                // direction passes on until it finds out too.
                self.is_over = true;
                self.failure = Some(writing);
                return Ok(());
            }
            self.is_over = !self.receive().await.map_err(|_| reading)?;
        }
        // Gone already if it fails.
        let _ = self.to.shutdown().await;
        Ok(())
    }

    /// Writes all there is. Cancel-safe.
    async fn send(&mut self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        while !self.unsent.is_empty() {
            let len = self.to.write(&self.unsent).await?;
            if let Some(frames) = &mut self.frames {
                frames.follow(&self.unsent[..len]);
            }
            self.unsent.advance(len);
            self.passed.set(self.passed.get() + len as u64);
        }
        self.last.set(Instant::now());
        self.unsent = BytesMut::new();
        Ok(())
    }

    /// Waits for bytes; false at the end. Cancel-safe.
    async fn receive(&mut self) -> io::Result<bool> {
        loop {
            // Reading alone is not counted, and whoever sends without end would have the
            // worker for himself.
            consume_budget().await;
            self.from.readable().await?;
            let mut buffer = BytesMut::with_capacity(BUFFER);
            match self.from.try_read_buf(&mut buffer) {
                Ok(len) => {
                    self.unsent = buffer;
                    self.last.set(Instant::now());
                    return Ok(len > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends this direction: what has begun is passed on to its end, `goodbye` follows if
    /// the other side knows such a thing, and the rest is read until this side ends too.
    async fn close(&mut self, goodbye: &[u8]) -> io::Result<()> {
        if self.is_over {
            return Ok(());
        }
        self.finish_frame().await?;
        match &self.frames {
            None => self.to.shutdown().await?,
            // Nothing may follow a Close frame (RFC 6455 section 5.5.1).
            Some(frames) if frames.is_closed() => {}
            Some(_) => self.to.write_all(goodbye).await?,
        }
        loop {
            if let Some(frames) = &mut self.frames {
                frames.follow(&self.unsent);
                if frames.is_closed() {
                    return Ok(());
                }
            }
            if !self.receive().await? {
                return Ok(());
            }
        }
    }

    /// Passes on what is left of the frame that has begun; without frames, what was read.
    async fn finish_frame(&mut self) -> io::Result<()> {
        loop {
            let begun = match &self.frames {
                Some(frames) => frames.rest_of_frame(&self.unsent),
                None => self.unsent.len(),
            };
            let rest = self.unsent.split_off(begun);
            self.send().await?;
            self.unsent = rest;
            let is_between = self.frames.as_ref().is_none_or(Frames::is_between);
            if is_between || !self.receive().await? {
                return Ok(());
            }
        }
    }
}

//! What two processes say to each other during a handover.
//!
//! The new process says [`HandoverMessage::Hello`] first, and is given nothing before. After
//! that either side may send at any time. A message that this version does not know is
//! skipped: a later version may say more, and must do without an answer to it.
//!
//! Each side reads and writes in tasks of their own, so that two processes that write at the
//! same time never wait for each other, however much they have to say.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use super::STEP_TIMEOUT;
use crate::net::handover;
use crate::state::UsedTokens;

/// What the two processes say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HandoverMessage {
    /// From the new one: it wants the sockets.
    Hello,
    /// From the old one: sockets of the listener with this name, and this address in the
    /// configuration.
    Listener(String, SocketAddr),
    /// From the old one: the socket of the admin listener.
    Admin(SocketAddr),
    /// From the old one: how many replicas this group is to have.
    Replicas(String, u32),
    /// From the old one: the connection to the first process of a container.
    InitProcess,
    /// From the old one: what clients have used of the rate limit of this listener, a part
    /// of it in each message.
    UsedTokens(String, UsedTokens),
    /// From the old one: that was all that a start needs.
    Done,
    /// From the new one: it serves, under this process id.
    Serving(i32),
    /// From the old one: whether all workers of the new one still turn.
    Check(u64),
    /// From the new one: they do; the answer to the check with this number.
    Alive(u64),
    /// From the old one: it shuts down now, and the new one is the one that runs.
    Confirmed,
    /// From the old one: it goes on, and the new one is to end.
    Refused(String),
    /// From both: how many requests the sender has in flight, of those targets for which it
    /// is another number than before.
    InFlight(Vec<InFlight>),
}

/// Requests in flight on one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InFlight {
    pub(super) group: String,
    pub(super) target: SocketAddr,
    pub(super) count: u32,
}

/// A message with the descriptors that belong to it.
pub(super) type Envelope = (HandoverMessage, Vec<OwnedFd>);

/// Messages that wait to be written, or to be looked at.
const WAITING: usize = 64;

/// Where messages to the other process go in. The connection ends with the last one.
#[derive(Clone, Debug)]
pub(super) struct Outbox(mpsc::Sender<Envelope>);

/// Where its messages come out.
#[derive(Debug)]
pub(super) struct Inbox(mpsc::Receiver<Envelope>);

/// Starts to read from and write to another process. Both tasks end with the connection, and
/// that ends when the last outbox was dropped and what it held is written.
pub(super) fn exchange(stream: UnixStream) -> (Outbox, Inbox) {
    let stream = Arc::new(stream);
    let (outbox, outgoing) = mpsc::channel(WAITING);
    let (incoming, inbox) = mpsc::channel(WAITING);
    tokio::spawn(write_all(Arc::clone(&stream), outgoing));
    tokio::spawn(read_all(stream, incoming));
    (Outbox(outbox), Inbox(inbox))
}

impl Outbox {
    /// Sends a message, as soon as those before it are sent. Fails if the connection has
    /// ended, or the other process does not read.
    pub(super) async fn send(
        &self,
        message: HandoverMessage,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<()> {
        let sent = self.0.send((message, descriptors)).await;
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Sends a message, unless too many wait already. Whether it did.
    pub(super) fn try_send(&self, message: HandoverMessage) -> bool {
        self.0.try_send((message, Vec::new())).is_ok()
    }
}

impl Inbox {
    /// The next message; `None` once the connection has ended. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Envelope> {
        self.0.recv().await
    }

    /// The next message, which must come in time.
    pub(super) async fn next_in_time(&mut self) -> io::Result<Envelope> {
        let next = timeout(STEP_TIMEOUT, self.next()).await;
        let next = next.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        next.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

async fn write_all(stream: Arc<UnixStream>, mut outgoing: mpsc::Receiver<Envelope>) {
    while let Some((message, descriptors)) = outgoing.recv().await {
        let written = timeout(STEP_TIMEOUT, send(&stream, &message, &descriptors)).await;
        let written = written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if let Err(error) = written {
            debug!(%error, "the other process does not read");
            break;
        }
    }
    // Tells the reader, here and there. Fails if the connection has ended already.
    let _ = rustix::net::shutdown(&*stream, rustix::net::Shutdown::Both);
}

async fn read_all(stream: Arc<UnixStream>, incoming: mpsc::Sender<Envelope>) {
    loop {
        let message = tokio::select! {
            message = receive(&stream) => message,
            // What waits to be written still is.
            () = incoming.closed() => return,
        };
        match message {
            Ok(Some(Some(envelope))) => {
                if incoming.send(envelope).await.is_err() {
                    return;
                }
            }
            Ok(Some(None)) => {}
            Ok(None) => break,
            Err(error) => {
                debug!(%error, "the other process cannot be understood");
                break;
            }
        }
    }
    let _ = rustix::net::shutdown(&*stream, rustix::net::Shutdown::Both);
}

/// Writes one message.
pub(super) async fn send(
    stream: &UnixStream,
    message: &HandoverMessage,
    descriptors: &[OwnedFd],
) -> io::Result<()> {
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    handover::send(stream, &serde_json::to_vec(message)?, &descriptors).await
}

/// Reads one message: `None` at the end, `Some(None)` for one that this version does not
/// know.
async fn receive(stream: &UnixStream) -> io::Result<Option<Option<Envelope>>> {
    let Some((text, descriptors)) = handover::receive(stream).await? else {
        return Ok(None);
    };
    match serde_json::from_slice(&text) {
        Ok(message) => Ok(Some(Some((message, descriptors)))),
        Err(error) if serde_json::from_slice::<serde_json::Value>(&text).is_ok() => {
            debug!(%error, "a message of another version is skipped");
            Ok(Some(None))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_of_a_later_version_is_skipped() {
        let (here, there) = UnixStream::pair().unwrap();
        let (_outbox, mut inbox) = exchange(there);
        let unknown = [
            r#"{"rate_limits":[1,2]}"#,
            r#""goodbye""#,
            r#"{"serving":"x"}"#,
        ];
        for text in unknown {
            handover::send(&here, text.as_bytes(), &[]).await.unwrap();
        }
        send(&here, &HandoverMessage::Serving(7), &[])
            .await
            .unwrap();
        let (message, _) = inbox.next().await.unwrap();
        assert_eq!(message, HandoverMessage::Serving(7));
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_connection() {
        let (here, there) = UnixStream::pair().unwrap();
        let (outbox, mut inbox) = exchange(there);
        handover::send(&here, b"GET / HTTP/1.1", &[]).await.unwrap();
        assert!(inbox.next().await.is_none());
        assert!(handover::receive(&here).await.unwrap().is_none());
        drop(outbox);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_does_not_read_holds_nothing_up_for_long() {
        let (here, _there) = UnixStream::pair().unwrap();
        let (outbox, mut inbox) = exchange(here);
        let message = || HandoverMessage::Refused("x".repeat(10_000));
        // More than any buffer holds.
        while outbox.send(message(), Vec::new()).await.is_ok() {}
        assert!(inbox.next().await.is_none());
    }

    #[tokio::test]
    async fn both_may_write_more_than_fits_before_either_reads() {
        let (here, there) = UnixStream::pair().unwrap();
        let (here, mut inbox) = exchange(here);
        let (there, mut others) = exchange(there);
        let message = || HandoverMessage::Refused("x".repeat(10_000));
        let write = async |outbox: &Outbox| {
            for _ in 0..500 {
                outbox.send(message(), Vec::new()).await.unwrap();
            }
        };
        let read = async |inbox: &mut Inbox| {
            for _ in 0..500 {
                assert!(inbox.next().await.is_some());
            }
        };
        tokio::join!(
            write(&here),
            write(&there),
            read(&mut inbox),
            read(&mut others)
        );
    }
}

//! The messages that two processes exchange during a handover.
//!
//! The new process sends [`HandoverMessage::Hello`] first, and is sent nothing before. After
//! that either side may send at any time. A message that this version does not know is
//! skipped: a later version may send more, and must do without an answer to it.
//!
//! Each side reads and writes in tasks of their own, so that two processes that write at the
//! same time never wait for each other, however much they send.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use super::timing::STEP_TIMEOUT;
use crate::model::Endpoint;
use crate::net::{FileIdentity, pass_sockets};
use crate::rate_limit::UsedTokens;

/// A message, as JSON on the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HandoverMessage {
    /// From the new one: it asks for the sockets.
    Hello,
    /// From the old one: sockets of the listener with this name, and this address in the
    /// configuration.
    Listener(String, Endpoint),
    /// From the old one: the file of the Unix socket of the listener with this name at this
    /// endpoint.
    SocketFile(String, Endpoint, FileIdentity),
    /// From the old one: the socket of the admin listener.
    Admin(SocketAddr),
    /// From the old one: the desired count of replicas of this group.
    Replicas(String, u32),
    /// From the old one: the connection to the first process of a container.
    InitProcess,
    /// From the old one: what clients have used of the rate limit of this listener, a part
    /// of it in each message.
    UsedTokens(String, UsedTokens),
    /// From the old one: all that a start needs was sent.
    Done,
    /// From the new one: it serves. Its process id.
    Serving(i32),
    /// From the old one: a check with this number, to be answered when all workers of the new
    /// one have answered.
    Check(u64),
    /// From the new one: the answer to the check with this number.
    Alive(u64),
    /// From the old one: it shuts down now, and the new one takes its place.
    Confirmed,
    /// From the old one: it goes on, for this reason, and the new one is to end.
    Refused(String),
    /// From both: the sender's requests in flight, of those targets where they have changed.
    InFlight(Vec<InFlight>),
}

/// Requests in flight on one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InFlight {
    pub(super) group: String,
    pub(super) target: Endpoint,
    pub(super) count: u32,
}

/// A message with the descriptors that belong to it.
pub(super) type Envelope = (HandoverMessage, Vec<OwnedFd>);

/// Capacity of the queue in each direction, in messages.
const QUEUE: usize = 64;

/// Sends messages to the other process. The connection ends with its last clone.
#[derive(Clone, Debug)]
pub(super) struct Outbox(mpsc::Sender<Envelope>);

/// Receives the messages of the other process.
#[derive(Debug)]
pub(super) struct Inbox(mpsc::Receiver<Envelope>);

/// Starts to read from and write to another process. Both tasks end with the connection, which
/// ends when the last outbox was dropped and its messages are written.
pub(super) fn exchange(stream: UnixStream) -> (Outbox, Inbox) {
    let stream = Arc::new(stream);
    let (outbox, outgoing) = mpsc::channel(QUEUE);
    let (incoming, inbox) = mpsc::channel(QUEUE);
    tokio::spawn(write_all(Arc::clone(&stream), outgoing));
    tokio::spawn(read_all(stream, incoming));
    (Outbox(outbox), Inbox(inbox))
}

impl Outbox {
    /// Sends a message after those before it. Fails if the connection has ended, or the other
    /// process does not read.
    pub(super) async fn send(
        &self,
        message: HandoverMessage,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<()> {
        let sent = self.0.send((message, descriptors)).await;
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Sends a message, unless too many wait already. Returns whether it did.
    pub(super) fn try_send(&self, message: HandoverMessage) -> bool {
        self.0.try_send((message, Vec::new())).is_ok()
    }
}

impl Inbox {
    /// The next message; `None` once the connection has ended. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Envelope> {
        self.0.recv().await
    }

    /// The next message, which must come within [`STEP_TIMEOUT`].
    pub(super) async fn next_in_time(&mut self) -> io::Result<Envelope> {
        timeout(STEP_TIMEOUT, self.next())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
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
    // Ends the readers of both processes. Fails if the connection has ended already.
    let _ = rustix::net::shutdown(&*stream, rustix::net::Shutdown::Both);
}

async fn read_all(stream: Arc<UnixStream>, incoming: mpsc::Sender<Envelope>) {
    loop {
        let message = tokio::select! {
            message = receive(&stream) => message,
            // The messages in the outbox are still written.
            () = incoming.closed() => return,
        };
        match message {
            Ok(Received::Message(envelope)) => {
                if incoming.send(envelope).await.is_err() {
                    return;
                }
            }
            Ok(Received::Unknown) => {}
            Ok(Received::End) => break,
            Err(error) => {
                debug!(%error, "the other process sent no message of the protocol");
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
    pass_sockets::send(stream, &serde_json::to_vec(message)?, &descriptors).await
}

/// The result of a read.
enum Received {
    Message(Envelope),
    /// A message that this version does not know.
    Unknown,
    /// The connection has ended.
    End,
}

/// Reads one message.
async fn receive(stream: &UnixStream) -> io::Result<Received> {
    let Some((text, descriptors)) = pass_sockets::receive(stream).await? else {
        return Ok(Received::End);
    };
    match serde_json::from_slice(&text) {
        Ok(message) => Ok(Received::Message((message, descriptors))),
        Err(error) if serde_json::from_slice::<serde_json::Value>(&text).is_ok() => {
            debug!(%error, "a message of another version is skipped");
            Ok(Received::Unknown)
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
            pass_sockets::send(&here, text.as_bytes(), &[])
                .await
                .unwrap();
        }
        send(&here, &HandoverMessage::Serving(7), &[])
            .await
            .unwrap();
        let (message, _) = inbox.next().await.unwrap();
        assert_eq!(message, HandoverMessage::Serving(7));
    }

    #[tokio::test]
    async fn a_text_that_is_no_message_ends_the_connection() {
        let (here, there) = UnixStream::pair().unwrap();
        let (outbox, mut inbox) = exchange(there);
        pass_sockets::send(&here, b"GET / HTTP/1.1", &[])
            .await
            .unwrap();
        assert!(inbox.next().await.is_none());
        assert!(pass_sockets::receive(&here).await.unwrap().is_none());
        drop(outbox);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_does_not_read_delays_the_sender_for_a_limited_time() {
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

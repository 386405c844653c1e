//! Looks at the first bytes of a socket and leaves them in it.

use std::io;

use rustix::net::RecvFlags;
use tokio::io::Interest;

use super::socket::{HangUp, Socket};

/// Room for the first bytes of most clients. Doubled while more is needed.
const FIRST_LOOK: usize = 256;

impl Socket {
    /// Waits until `decide`, which gets all bytes that have arrived so far, needs no more of them.
    /// Takes none of them out of the stream. Returns `None` if the stream ends before that, or has
    /// brought `limit` bytes.
    ///
    /// Cancel-safe.
    pub async fn peek_until<T>(
        &self,
        limit: usize,
        mut decide: impl FnMut(&[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let mut buffer = vec![0; FIRST_LOOK.min(limit)];
        let mut seen = 0;
        loop {
            self.readable().await?;
            let count = match self.try_peek(&mut buffer, seen) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                count => count?,
            };
            let is_more = count > seen;
            seen = count;
            if is_more && let Some(decision) = decide(&buffer[..count]) {
                return Ok(Some(decision));
            }
            if !is_more || count == limit {
                return Ok(None);
            }
            if count == buffer.len() {
                buffer.resize((2 * count).min(limit), 0);
            }
        }
    }

    /// Copies what has arrived, and returns how much that is; as much as was `seen` at the end of the
    /// stream. If there is nothing new, the runtime is told so, and waits for the next bytes.
    fn try_peek(&self, buffer: &mut [u8], seen: usize) -> io::Result<usize> {
        self.try_io(Interest::READABLE, || {
            let (count, _) = rustix::net::recv(self, &mut *buffer, RecvFlags::PEEK)?;
            let is_open = || self.hang_up() == HangUp::None;
            if count > 0 && count == seen && count < buffer.len() && is_open() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(count)
        })
    }

    /// Takes `count` bytes out of the stream, which [`Self::peek_until`] has seen.
    pub fn skip(&self, count: usize) -> io::Result<()> {
        let mut left = count;
        let mut taken = [0; 1024];
        while left > 0 {
            let room = left.min(taken.len());
            match rustix::net::recv(self, &mut taken[..room], RecvFlags::empty())? {
                (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
                (count, _) => left -= count,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;
    use tokio::time::timeout;

    use super::*;

    fn pair() -> (UnixStream, Socket) {
        let (client, server) = UnixStream::pair().unwrap();
        (client, Socket::Unix(server))
    }

    #[tokio::test]
    async fn bytes_that_come_one_by_one_are_seen_together_and_stay() {
        let (mut client, server) = pair();
        let text: Vec<u8> = (0..1000).map(|n| n as u8).collect();
        let sent = text.clone();
        let looks = tokio::spawn(async move {
            let mut looks = 0;
            let seen = server.peek_until(4096, |bytes| {
                looks += 1;
                (bytes.len() == 1000).then(|| bytes.to_vec())
            });
            let seen = seen.await.unwrap();
            (seen, server, looks)
        });
        // The kernel has room for some hundred small messages.
        let (first, rest) = sent.split_at(100);
        for byte in first {
            client.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        client.write_all(rest).await.unwrap();
        let (seen, server, looks) = looks.await.unwrap();
        assert_eq!(seen, Some(text.clone()));
        assert!(looks <= 110, "looked {looks} times at 101 messages");
        server.skip(998).unwrap();
        let rest = server.peek_until(10, |bytes| (bytes.len() == 2).then(|| bytes.to_vec()));
        assert_eq!(rest.await.unwrap(), Some(text[998..].to_vec()));
    }

    #[tokio::test]
    async fn a_stream_that_ends_too_early_is_not_waited_for() {
        let (mut client, server) = pair();
        client.write_all(b"half").await.unwrap();
        let decide = |bytes: &[u8]| (bytes.len() > 4).then_some(());
        let waits = server.peek_until(100, decide);
        let waits = timeout(Duration::from_millis(20), waits).await;
        assert!(waits.is_err(), "more may come");
        client.shutdown().await.unwrap();
        assert_eq!(server.peek_until(100, decide).await.unwrap(), None);
        let (client, server) = pair();
        drop(client);
        assert_eq!(server.peek_until(100, decide).await.unwrap(), None);
    }

    #[tokio::test]
    async fn no_more_than_the_limit_is_looked_at() {
        let (mut client, server) = pair();
        client.write_all(&[7; 600]).await.unwrap();
        let mut most = 0;
        let decided: Option<()> = server
            .peek_until(500, |bytes| {
                most = bytes.len();
                None
            })
            .await
            .unwrap();
        assert_eq!((decided, most), (None, 500));
    }
}

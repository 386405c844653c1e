//! The end of a connection whose client may still be sending.

use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::net::{Buffers, Input, Stream, Timer};

/// Longest time in which bytes of a client that still sends are read and discarded after the last
/// response. Closing at once would reset its connection and could destroy the response on its way.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// Most bytes that are discarded, beyond those that have been received already.
const MAX_DISCARDED: usize = 1024 * 1024;

/// Ends the sending side, and reads until the client has ended its own, or for a while.
pub(super) async fn linger(stream: &mut Stream, buffers: &Buffers) -> io::Result<()> {
    stream.shutdown_write()?;
    let until = Instant::now() + LINGER_TIMEOUT;
    let mut left = MAX_DISCARDED.saturating_add(stream.received().unwrap_or_default());
    let mut input = Input::default();
    let mut timer = Timer::default();
    let ended = poll_fn(|cx| {
        while left > 0 {
            let Poll::Ready(received) = input.poll_fill(cx, stream, buffers) else {
                // A client that is still sending then is not waited for.
                ready!(timer.poll(cx, until));
                break;
            };
            let count = received?;
            if count == 0 {
                break;
            }
            input.consume(count);
            left = left.saturating_sub(count);
        }
        Poll::Ready(Ok(()))
    });
    let ended = ended.await;
    input.clear();
    input.release(buffers);
    ended
}

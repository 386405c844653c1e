//! Reads the head of the next request, within its limits and deadlines.

use std::future::poll_fn;
use std::task::{Poll, ready};

use tokio::time::Instant;

use super::connection::Connection;
use crate::http1::{Limits, Parsed, Reason, Scan, parse_request};
use crate::message::RequestHead;
use crate::model::ClientLimits;
use crate::net::Timer;

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadError {
    /// The client has ended the connection, or sent nothing in time. There is nothing to answer.
    Ended,
    /// The head did not come in time.
    TimedOut,
    /// The bytes are no request that can be read, for this reason.
    Malformed(Reason),
}

/// Reads a head, of which some bytes may be in the connection's input already. `idle_timeout` holds
/// until its first byte, `head_timeout` from then on.
pub(super) async fn read_head(
    connection: &mut Connection,
    head: &mut RequestHead,
    parsing: &Limits,
    limits: &ClientLimits,
    timer: &mut Timer,
) -> Result<Parsed, HeadError> {
    let mut scan = Scan::default();
    let mut deadline = None;
    poll_fn(|cx| {
        loop {
            let bytes = connection.input.unread();
            if !bytes.is_empty() {
                let parsed = parse_request(bytes, &mut scan, parsing, head)
                    .map_err(|violation| HeadError::Malformed(violation.reason))?;
                if let Some(parsed) = parsed {
                    connection.input.consume(parsed.length);
                    return Poll::Ready(Ok(parsed));
                }
            }
            match connection.poll_fill(cx) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Err(HeadError::Ended)),
                Poll::Pending => {
                    let within = if scan.has_begun() {
                        limits.head_timeout
                    } else {
                        limits.idle_timeout
                    };
                    let (begun, within) = *deadline
                        .get_or_insert_with(|| (scan.has_begun(), Instant::now() + within));
                    if begun != scan.has_begun() {
                        deadline = None;
                        continue;
                    }
                    ready!(timer.poll(cx, within));
                    return Poll::Ready(Err(if begun {
                        HeadError::TimedOut
                    } else {
                        HeadError::Ended
                    }));
                }
            }
        }
    })
    .await
}

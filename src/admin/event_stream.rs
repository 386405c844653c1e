//! Streams of server-sent events: for those that ask for `text/event-stream`.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::{ACCEPT, HeaderMap};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;

use super::call::{Call, closed};
use super::problem::RefusedRequest;
use super::response::typed;
use crate::model::escape_json;

/// The number of the last event that a client of a stream has.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// From one sign of life of a stream to the next.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// Where the pieces of a stream come from.
pub(super) trait Source: Send + 'static {
    /// Waits for the next piece, which is whole events; `None` if the client was too slow, or no
    /// more will come. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

struct EventStream<S> {
    source: S,
    closing: watch::Receiver<bool>,
    is_begun: bool,
}

/// Whether a client asks for a stream.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter();
    accepted.any(|value| {
        let value = value.to_str().unwrap_or_default();
        value.contains("text/event-stream")
    })
}

/// After which event to begin, of those up to number `last`: a client that connects again to a
/// stream says it in a field, others in the query.
pub(super) fn since(call: &Call, last: u64) -> Result<Option<u64>, RefusedRequest> {
    let resumed = call.headers.get(LAST_EVENT_ID);
    let resumed = resumed.and_then(|value| value.to_str().ok()?.parse().ok());
    // Without the field, or with one that no stream of this process has sent.
    match resumed {
        Some(sequence) if sequence <= last => Ok(Some(sequence)),
        Some(_) | None => call.number("since"),
    }
}

/// Adds an event to a piece.
pub(super) fn write(piece: &mut String, id: u64, kind: &str, event: &impl Serialize) {
    // A struct of texts and numbers is always written, in one line.
    let json = serde_json::to_string(event).unwrap_or_default();
    // Writing into a String does not fail.
    let _ = write!(
        piece,
        "id: {id}\nevent: {kind}\ndata: {}\n\n",
        escape_json(&json)
    );
}

/// A response that lasts until the source or the listener ends.
pub(super) fn response(source: impl Source, call: &Call) -> Response<Body> {
    let state = EventStream {
        source,
        closing: call.closing.clone(),
        is_begun: false,
    };
    let pieces = unfold(state, async |mut state| {
        let piece = state.next().await?;
        Some((Ok::<_, Infallible>(piece), state))
    });
    let mut response = typed(StatusCode::OK, EVENT_STREAM, "");
    *response.body_mut() = Body::from_stream(pieces);
    response
}

impl<S: Source> EventStream<S> {
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.is_begun, true) {
            // The head is sent with the first piece.
            return Some(Bytes::from_static(b": events follow\n\n"));
        }
        tokio::select! {
            piece = timeout(HEARTBEAT_INTERVAL, self.source.next()) => match piece {
                Ok(piece) => piece,
                Err(_) => Some(Bytes::from_static(b":\n\n")),
            },
            () = closed(&mut self.closing) => None,
        }
    }
}

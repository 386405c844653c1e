//! A request to the admin API, read to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, Request};
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::timeout;

use super::context::Context;
use super::problem::{Kind, RefusedRequest};
use super::status_feed::StatusFeed;

/// Most bytes of a request body: the largest object is a request that is to be explained, with its
/// header fields.
pub(super) const MAX_BODY: usize = 16 * 1024;

/// For the body to arrive after its head.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What each request knows of its connection.
#[derive(Clone, Debug)]
pub(super) struct Connected {
    pub(super) peer: SocketAddr,
    /// Whether the listener ends.
    pub(super) closing: watch::Receiver<bool>,
    /// The status as a stream.
    pub(super) feed: Arc<StatusFeed>,
}

/// Resolves when the listener ends. Cancel-safe.
pub(super) async fn closed(closing: &mut watch::Receiver<bool>) {
    // If the sender is gone, the listener has ended.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// A request, read to its end.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) context: Context,
    pub(super) peer: SocketAddr,
    pub(super) headers: HeaderMap,
    /// Whether the listener ends.
    pub(super) closing: watch::Receiver<bool>,
    /// The status as a stream.
    pub(super) feed: Arc<StatusFeed>,
    /// Parameters of the path, by name.
    path: Vec<(String, String)>,
    /// Parameters of the query, by name, each of which the operation has.
    query: Vec<(String, String)>,
    body: Bytes,
}

impl Call {
    /// Reads a request. `known` are the parameters that its query may have; `None` for any, which
    /// mean nothing.
    pub(super) async fn read(
        request: Request,
        context: Context,
        known: Option<&[&'static str]>,
    ) -> Result<Self, RefusedRequest> {
        let (mut head, body) = request.into_parts();
        // First of all: a connection that is closed with unread bytes is reset, and the response
        // may be lost with it.
        let body = read(body).await;
        let path = RawPathParams::from_request_parts(&mut head, &())
            .await
            .map_err(|_| Kind::BadPath.because("the path is not UTF-8"))?;
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Ok(Self {
            context,
            peer: peer(&head.extensions),
            closing: closing(&head.extensions),
            feed: feed(&head.extensions),
            path: path.iter().map(owned).collect(),
            query: match known {
                Some(known) => query(head.uri.query().unwrap_or_default(), known)?,
                None => Vec::new(),
            },
            headers: head.headers,
            body: body?,
        })
    }

    /// A parameter of the path.
    pub(super) fn part(&self, name: &str) -> &str {
        find(&self.path, name).unwrap_or_default()
    }

    /// A parameter of the query; `None` if it is not given.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// A parameter of the query that is a number.
    pub(super) fn number<N: std::str::FromStr>(
        &self,
        name: &str,
    ) -> Result<Option<N>, RefusedRequest> {
        let Some(text) = self.parameter(name) else {
            return Ok(None);
        };
        let refused = |_| Kind::BadQuery.because(format!("{name}={text} is no number"));
        text.parse().map(Some).map_err(refused)
    }

    /// Whether the request has a body.
    pub(super) fn has_body(&self) -> bool {
        !self.body.trim_ascii().is_empty()
    }

    /// The body. `like` is an example of one.
    pub(super) fn body<T: DeserializeOwned>(&self, like: &str) -> Result<T, RefusedRequest> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Kind::BadBody.because(format!("the body is not like {like}: {error}")))
    }
}

/// The client of a request.
pub(super) fn peer(extensions: &http::Extensions) -> SocketAddr {
    let unknown = || SocketAddr::from(([0, 0, 0, 0], 0));
    let connected = extensions.get::<Connected>();
    connected.map_or_else(unknown, |connected| connected.peer)
}

fn closing(extensions: &http::Extensions) -> watch::Receiver<bool> {
    let connected = extensions.get::<Connected>();
    // A sender that is gone counts as an end.
    connected.map_or_else(
        || watch::channel(true).1,
        |connected| connected.closing.clone(),
    )
}

fn feed(extensions: &http::Extensions) -> Arc<StatusFeed> {
    let connected = extensions.get::<Connected>();
    connected.map_or_else(Arc::default, |connected| Arc::clone(&connected.feed))
}

/// Reads a body to its end, so that the response reaches the client.
pub(super) async fn read(body: Body) -> Result<Bytes, RefusedRequest> {
    match timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Kind::BodyTooLong.because(format!("the body is longer than {MAX_BODY} bytes")))
        }
        Ok(Err(error)) => Err(Kind::BadBody.because(format!("the body broke off: {error}"))),
        Err(_) => {
            let detail = format!("the body did not arrive within {BODY_TIMEOUT:?}");
            Err(Kind::BodyTimeout.because(detail))
        }
    }
}

fn find<'p>(pairs: &'p [(String, String)], name: &str) -> Option<&'p str> {
    let found = pairs.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

fn query(text: &str, known: &[&'static str]) -> Result<Vec<(String, String)>, RefusedRequest> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| parameter(pair, known)).collect()
}

fn parameter(pair: &str, known: &[&'static str]) -> Result<(String, String), RefusedRequest> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let decoded = |part: &str| {
        let part = part.replace('+', " ");
        let text = percent_decode_str(&part).decode_utf8();
        text.map(std::borrow::Cow::into_owned)
            .map_err(|_| Kind::BadQuery.because("the query is not UTF-8"))
    };
    let name = decoded(name)?;
    if !known.contains(&name.as_str()) {
        let there_is = match known {
            [] => "nothing may be asked for here".to_owned(),
            known => format!("there is {}", known.join(", ")),
        };
        return Err(Kind::BadQuery.because(format!("`{name}` means nothing here; {there_is}")));
    }
    Ok((name, decoded(value)?))
}

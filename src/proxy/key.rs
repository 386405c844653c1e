//! The hash key of a request, read before its target is chosen: from the head, or from the
//! beginning of the body.

use std::net::IpAddr;
use std::rc::Rc;

use bytes::BytesMut;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::cookie;
use crate::model::{ClientLimits, Failure, HashKey};
use crate::relay::{BodyStart, ReplayBody, RequestBodyLimits};
use crate::target_group::{TargetGroup, hash_client, hash_key};

/// A request's hash key, and its body ready to be forwarded.
pub(super) struct Prepared {
    /// `None` if the group's algorithm uses no key.
    pub(super) key: Option<u64>,
    /// `None` if the request has no body.
    pub(super) body: Option<Rc<ReplayBody>>,
}

/// Refuses a body with a `Content-Length` above the limit.
pub(super) fn check_length(headers: &HeaderMap, limit: Option<u64>) -> Result<(), Failure> {
    let Some(limit) = limit else { return Ok(()) };
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    match announced.and_then(|text| text.parse::<u64>().ok()) {
        Some(length) if length > limit => Err(Failure::RequestBodyTooLarge),
        Some(_) | None => Ok(()),
    }
}

/// Finds the key and prepares the body. Waits only if the key is in the body.
pub(super) async fn prepare(
    group: &TargetGroup,
    parts: &Parts,
    client: IpAddr,
    mut incoming: Incoming,
    limits: &ClientLimits,
) -> Result<Prepared, Failure> {
    let mut start = BodyStart::default();
    let key = match &group.hash_key {
        None => None,
        Some(HashKey::Body { limit, field }) => {
            start = read_start(&mut incoming, *limit, limits).await?;
            // How much was read beyond the limit depends on the sizes of the body's frames.
            let hashed = &start.data[..start.data.len().min(*limit)];
            Some(body_key(hashed, field.as_deref()).unwrap_or_else(|| hash_client(client)))
        }
        Some(key) => Some(head_key(key, parts).unwrap_or_else(|| hash_client(client))),
    };
    if start.is_empty() && incoming.is_end_stream() {
        return Ok(Prepared { key, body: None });
    }
    let limits = RequestBodyLimits {
        length: limits.max_body,
        idle: limits.body_timeout,
    };
    Ok(Prepared {
        key,
        body: Some(Rc::new(ReplayBody::new(start, incoming, limits))),
    })
}

/// The key in a request's head; `None` if the head has no such field, cookie or parameter.
fn head_key(key: &HashKey, parts: &Parts) -> Option<u64> {
    match key {
        HashKey::Header(name) => Some(hash_key(parts.headers.get(name)?.as_bytes())),
        HashKey::Cookie(name) => cookie::values(&parts.headers, name).next().map(hash_key),
        HashKey::Query(name) => query(parts.uri.query()?, name).map(|v| hash_key(v.as_bytes())),
        HashKey::Path => Some(hash_key(parts.uri.path().as_bytes())),
        HashKey::ClientIp | HashKey::Body { .. } => None,
    }
}

fn query<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&');
    pairs.find_map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (pair == name).then_some(""),
    })
}

/// The hash of the bytes that were read, or of one field if they are a JSON object.
fn body_key(read: &[u8], field: Option<&str>) -> Option<u64> {
    let Some(field) = field else {
        return (!read.is_empty()).then(|| hash_key(read));
    };
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(read).ok()?;
    let value = object.get(field)?;
    // Text without its quotes, so that "7" in a body and 7 in a header have the same hash.
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    Some(hash_key(text.as_bytes()))
}

/// Reads until the end of the body, or until at least `limit` bytes are read.
async fn read_start(
    incoming: &mut Incoming,
    limit: usize,
    limits: &ClientLimits,
) -> Result<BodyStart, Failure> {
    let mut read = BytesMut::new();
    let mut trailers = None;
    while read.len() < limit && !incoming.is_end_stream() {
        let frame = timeout(limits.body_timeout, incoming.frame()).await;
        let frame = frame.map_err(|_| Failure::RequestBodyTimeout)?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Failure::RequestBodyBroken)?;
        match frame.into_data() {
            Ok(data) => read.extend_from_slice(&data),
            Err(last) => trailers = last.into_trailers().ok(),
        }
        if limits.max_body.is_some_and(|max| read.len() as u64 > max) {
            return Err(Failure::RequestBodyTooLarge);
        }
    }
    Ok(BodyStart {
        data: read.freeze(),
        trailers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_parameter_is_found_by_its_whole_name() {
        assert_eq!(query("aid=1&id=2&flag", "id"), Some("2"));
        assert_eq!(query("aid=1&id=2&flag", "flag"), Some(""));
        assert_eq!(query("aid=1", "id"), None);
    }

    #[test]
    fn a_json_field_is_a_key_and_broken_json_is_none() {
        let key = |text: &str| body_key(text.as_bytes(), Some("user"));
        assert_eq!(key(r#"{"user":"7","x":1}"#), key(r#"{"x":2,"user":7}"#));
        assert_eq!(key("{"), None);
        assert_eq!(key(r#"{"x":2}"#), None);
    }
}

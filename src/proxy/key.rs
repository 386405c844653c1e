//! The hash key of a request: read from its head, or from the beginning of its body.

use super::cookie;
use super::replay_body::ReplayBody;
use crate::message::{Exchange, RequestHead};
use crate::model::{ClientAddress, Failure, HashKey};
use crate::target_group::{TargetGroup, hash_client, hash_key};

/// Refuses a body of a known length above the limit.
pub(super) fn check_length(known: Option<u64>, limit: Option<u64>) -> Result<(), Failure> {
    match (known, limit) {
        (Some(length), Some(limit)) if length > limit => Err(Failure::RequestBodyTooLarge),
        _ => Ok(()),
    }
}

/// The hash key of a request; `None` if the group's algorithm uses none. Waits only if the key is
/// in the body.
pub(super) async fn find<E: Exchange>(
    group: &TargetGroup,
    head: &RequestHead,
    client: ClientAddress,
    upload: &mut ReplayBody,
    exchange: &mut E,
) -> Result<Option<u64>, Failure> {
    let found = match &group.hash_key {
        None => return Ok(None),
        Some(HashKey::Body { limit, field }) => {
            let read = upload.read_start(exchange, *limit).await?;
            body_key(read, *limit, field.as_deref())
        }
        Some(key) => head_key(key, head),
    };
    Ok(Some(found.unwrap_or_else(|| hash_client(client))))
}

/// The key in a request's head; `None` if the head has no such field, cookie or parameter, or the
/// key is not there.
pub(super) fn head_key(key: &HashKey, head: &RequestHead) -> Option<u64> {
    match key {
        HashKey::Header(name) => head.fields.get_by_name(name.as_str()).map(hash_key),
        HashKey::Cookie(name) => cookie::values(&head.fields, name).next().map(hash_key),
        HashKey::Query(name) => query(head.query()?, name.as_bytes()).map(hash_key),
        HashKey::Path => Some(hash_key(head.path())),
        HashKey::ClientIp | HashKey::Body { .. } => None,
    }
}

fn query<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut pairs = query.split(|byte| *byte == b'&');
    pairs.find_map(|pair| match pair.strip_prefix(name)? {
        [] => Some(&b""[..]),
        [b'=', value @ ..] => Some(value),
        _ => None,
    })
}

/// The hash of what was read of a body, or of one field if it is a JSON object; `None` if there is
/// no such field, or nothing was read. Bytes beyond `limit` do not count: how many of them were
/// read depends on how they came.
pub(super) fn body_key(read: &[u8], limit: usize, field: Option<&str>) -> Option<u64> {
    let read = &read[..read.len().min(limit)];
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

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn a_query_parameter_is_found_by_its_whole_name() {
        let query = |text: &'static str, name: &str| query(text.as_bytes(), name.as_bytes());
        assert_eq!(query("aid=1&id=2&flag", "id"), Some(&b"2"[..]));
        assert_eq!(query("aid=1&id=2&flag", "flag"), Some(&b""[..]));
        assert_eq!(query("idx=1&id", "id"), Some(&b""[..]));
        assert_eq!(query("id=a=b", "id"), Some(&b"a=b"[..]));
        assert_eq!(query("aid=1", "id"), None);
    }

    #[test]
    fn a_json_field_is_a_key_and_broken_json_is_none() {
        let key = |text: &str| body_key(text.as_bytes(), 100, Some("user"));
        assert_eq!(key(r#"{"user":"7","x":1}"#), key(r#"{"x":2,"user":7}"#));
        assert_eq!(key(r#"{"user":"7"}"#), Some(hash_key(b"7")));
        assert_eq!(key("{"), None);
        assert_eq!(key(r#"{"x":2}"#), None);
    }

    #[test]
    fn bytes_beyond_the_limit_do_not_count() {
        assert_eq!(body_key(b"abcd", 3, None), body_key(b"abc", 3, None));
        assert_ne!(body_key(b"abcd", 4, None), body_key(b"abc", 4, None));
        assert_eq!(body_key(b"", 4, None), None);
    }

    #[test]
    fn a_head_has_the_keys_that_it_names() {
        let mut head = RequestHead::new();
        head.set_target(b"/a?user=1").unwrap();
        for (name, value) in [("X-User", "2"), ("Cookie", "user=3"), ("Referer", "4")] {
            head.fields.append(name, value.as_bytes()).unwrap();
        }
        let header = |name| HashKey::Header(HeaderName::from_static(name));
        let user = || "user".to_owned();
        let cases: [(HashKey, &[u8]); 5] = [
            (HashKey::Query(user()), b"1"),
            (header("x-user"), b"2"),
            (HashKey::Cookie(user()), b"3"),
            (header("referer"), b"4"),
            (HashKey::Path, b"/a"),
        ];
        for (key, value) in cases {
            assert_eq!(head_key(&key, &head), Some(hash_key(value)), "{key:?}");
        }
        let missing = [
            HashKey::Query("aus".to_owned()),
            header("x-other"),
            HashKey::Cookie("a".to_owned()),
            HashKey::ClientIp,
        ];
        for key in missing {
            assert_eq!(head_key(&key, &head), None, "{key:?}");
        }
    }

    #[test]
    fn only_a_known_length_above_the_limit_is_refused() {
        assert!(check_length(Some(11), Some(10)).is_err());
        for (known, limit) in [(Some(10), Some(10)), (Some(11), None), (None, Some(10))] {
            assert!(check_length(known, limit).is_ok());
        }
    }
}

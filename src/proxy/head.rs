//! Checks of a request head before it is routed, beyond those of hyper.

use http::header::TRANSFER_ENCODING;
use http::uri::Scheme;
use http::{HeaderMap, Method, Uri, request};
use http_body::Body;

use crate::model::Failure;

/// Longest request target in bytes, ALB's limit for a request line.
const MAX_TARGET: usize = 16 * 1024;

/// Refuses a head that a target could understand in another way than Weir does.
pub(super) fn check(parts: &request::Parts, body: &impl Body) -> Result<(), Failure> {
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Failure::MethodNotForwarded);
    }
    if !is_request_target(&parts.method, &parts.uri) {
        return Err(Failure::MalformedRequest);
    }
    if target_len(&parts.uri) > MAX_TARGET {
        return Err(Failure::UriTooLong);
    }
    // A body of unknown length is a chunked one; other requests have no `Transfer-Encoding`.
    let is_chunked = body.size_hint().exact().is_none();
    if is_chunked && !is_chunked_alone(&parts.headers) {
        return Err(Failure::MalformedRequest);
    }
    Ok(())
}

/// Origin-form, absolute-form of a scheme served here, or the asterisk of `OPTIONS`.
/// The fourth, authority-form, is for `CONNECT` alone (RFC 9112 section 3.2).
fn is_request_target(method: &Method, uri: &Uri) -> bool {
    match (uri.scheme(), uri.authority()) {
        (Some(scheme), _) => *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS,
        (None, Some(_)) => false,
        (None, None) => uri.path().starts_with('/') || *method == Method::OPTIONS,
    }
}

fn target_len(uri: &Uri) -> usize {
    uri.path_and_query().map_or(0, |path| path.as_str().len())
}

/// Whether the only transfer coding is `chunked`. hyper decodes no other, and Weir removes
/// the field: the target would get coded bytes without knowing.
fn is_chunked_alone(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next().map(http::HeaderValue::as_bytes);
    first.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_forms_of_forwarded_requests_are_accepted() {
        let is_target =
            |method: Method, text: &str| is_request_target(&method, &text.parse().unwrap());
        for text in ["/", "/a?b=c", "http://a/", "https://a", "http://a:80/b"] {
            assert!(is_target(Method::GET, text), "{text}");
        }
        for text in ["*", "a", "a:443", "ftp://a/", "ws://a/"] {
            assert!(!is_target(Method::GET, text), "{text}");
        }
        assert!(is_target(Method::OPTIONS, "*"));
    }
}

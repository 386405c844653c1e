//! A health check by gRPC: one call over a connection of its own, and the status of its answer.
//!
//! Without a method the call is that of the health checking protocol (`grpc.health.v1`), and its
//! answer must be SERVING; of another method the status alone counts, as ALB has it. The message
//! that is sent is empty but for the name of a service.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, Method, Request};

use super::http_probe::{AGENT, ANSWER_LIMIT, explain};
use super::progress::{ProbeProgress, failure};
use crate::config::GrpcProbe;
use crate::model::{CheckFailure, Endpoint, HealthReason};
use crate::net::fetch::{Connection, Destination, FetchError, Response};

/// The method of the health checking protocol.
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// Most bytes of an answer that are looked at: one message of a few bytes.
const MESSAGE_LIMIT: usize = 1024;

/// The status in the answer of a target that serves.
const SERVING: u8 = 1;

/// What came of a call.
struct Answer {
    /// `grpc-status`; `None` if there is none.
    code: Option<u16>,
    /// `grpc-message`.
    text: String,
    /// The start of the messages.
    body: Vec<u8>,
}

/// Calls a method over a fresh connection and decides whether the status passes.
pub(super) async fn probe(
    endpoint: &Endpoint,
    probe: &GrpcProbe,
    progress: &mut ProbeProgress,
) -> Result<(), CheckFailure> {
    let answer = exchange(endpoint, probe, progress).await;
    let answer = answer.map_err(|error| explain(endpoint, &error))?;
    let Some(code) = answer.code else {
        let status = progress.status.unwrap_or_default();
        let detail = format!("status {status} without a grpc-status");
        return Err(failure(HealthReason::ResponseCodeMismatch, detail));
    };
    let passes = |&(first, last): &(u16, u16)| (first..=last).contains(&code);
    if !probe.matcher.iter().any(passes) {
        let detail = format!("grpc-status {code} {}", answer.text);
        return Err(failure(
            HealthReason::ResponseCodeMismatch,
            detail.trim_end(),
        ));
    }
    if probe.method.is_none() && code == 0 && !is_serving(&answer.body) {
        let detail = "the answer of grpc.health.v1 is not SERVING";
        return Err(failure(HealthReason::ResponseBodyMismatch, detail));
    }
    Ok(())
}

async fn exchange(
    endpoint: &Endpoint,
    probe: &GrpcProbe,
    progress: &mut ProbeProgress,
) -> Result<Answer, FetchError> {
    let request = request(probe)?;
    let destination = Destination::target(endpoint, &[], probe.tls.as_ref());
    let connection = Connection::open_as(&destination, true, ANSWER_LIMIT).await?;
    progress.connected = true;
    let mut response = connection.send(request).await?;
    progress.status = Some(response.status().as_u16());
    let body = read_body(&mut response).await?;
    let trailers = response.trailers().await?.unwrap_or_default();
    // An answer without a message has its status in the head.
    let maps = [&trailers, response.headers()];
    Ok(Answer {
        code: maps
            .iter()
            .find_map(|map| text(map, "grpc-status")?.parse().ok()),
        text: maps
            .iter()
            .find_map(|map| text(map, "grpc-message"))
            .map_or(String::new(), |text| {
                super::progress::excerpt(text.as_bytes())
            }),
        body,
    })
}

fn text<'m>(map: &'m HeaderMap, name: &str) -> Option<&'m str> {
    map.get(name)?.to_str().ok()
}

fn request(probe: &GrpcProbe) -> Result<Request<Bytes>, http::Error> {
    let path = probe.method.as_deref().unwrap_or(CHECK);
    let mut request = Request::builder().method(Method::POST).uri(path);
    if let Some(host) = &probe.host {
        request = request.header(HOST, host);
    }
    request
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(message(&probe.service))
}

/// A `HealthCheckRequest` with its prefix: not compressed, and its length.
fn message(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        // Field 1, of a given length.
        message.put_u8(0x0a);
        let mut left = service.len();
        while left >= 0x80 {
            message.put_u8(left as u8 | 0x80);
            left >>= 7;
        }
        message.put_u8(left as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put(message);
    framed.freeze()
}

/// All of the body, of which the start is kept.
async fn read_body(response: &mut Response) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(data) = response.chunk().await? {
        let room = MESSAGE_LIMIT.saturating_sub(body.len());
        body.extend_from_slice(&data[..data.len().min(room)]);
    }
    Ok(body)
}

/// Whether a `HealthCheckResponse` has the status SERVING: field 1, a number.
fn is_serving(body: &[u8]) -> bool {
    matches!(body.get(5..), Some([0x08, SERVING, ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = message(&"x".repeat(200));
        assert_eq!(&long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn serving_is_one_status_of_several() {
        assert!(is_serving(&[0, 0, 0, 0, 2, 8, 1]));
        for other in [&[0, 0, 0, 0, 2, 8, 2][..], &[0, 0, 0, 0, 0], &[], &[8, 1]] {
            assert!(!is_serving(other), "{other:?}");
        }
    }
}

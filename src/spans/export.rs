//! One request to a collector, and what its answer means.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, Request, StatusCode, Uri};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use super::encode;
use crate::config::SpanExport;
use crate::net::fetch::{Connection, Destination, FetchError, Response, Url, answer_limit, within};
use crate::observe::FinishedSpan;

/// The longest answer: it counts what was rejected, and says why.
const MAX_ANSWER: usize = 64 * 1024;

/// Why a collector has not taken a batch.
pub(super) struct Refusal {
    /// For operators.
    pub(super) text: String,
    /// Whether it may take it another time (OTLP, "Failures").
    pub(super) may_retry: bool,
    /// When it wants to be asked again.
    pub(super) wait: Option<Duration>,
}

/// Returns how many of the spans the collector has rejected.
pub(super) async fn export(
    settings: &SpanExport,
    spans: &[FinishedSpan],
) -> Result<usize, Refusal> {
    let body = encode::request(&settings.service, spans).encode_to_vec();
    let (destination, request) = request(settings, body).ok_or_else(|| Refusal {
        text: "the URL leads nowhere".to_owned(),
        may_retry: false,
        wait: None,
    })?;
    let exchange = async {
        let connection = Connection::open(&destination, answer_limit(MAX_ANSWER)).await?;
        let response = connection.send(request).await?;
        let (status, wait) = (response.status(), retry_after(&response));
        Ok::<_, FetchError>((status, wait, response.bytes(MAX_ANSWER).await?))
    };
    let answer = within(settings.timeout, exchange).await;
    let (status, wait, body) = answer.map_err(|error| Refusal {
        text: error.to_string(),
        may_retry: true,
        wait: None,
    })?;
    if status.is_success() {
        return Ok(rejected(&body));
    }
    let may_retry = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    Err(Refusal {
        text: format!("status {status}"),
        may_retry,
        wait,
    })
}

fn request(settings: &SpanExport, body: Vec<u8>) -> Option<(Destination, Request<Bytes>)> {
    let uri: Uri = settings.endpoint.parse().ok()?;
    let (destination, host) = if let Some(trust) = &settings.trust {
        let host = uri.authority()?.as_str().parse().ok()?;
        (Destination::secure(&uri, trust.clone())?, host)
    } else {
        let url: Url = settings.endpoint.parse().ok()?;
        (url.destination, url.host)
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().ok()?;
    let fields = request.headers_mut();
    fields.insert(HOST, host);
    fields.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-protobuf"),
    );
    if let Some(token) = &settings.token {
        let (name, value) = credential(&settings.token_field, &token.0)?;
        fields.insert(name, value);
    }
    Some((destination, request))
}

/// A bearer token in `Authorization`, and the token alone in another field.
fn credential(field: &HeaderName, token: &str) -> Option<(HeaderName, HeaderValue)> {
    let text = if *field == AUTHORIZATION {
        format!("Bearer {token}")
    } else {
        token.to_owned()
    };
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some((field.clone(), value))
}

/// In seconds; a date is not understood.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// What a collector that has taken a part tells of the rest. A body that is none is that of one which
/// has taken all.
fn rejected(body: &[u8]) -> usize {
    let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let rejected = answer.partial_success.map_or(0, |part| part.rejected_spans);
    rejected.try_into().unwrap_or(0)
}

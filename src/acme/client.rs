//! The HTTP of ACME, by the client of the control plane.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{Request, Uri};
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::net::fetch::{Connection, Destination, FetchError, answer_limit, within};
use crate::tls::Trust;

/// For one request and its response: authorities answer some after a validation.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest body: a chain of certificates is a tenth of it.
const MAX_BODY: usize = 128 * 1024;

const OWN_NAME: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

/// Speaks to servers that are known by these authorities.
#[derive(Clone, Debug)]
pub(super) struct AcmeClient(pub(super) Trust);

/// Why a URL of the server leads nowhere.
#[derive(Debug, thiserror::Error)]
#[error("the ACME server names a URL that is not https: {0}")]
struct BadUrl(Uri);

impl HttpClient for AcmeClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let trust = self.0.clone();
        Box::pin(send(trust, request))
    }
}

async fn send(trust: Trust, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
    let (mut head, body) = request.into_parts();
    let bad_url = |uri: &Uri| Error::Other(Box::new(BadUrl(uri.clone())));
    let destination = Destination::secure(&head.uri, trust).ok_or_else(|| bad_url(&head.uri))?;
    let host = head.uri.authority().map_or("", |of| of.as_str());
    let host = HeaderValue::try_from(host).map_err(http::Error::from)?;
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse()?;
    // RFC 8555 section 6.1.
    head.headers
        .insert(USER_AGENT, HeaderValue::from_static(OWN_NAME));
    head.headers.insert(HOST, host);
    let Ok(body) = body.collect().await;
    let request = Request::from_parts(head, body.to_bytes());
    let fetched = within(TIMEOUT, fetch(&destination, request)).await;
    fetched.map_err(|error| Error::Other(Box::new(error)))
}

async fn fetch(
    destination: &Destination,
    request: Request<Bytes>,
) -> Result<BytesResponse, FetchError> {
    let connection = Connection::open(destination, answer_limit(MAX_BODY)).await?;
    let response = connection.send(request).await?;
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = response.status();
    parts.headers = response.headers().clone();
    let body = response.bytes(MAX_BODY).await?;
    Ok(BytesResponse {
        parts,
        body: Box::new(body),
    })
}

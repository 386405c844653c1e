//! The HTTP of the AWS SDK, by the client of the control plane.

use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use crate::net::fetch::{Connection, Destination, FetchError, Url, answer_limit, within};
use crate::tls::{Authorities, Trust};

/// The longest body: a hundred tasks have a tenth of it.
const MAX_BODY: usize = 16 << 20;

/// For a request whose caller names no time.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Opens a connection for each request: there are three in three seconds.
///
/// Trusts the authorities that the machine trusts (`SSL_CERT_FILE`, `/etc/ssl/certs`). They are read
/// before the first request that needs them: an image of one file has none.
#[derive(Clone, Debug, Default)]
pub(super) struct AwsClient {
    trust: Arc<OnceCell<Trust>>,
}

/// A client with the times that its caller gives it.
#[derive(Clone, Debug)]
struct Connector {
    client: AwsClient,
    to_connect: Duration,
    to_answer: Duration,
}

impl HttpClient for AwsClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            client: self.clone(),
            to_connect: settings.connect_timeout().unwrap_or(TIMEOUT),
            to_answer: settings.read_timeout().unwrap_or(TIMEOUT),
        })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.clone();
        HttpConnectorFuture::new(async move { connector.send(request).await })
    }
}

impl Connector {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request.try_into_http1x().map_err(of_caller)?;
        let (mut head, body) = request.into_parts();
        let body = body
            .bytes()
            .ok_or_else(|| of_caller("the body is a stream"))?;
        let body = Bytes::copy_from_slice(body);
        let (destination, host) = self.client.destination(&head.uri).await?;
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = path.parse().map_err(of_caller)?;
        head.headers.entry(HOST).or_insert(host);
        let request = Request::from_parts(head, body);
        let fetched = self
            .fetch(&destination, request)
            .await
            .map_err(of_network)?;
        HttpResponse::try_from(fetched).map_err(|error| ConnectorError::io(error.into()))
    }

    async fn fetch(
        &self,
        destination: &Destination,
        request: Request<Bytes>,
    ) -> Result<Response<SdkBody>, FetchError> {
        let open = Connection::open(destination, answer_limit(MAX_BODY));
        let connection = within(self.to_connect, open).await?;
        let exchange = async {
            let response = connection.send(request).await?;
            let mut answer = Response::new(());
            *answer.status_mut() = response.status();
            *answer.headers_mut() = response.headers().clone();
            let body = response.bytes(MAX_BODY).await?;
            Ok(answer.map(|()| body.into()))
        };
        within(self.to_answer, exchange).await
    }
}

impl AwsClient {
    /// Where a URL leads, and the `Host` of requests there.
    async fn destination(&self, uri: &Uri) -> Result<(Destination, HeaderValue), ConnectorError> {
        if uri.scheme_str() != Some("https") {
            let url: Url = uri.to_string().parse().map_err(of_caller)?;
            return Ok((url.destination, url.host));
        }
        let trust = self.trust.get_or_try_init(of_the_system).await?;
        let destination = Destination::secure(uri, trust.clone())
            .ok_or_else(|| of_caller(format!("{uri} names no host")))?;
        let host = uri.authority().map_or("", |authority| authority.as_str());
        Ok((destination, host.parse().map_err(of_caller)?))
    }
}

async fn of_the_system() -> Result<Trust, ConnectorError> {
    let read = spawn_blocking(Authorities::of_the_system).await;
    let authorities = read.ok().flatten().ok_or_else(|| {
        let text = "this machine trusts no certificate authority: install ca-certificates, \
                    or name a file in SSL_CERT_FILE";
        ConnectorError::other(text.into(), None)
    })?;
    Ok(Trust::Authorities(authorities))
}

/// The request cannot be sent.
fn of_caller(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConnectorError {
    ConnectorError::user(error.into())
}

fn of_network(error: FetchError) -> ConnectorError {
    match error {
        FetchError::TimedOut(_) => ConnectorError::timeout(error.into()),
        _ => ConnectorError::io(error.into()),
    }
}

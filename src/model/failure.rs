//! How a request can fail, with the status, the party at fault and the code of each
//! failure.

use std::time::Duration;

use http::StatusCode;

/// The stage of a request in which a deadline passed or a stream broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Opening a connection to the target.
    Connect,
    /// Between the sent request and the target's response head.
    ResponseHead,
    /// Inside the target's response body.
    ResponseBody,
    /// The whole request, from its head to the last byte of the response.
    Request,
}

/// Why a request got no response from a target, or not the whole one.
///
/// No match on it has a wildcard: a new variant needs a status, a party at fault and a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The request is not HTTP/1.1 as RFC 9112 writes it, or is refused by `desync_mitigation` or
    /// `encoded_slashes`.
    MalformedRequest,
    /// The request has another transfer coding than chunked, or a longer method than any known one.
    NotImplemented,
    /// The request is of another major version than HTTP/1.
    VersionNotSupported,
    /// The connection does not begin with the header of the PROXY protocol that it needs.
    ProxyHeader,
    /// The connection is of a listener with rules about hosts, and its TLS hello is too large, or did
    /// not come in time.
    ClientHello,
    /// The request is in plain HTTP, and the listener speaks TLS.
    PlainHttp,
    /// `Host` is missing, repeated, or not a host (RFC 9112 section 3.2).
    BadHost,
    /// A method Weir does not forward (`CONNECT`, `TRACE`).
    MethodNotForwarded,
    /// The request head did not arrive in time.
    RequestHeadTimeout,
    /// The client stopped sending its request body, or sent it too slowly.
    RequestBodyTimeout,
    /// The client's request body broke off or was not framed as announced.
    RequestBodyBroken,
    /// The request body is longer than the listener accepts.
    RequestBodyTooLarge,
    /// The request target is longer than 16 KiB.
    UriTooLong,
    /// The request head is larger, or has more fields, than the listener accepts.
    RequestHeadTooLarge,
    /// The client closed the connection before its response was complete, or read it too slowly.
    ClientGone,
    /// The group has no eligible target.
    NoTarget,
    /// Every eligible target has been tried.
    AllTried,
    /// The group is in maintenance; clients may try again after this time.
    Maintenance(Duration),
    /// Every target has as many requests as its limit allows, and the group has no queue.
    Overloaded,
    /// Every target has as many requests as its limit allows, and the queue is full.
    QueueFull,
    /// No target had a free slot for the request in time.
    QueueTimeout,
    /// The client has sent more requests than its limit allows; the next may come after this
    /// time.
    RateLimited(Duration),
    /// The listener the connection came in by is being removed.
    ListenerGone,
    /// The target refused the connection or could not be reached.
    ConnectError,
    /// The target closed or reset the connection before its response head.
    TargetClosed,
    /// The target speaks no HTTP/2, and its group does; or it wants this request in HTTP/1.1.
    NotHttp2,
    /// The target takes no further request at the moment (`REFUSED_STREAM` or
    /// `ENHANCE_YOUR_CALM` of HTTP/2).
    StreamRefused,
    /// The request asks for a WebSocket, and its target speaks HTTP/2 without extended CONNECT.
    UpgradeNotForwarded,
    /// The target closed or reset the connection inside its response body.
    TargetBodyBroken,
    /// The target reset a TCP connection.
    TargetReset,
    /// The target's response is not well-formed HTTP, is beyond its limits, or switches to a protocol that
    /// was not asked for.
    MalformedResponse,
    /// A deadline on the target's side passed.
    TargetTimeout(Stage),
    /// The time that the client of a call of gRPC gave it is over (`grpc-timeout`).
    ClientDeadline,
    /// No byte came through a tunnel in either direction for too long.
    TunnelTimeout,
    /// The target has left its group, and its deregistration delay is over.
    TargetReleased,
    /// Weir has no descriptor, port or memory left for a connection to a target.
    OutOfResources,
    /// Weir ended before the request did.
    ShuttingDown,
    /// Weir itself is at fault.
    Internal,
}

/// The party at fault for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The client sent something illegal, was too slow, or left.
    Client,
    /// The target responded with something illegal, was too slow, or broke off.
    Target,
    /// No target could serve the request, or Weir failed.
    Weir,
}

impl Failure {
    /// The status the client gets.
    ///
    /// 499 (nginx's "client closed request") is never sent, only logged.
    pub fn status(self) -> StatusCode {
        match self {
            Self::MalformedRequest
            | Self::PlainHttp
            | Self::ProxyHeader
            | Self::ClientHello
            | Self::BadHost
            | Self::RequestBodyBroken => StatusCode::BAD_REQUEST,
            Self::NotImplemented | Self::UpgradeNotForwarded => StatusCode::NOT_IMPLEMENTED,
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::MethodNotForwarded => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestHeadTimeout | Self::RequestBodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RequestBodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::RequestHeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::ClientGone => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoTarget
            | Self::AllTried
            | Self::Maintenance(_)
            | Self::Overloaded
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::ListenerGone
            | Self::StreamRefused
            | Self::TargetReleased
            | Self::OutOfResources
            | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectError
            | Self::TargetClosed
            | Self::NotHttp2
            | Self::TargetBodyBroken
            | Self::TargetReset
            | Self::MalformedResponse => StatusCode::BAD_GATEWAY,
            Self::TargetTimeout(_) | Self::ClientDeadline | Self::TunnelTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The code in the access log, in metrics and in the response body.
    pub const fn code(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed_request",
            Self::NotImplemented => "not_implemented",
            Self::VersionNotSupported => "version_not_supported",
            Self::ProxyHeader => "proxy_header",
            Self::ClientHello => "client_hello",
            Self::PlainHttp => "plain_http",
            Self::BadHost => "bad_host",
            Self::MethodNotForwarded => "method_not_forwarded",
            Self::RequestHeadTimeout => "request_head_timeout",
            Self::RequestBodyTimeout => "request_body_timeout",
            Self::RequestBodyBroken => "request_body_broken",
            Self::RequestBodyTooLarge => "request_body_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::RequestHeadTooLarge => "request_head_too_large",
            Self::ClientGone => "client_gone",
            Self::NoTarget => "no_target",
            Self::AllTried => "all_targets_tried",
            Self::Maintenance(_) => "maintenance",
            Self::Overloaded => "overloaded",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::RateLimited(_) => "rate_limited",
            Self::ListenerGone => "listener_gone",
            Self::ConnectError => "connect_error",
            Self::TargetClosed => "target_closed",
            Self::NotHttp2 => "not_http2",
            Self::StreamRefused => "stream_refused",
            Self::UpgradeNotForwarded => "upgrade_not_forwarded",
            Self::TargetBodyBroken => "target_body_broken",
            Self::TargetReset => "target_reset",
            Self::MalformedResponse => "malformed_response",
            Self::TargetTimeout(Stage::Connect) => "connect_timeout",
            Self::TargetTimeout(Stage::ResponseHead) => "response_head_timeout",
            Self::TargetTimeout(Stage::ResponseBody) => "response_body_timeout",
            Self::TargetTimeout(Stage::Request) => "request_timeout",
            Self::ClientDeadline => "client_deadline",
            Self::TunnelTimeout => "tunnel_timeout",
            Self::TargetReleased => "target_released",
            Self::OutOfResources => "out_of_resources",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal_error",
        }
    }

    /// The party at fault.
    pub const fn blame(self) -> Blame {
        match self {
            Self::MalformedRequest
            | Self::NotImplemented
            | Self::VersionNotSupported
            | Self::ProxyHeader
            | Self::ClientHello
            | Self::PlainHttp
            | Self::BadHost
            | Self::MethodNotForwarded
            | Self::RequestHeadTimeout
            | Self::RequestBodyTimeout
            | Self::RequestBodyBroken
            | Self::RequestBodyTooLarge
            | Self::UriTooLong
            | Self::RequestHeadTooLarge
            | Self::RateLimited(_)
            | Self::ClientDeadline
            | Self::ClientGone => Blame::Client,
            Self::ConnectError
            | Self::TargetClosed
            | Self::NotHttp2
            | Self::StreamRefused
            | Self::TargetBodyBroken
            | Self::TargetReset
            | Self::MalformedResponse
            | Self::TargetTimeout(_) => Blame::Target,
            Self::NoTarget
            | Self::AllTried
            | Self::Maintenance(_)
            | Self::Overloaded
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::ListenerGone
            | Self::UpgradeNotForwarded
            | Self::TunnelTimeout
            | Self::TargetReleased
            | Self::OutOfResources
            | Self::ShuttingDown
            | Self::Internal => Blame::Weir,
        }
    }

    /// Whether the connection is closed and the rest of the request left unread: the client
    /// breaks the protocol, and its next request would too. A client that only sends too many
    /// requests, or gives one too little time, keeps its connection.
    pub const fn ends_connection(self) -> bool {
        let is_lawful = matches!(self, Self::RateLimited(_) | Self::ClientDeadline);
        matches!(self.blame(), Blame::Client) && !is_lawful
    }

    /// Whether the request's own deadline has passed: no other target may be tried.
    pub const fn is_out_of_time(self) -> bool {
        matches!(
            self,
            Self::TargetTimeout(Stage::Request) | Self::ClientDeadline
        )
    }

    /// The sentence in the response body.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::MalformedRequest => "the request is not well-formed HTTP/1.1",
            Self::NotImplemented => "the method is too long or the transfer coding is not known",
            Self::VersionNotSupported => "this version of HTTP is not spoken here",
            Self::ProxyHeader => "the header of the PROXY protocol is missing or malformed",
            Self::ClientHello => "the TLS hello is too large, or did not come in time",
            Self::PlainHttp => {
                "plain HTTP was sent to a port that speaks HTTPS; write https:// in the URL"
            }
            Self::BadHost => "the Host header is missing, repeated or not a host",
            Self::MethodNotForwarded => "this method is not forwarded",
            Self::RequestHeadTimeout => "the request head did not arrive in time",
            Self::RequestBodyTimeout => "the request body stopped arriving",
            Self::RequestBodyBroken => "the request body is not framed as announced",
            Self::RequestBodyTooLarge => "the request body is too large",
            Self::UriTooLong => "the request target is too long",
            Self::RequestHeadTooLarge => "the request head is too large",
            Self::ClientGone => "the client went away",
            Self::NoTarget => "no target is available",
            Self::AllTried => "no target could be reached",
            Self::Maintenance(_) => "this service is in maintenance",
            Self::Overloaded => "every target is busy",
            Self::QueueFull => "every target is busy, and too many requests wait already",
            Self::QueueTimeout => "every target was busy for too long",
            Self::RateLimited(_) => "too many requests from this client",
            Self::ListenerGone => "this listener is being removed",
            Self::ConnectError => "the target could not be reached",
            Self::TargetClosed => "the target closed the connection without a response",
            Self::NotHttp2 => "the target does not speak HTTP/2",
            Self::StreamRefused => "the target takes no further request at the moment",
            Self::UpgradeNotForwarded => "the target takes no WebSocket over HTTP/2 (RFC 8441)",
            Self::TargetBodyBroken => "the target's response broke off",
            Self::TargetReset => "the target broke the connection off",
            Self::MalformedResponse => "the target's response is not well-formed HTTP",
            Self::TargetTimeout(_) => "the target did not answer in time",
            Self::ClientDeadline => "the time that the client gave the call is over",
            Self::TunnelTimeout => "nothing came through the connection for too long",
            Self::TargetReleased => "the target was removed",
            Self::OutOfResources => "the load balancer is out of descriptors, ports or memory",
            Self::ShuttingDown => "the load balancer is shutting down",
            Self::Internal => "internal error",
        }
    }
}

//! What the connections of a listener or of a target group carry.

/// The protocol of a listener. It forwards only to groups of which
/// [`TargetProtocol::listener`] is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1: requests are read, routed and answered one by one.
    #[default]
    Http1,
    /// HTTP/2: the protocol of a client's connection to a listener of HTTP/1.1 with `http2`.
    Http2,
    /// Bytes, at which nothing looks: each connection of a client gets one to a target (L4).
    Tcp,
}

impl Protocol {
    /// Whether it carries requests.
    pub const fn is_http(self) -> bool {
        match self {
            Self::Http1 | Self::Http2 => true,
            Self::Tcp => false,
        }
    }

    /// Whatever the version of HTTP, HTTP/1.1.
    #[must_use]
    pub const fn without_version(self) -> Self {
        match self {
            Self::Http1 | Self::Http2 => Self::Http1,
            Self::Tcp => Self::Tcp,
        }
    }

    /// Its word in the configuration and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Tcp => "tcp",
        }
    }
}

/// What the targets of a group speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetProtocol {
    /// HTTP/1.1: a connection carries one request at a time.
    #[default]
    Http1,
    /// HTTP/2: a connection carries many requests at a time, each on a stream.
    Http2,
    /// gRPC: HTTP/2, and the status of a call is its `grpc-status`.
    Grpc,
    /// Bytes (L4).
    Tcp,
}

impl TargetProtocol {
    /// Its word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }

    /// The protocol of the listeners that forward to such a group: any HTTP reaches any HTTP.
    pub const fn listener(self) -> Protocol {
        match self {
            Self::Http1 | Self::Http2 | Self::Grpc => Protocol::Http1,
            Self::Tcp => Protocol::Tcp,
        }
    }

    /// Whether its connections carry HTTP/2.
    pub const fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc)
    }
}

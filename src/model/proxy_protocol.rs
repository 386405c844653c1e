//! The PROXY protocol, by which a proxy tells of its client: whether and how it is spoken, and what
//! it tells.

/// Whether the peers of a listener begin their connections with a header of the PROXY protocol.
/// Only trusted proxies may send one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AcceptProxy {
    /// None does: such a header is no request.
    #[default]
    Off,
    /// Trusted proxies may.
    Optional,
    /// All peers are trusted proxies, and do.
    Required,
}

/// The version of the header with which Weir begins its connections to targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text with two addresses.
    V1,
    /// Binary.
    V2,
}

/// What a header says beside the client's address. Texts have no control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyFacts {
    /// The connection's id, in hexadecimal digits unless it is visible ASCII.
    pub unique_id: Option<Box<str>>,
    /// The host that the client has asked for by SNI.
    pub authority: Option<Box<str>>,
    /// The client's TLS; `None` if it speaks none, or none is told of.
    pub tls: Option<ProxyTls>,
}

/// What a header says about the TLS of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyTls {
    /// For example `TLSv1.3`.
    pub version: Option<Box<str>>,
    /// For example `ECDHE-RSA-AES128-GCM-SHA256`.
    pub cipher: Option<Box<str>>,
    /// The common name of the client's certificate.
    pub common_name: Option<Box<str>>,
}

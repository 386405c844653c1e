//! What is known of an encrypted connection of a client.

/// The facts of a TLS connection. They do not change while it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The version and the cipher suite.
    pub session: TlsSession,
    /// The host that the client asked for, in lower case; `None` if it named none.
    pub sni: Option<Box<str>>,
    /// The protocol that was agreed on; `None` if the client offered none.
    pub alpn: Option<Box<[u8]>>,
    /// The certificate by which the client has identified itself.
    pub client: Option<ClientCertificate>,
}

/// How a connection is encrypted, in the words of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsSession {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The name of the cipher suite at IANA.
    pub cipher: &'static str,
    /// Whether it goes on with the secrets of an earlier connection.
    pub is_resumed: bool,
}

/// A certificate of a client, which was checked against the listener's authorities. All of it is
/// legal in a field of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The serial number, in hexadecimal digits.
    pub serial: Box<str>,
    /// The name of the authority that has signed it, as in RFC 4514.
    pub issuer: Box<str>,
    /// The name of its owner, as in RFC 4514.
    pub subject: Box<str>,
    /// `NotBefore=…;NotAfter=…`, in UTC.
    pub validity: Box<str>,
    /// All of it: PEM, percent-encoded.
    pub leaf: Box<str>,
}

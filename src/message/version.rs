//! The versions of HTTP/1.

/// The version that a message came with. What Weir sends is always HTTP/1.1 (RFC 9110 section 2.5).
/// A message that does not come over HTTP/1 counts as HTTP/1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: a connection closes by default, and there are no transfer codings and no interim
    /// responses.
    Http10,
    /// HTTP/1.1, or a later minor version, which is to be read as this one.
    #[default]
    Http11,
}

impl Version {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

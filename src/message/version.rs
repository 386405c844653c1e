//! Versions that a head may have had on its wire.

/// The version a message came with. What Weir sends over HTTP/1 is always HTTP/1.1 (RFC 9110
/// section 2.5); a message of HTTP/2 has the facts of HTTP/1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// Closes by default, has no transfer codings and no interim responses.
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

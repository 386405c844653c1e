//! Request methods.

/// The methods of RFC 9110 section 9 and PATCH. The name of any other one is in
/// [`RequestHead::method_name`](super::RequestHead::method_name) alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    #[default]
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// CONNECT
    Connect,
    /// OPTIONS
    Options,
    /// TRACE
    Trace,
    /// PATCH (RFC 5789)
    Patch,
    /// Any other token.
    Other,
}

impl Method {
    /// The method of a name. Case-sensitive (RFC 9110 section 9.1): `get` is [`Method::Other`].
    pub fn from_bytes(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// Whether it asks for no change of state (RFC 9110 section 9.2.1).
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// Whether two such requests have the effect of one (RFC 9110 section 9.2.2).
    pub fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }

    /// Whether content in a request has no defined meaning (RFC 9110 sections 9.3.1, 9.3.2, 9.3.6
    /// and 9.3.8), so that recipients disagree whether to read it.
    pub fn has_no_content(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Connect | Self::Trace)
    }
}

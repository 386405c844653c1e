//! How strictly a listener reads HTTP, and in which spelling it matches and forwards.

/// What a listener does where HTTP leaves room: with requests that another parser could read
/// otherwise, with names and paths that have several spellings, and whether it names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpPolicy {
    /// What becomes of a request that two parsers could frame differently.
    pub desync_mitigation: DesyncMitigation,
    /// What becomes of fields whose names a target could take for other ones.
    pub field_names: FieldNames,
    /// Which spelling of a path is matched, and which is forwarded.
    pub normalize_path: NormalizePath,
    /// What becomes of a path with `%2F` in it.
    pub encoded_slashes: EncodedSlashes,
    /// The name in the `Via` field that is added to requests and responses: a token, perhaps with a
    /// port (RFC 9110 section 7.6.3). `None` adds no field.
    pub via: Option<Box<str>>,
    /// Whether clients may speak HTTP/2.
    pub http2: bool,
}

impl Default for HttpPolicy {
    fn default() -> Self {
        Self {
            desync_mitigation: DesyncMitigation::default(),
            field_names: FieldNames::default(),
            normalize_path: NormalizePath::default(),
            encoded_slashes: EncodedSlashes::default(),
            via: None,
            http2: true,
        }
    }
}

/// ALB's `routing.http.desync_mitigation_mode`. A request is compliant, acceptable, ambiguous or
/// severe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DesyncMitigation {
    /// Every request that has one meaning to Weir is forwarded; its class is counted and logged.
    Monitor,
    /// Ambiguous requests are forwarded, and both connections are closed after them; severe ones are
    /// answered with 400.
    #[default]
    Defensive,
    /// Whatever is not compliant is answered with 400.
    Strictest,
}

/// What becomes of fields whose names fold into other ones at a target: CGI makes `X_Real_IP` and
/// `X-Real-IP` one variable (RFC 3875 section 4.1.18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldNames {
    /// They are dropped.
    #[default]
    Strict,
    /// They pass.
    Pass,
}

/// Which spelling of a path is matched, and which is forwarded: that of [`super::normalize_path`]
/// or that of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormalizePath {
    /// The normalized path is matched, the client's is forwarded.
    #[default]
    Match,
    /// The normalized path is matched and forwarded.
    Forward,
    /// The client's path is matched and forwarded.
    Off,
}

/// What becomes of a path with an encoded slash: `%2F` is data of a segment (RFC 3986 section 2.2),
/// and many targets take it for a separator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodedSlashes {
    /// It passes, and does not equal `/`.
    #[default]
    Pass,
    /// The request is answered with 400.
    Reject,
}

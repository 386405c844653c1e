//! What a response may be, and why it cannot be read, whatever the protocol.

/// Most interim responses (1xx) to one request. Real targets send a few.
pub(super) const MAX_INTERIM: u32 = 64;

/// How large a response's head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseLimits {
    /// Longest head in bytes.
    pub max_head: usize,
    /// Most fields.
    pub max_fields: usize,
}

/// Why a response cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The target closed the connection.
    Closed,
    /// The target reset the connection or the stream, or the connection broke.
    Reset,
    /// The target takes no request at the moment: `REFUSED_STREAM` or `ENHANCE_YOUR_CALM`.
    Refused,
    /// The target wants the request in HTTP/1.1.
    WantsHttp1,
    /// What came is no response that may pass.
    Malformed,
    /// More than 64 interim responses to one request.
    TooManyInterim,
}

/// A head that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// A 1xx, after which another head comes.
    Interim,
    /// The head of the response.
    Final,
}

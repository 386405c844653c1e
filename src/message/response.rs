//! The head of a response.

use http::StatusCode;

use super::{Fields, Invalid, Span, Version};

/// Status, reason phrase, version and fields of a response.
#[derive(Clone)]
pub struct ResponseHead {
    /// The fields.
    pub fields: Fields,
    status: u16,
    reason: Span,
    version: Version,
}

impl Default for ResponseHead {
    /// 200 without fields.
    fn default() -> Self {
        let mut fields = Fields::new();
        Self {
            reason: fields.add_text(b"OK"),
            fields,
            status: 200,
            version: Version::Http11,
        }
    }
}

impl ResponseHead {
    /// 200 without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// A response of Weir's own. A status outside 100 to 999 becomes 500.
    pub fn with_status(status: u16) -> Self {
        let mut head = Self::default();
        head.set_status(status).unwrap_or_else(|Invalid| {
            head.set_status(500).unwrap_or_default();
        });
        head
    }

    /// Becomes 200 without fields, and keeps the memory.
    pub fn clear(&mut self) {
        self.reset();
        self.reason = self.fields.add_text(b"OK");
    }

    /// Gives back memory beyond `max_text` bytes of text.
    pub fn shrink(&mut self, max_text: usize) {
        self.fields.shrink(max_text);
    }

    /// The status, from 100 to 999.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase, which may be empty and has no meaning.
    pub fn reason(&self) -> &[u8] {
        self.reason.of(self.fields.text())
    }

    /// The version with which it came.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether another response to the same request follows (RFC 9110 section 15.2): true of 1xx
    /// except 101.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Replaces the status, and the reason phrase with the registered one, or an empty one. Fails
    /// outside of 100 to 999.
    pub fn set_status(&mut self, status: u16) -> Result<(), Invalid> {
        let code = StatusCode::from_u16(status).map_err(|_| Invalid)?;
        let reason = code.canonical_reason().unwrap_or_default();
        self.status = status;
        self.reason = self.fields.add_text(reason.as_bytes());
        Ok(())
    }
}

/// For the codec. None of these checks what it is given.
impl ResponseHead {
    /// Removes everything, the status line as well: the text becomes that of the next head.
    pub(crate) fn reset(&mut self) {
        self.fields.clear();
        self.status = 200;
        self.version = Version::Http11;
        self.reason = Span::default();
    }

    /// Takes a status line whose parts are in the text, or will be when it is read.
    pub(crate) fn set_line(&mut self, version: Version, status: u16, reason: Span) {
        self.version = version;
        self.status = status;
        self.reason = reason;
    }
}

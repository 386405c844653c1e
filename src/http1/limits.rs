//! What a parser takes at most.

/// Bounds of a message, and how much freedom its sender has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head with its first line and the empty line at its end.
    pub max_head: usize,
    /// Field lines of a head, and of a trailer section.
    pub max_fields: usize,
    /// Bytes of a request target.
    pub max_target: usize,
    /// Bytes of a trailer section.
    pub max_trailers: usize,
    /// Which names of fields pass.
    pub field_names: FieldNames,
    /// Which bytes may stand in a request target.
    pub target_bytes: TargetBytes,
}

/// What happens to fields whose names a CGI would take for other names (RFC 3875 section 4.1.18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldNames {
    /// Fields with an underscore in their name are dropped, and what folds into a framing or
    /// forwarded field by any other symbol.
    #[default]
    Strict,
    /// All pass.
    Pass,
}

/// Which bytes a request target may consist of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetBytes {
    /// Those of RFC 3986, with complete percent-encodings.
    #[default]
    Strict,
    /// Also what browsers send unencoded: `[ ] ^ { | }`, the grave accent, and a lone `%`.
    Browser,
}

impl Limits {
    /// For requests of clients.
    pub const REQUEST: Self = Self {
        max_head: 64 * 1024,
        max_fields: 100,
        max_target: 16 * 1024,
        max_trailers: 8 * 1024,
        field_names: FieldNames::Strict,
        target_bytes: TargetBytes::Strict,
    };

    /// For responses of targets, which are trusted more: all names of fields pass.
    pub const RESPONSE: Self = Self {
        max_fields: 1000,
        field_names: FieldNames::Pass,
        ..Self::REQUEST
    };

    /// The part of a buffer that a head may fill. Positions are kept in 32 bits.
    pub(super) fn window<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        &buffer[..buffer.len().min(self.head_bytes())]
    }

    pub(super) fn head_bytes(&self) -> usize {
        self.max_head.min(i32::MAX as usize)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::REQUEST
    }
}

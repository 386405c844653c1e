//! Extensions of chunks, byte by byte.

use crate::message::{TOKEN, is_in};

/// Where in `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )` a reader is
/// (RFC 9112 section 7.1.1). Whitespace is taken where the grammar has it, as RFC 9110 section
/// 5.6.3 demands, and nowhere else: not before CRLF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    BeforeSemicolon,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Token,
    Quoted,
    Escaped,
    AfterQuoted,
}

impl Extension {
    /// The first byte after the size of a chunk.
    pub(super) fn begin(byte: u8) -> Option<Self> {
        Self::BeforeSemicolon.next(byte)
    }

    /// What `byte` leads to; `None` if it is against the grammar.
    pub(super) fn next(self, byte: u8) -> Option<Self> {
        match self {
            Self::Quoted => return quoted(byte),
            Self::Escaped => return is_text(byte).then_some(Self::Quoted),
            _ => {}
        }
        match byte {
            b' ' | b'\t' => Some(self.after_whitespace()),
            b';' if self.may_end() || self.awaits_separator() => Some(Self::BeforeName),
            b'=' if matches!(self, Self::Name | Self::AfterName) => Some(Self::BeforeValue),
            b'"' if self == Self::BeforeValue => Some(Self::Quoted),
            _ if is_in(byte, TOKEN) => self.after_token_byte(),
            _ => None,
        }
    }

    /// Whether CRLF may follow.
    pub(super) fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::AfterQuoted)
    }

    fn awaits_separator(self) -> bool {
        matches!(self, Self::BeforeSemicolon | Self::AfterName)
    }

    fn after_whitespace(self) -> Self {
        match self {
            Self::Name => Self::AfterName,
            Self::Token | Self::AfterQuoted => Self::BeforeSemicolon,
            stays => stays,
        }
    }

    fn after_token_byte(self) -> Option<Self> {
        match self {
            Self::BeforeName | Self::Name => Some(Self::Name),
            Self::BeforeValue | Self::Token => Some(Self::Token),
            Self::BeforeSemicolon | Self::AfterName | Self::AfterQuoted => None,
            Self::Quoted | Self::Escaped => Some(Self::Quoted),
        }
    }
}

/// RFC 9110 section 5.6.4.
fn quoted(byte: u8) -> Option<Extension> {
    match byte {
        b'"' => Some(Extension::AfterQuoted),
        b'\\' => Some(Extension::Escaped),
        _ => is_text(byte).then_some(Extension::Quoted),
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

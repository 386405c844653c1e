//! Names that a CGI would take for others.
//!
//! A CGI, and what descends from it, gives `X_Forwarded_For` and `X-Forwarded-For` the same
//! variable (RFC 3875 section 4.1.18); some do so for every symbol. One that passes a proxy
//! which knows only the other decides what the application sees.

use crate::message::{FieldName, NameSet};

use super::Reason;

const FRAMING: NameSet = NameSet::of(&[FieldName::ContentLength, FieldName::TransferEncoding]);

/// What says from where a request came, or for what.
const IDENTITY: NameSet = NameSet::of(&[
    FieldName::Host,
    FieldName::Forwarded,
    FieldName::XForwardedFor,
    FieldName::XForwardedProto,
    FieldName::XForwardedHost,
    FieldName::XForwardedPort,
    FieldName::XForwardedSsl,
    FieldName::XForwardedScheme,
    FieldName::XForwardedPrefix,
    FieldName::XRealIp,
    FieldName::TrueClientIp,
    FieldName::XClientIp,
    FieldName::XOriginalUrl,
    FieldName::XRewriteUrl,
]);

/// The longest name that Weir knows is shorter.
const MAX_KNOWN: usize = 32;

/// A name with symbols in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LookAlike {
    /// What to say about it, if it folds into a field that matters.
    pub(super) reason: Option<Reason>,
    /// Whether a CGI would take it for another name.
    pub(super) is_folded: bool,
}

/// Looks at a name with symbols in it.
pub(super) fn look_alike(name: &[u8]) -> LookAlike {
    let folded = fold(name);
    let reason = if FRAMING.contains(folded) {
        Some(Reason::SuspiciousField)
    } else if IDENTITY.contains(folded) {
        Some(Reason::LookAlikeField)
    } else {
        None
    };
    LookAlike {
        reason,
        is_folded: reason.is_some() || name.contains(&b'_'),
    }
}

/// The name with a hyphen for each symbol.
fn fold(name: &[u8]) -> FieldName {
    let mut folded = [b'-'; MAX_KNOWN];
    let Some(folded) = folded.get_mut(..name.len()) else {
        return FieldName::Other;
    };
    for (to, from) in folded.iter_mut().zip(name) {
        if from.is_ascii_alphanumeric() {
            *to = *from;
        }
    }
    FieldName::from_bytes(folded)
}

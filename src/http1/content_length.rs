//! The Content-Length field (RFC 9110 section 8.6, RFC 9112 section 6.3).

use crate::message::{FieldName, Fields};

use super::Reason;

/// What the Content-Length fields say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentLength {
    pub(super) length: u64,
    /// Set if it is not one number in its shortest form.
    pub(super) reason: Option<Reason>,
}

/// The length that all fields and all members of their lists agree on.
pub(super) fn content_length(fields: &Fields) -> Result<Option<ContentLength>, Reason> {
    let mut found: Option<ContentLength> = None;
    for value in fields.get_all(FieldName::ContentLength) {
        let next = one(value).or_else(|_| of_list(value))?;
        found = Some(match found {
            None => next,
            Some(known) => agree(known, next)?,
        });
    }
    Ok(found)
}

/// The length that all members of a list agree on.
#[cold]
fn of_list(value: &[u8]) -> Result<ContentLength, Reason> {
    let mut members = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let first = one(members.next().unwrap_or_default())?;
    members.try_fold(first, |known, member| agree(known, one(member)?))
}

/// RFC 9112 section 6.3 lets a recipient take equal ones for one, and no others.
fn agree(known: ContentLength, next: ContentLength) -> Result<ContentLength, Reason> {
    if known.length != next.length {
        return Err(Reason::DifferentContentLengths);
    }
    Ok(ContentLength {
        length: known.length,
        reason: Some(Reason::DuplicateContentLength),
    })
}

/// `1*DIGIT`: no sign, no space, nothing that overflows.
fn one(member: &[u8]) -> Result<ContentLength, Reason> {
    if member.is_empty() {
        return Err(Reason::BadContentLength);
    }
    let mut length: u64 = 0;
    for byte in member {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Reason::BadContentLength);
        }
        length = length
            .checked_mul(10)
            .and_then(|length| length.checked_add(u64::from(digit)))
            .ok_or(Reason::BadContentLength)?;
    }
    // Some read a number with a leading zero as octal.
    let is_padded = member.len() > 1 && member[0] == b'0';
    Ok(ContentLength {
        length,
        reason: is_padded.then_some(Reason::PaddedContentLength),
    })
}

//! The Transfer-Encoding field (RFC 9112 section 6.1).

use crate::message::{FieldName, Fields, TOKEN, is_same_name, prefix};

use super::Reason;

/// Whether a message is chunked. A list of anything but one `chunked` is refused: Weir has no other
/// coding, and a message whose coding is unknown has no end that two recipients agree on.
pub(super) fn is_chunked(fields: &Fields) -> Result<bool, Reason> {
    let mut codings = Codings::default();
    let mut is_there = false;
    for value in fields.get_all(FieldName::TransferEncoding) {
        is_there = true;
        for member in value.split(|byte| *byte == b',') {
            codings.add(member.trim_ascii())?;
        }
    }
    if is_there {
        codings.check()?;
    }
    Ok(is_there)
}

/// What a list has so far.
#[derive(Default)]
struct Codings {
    chunked: u32,
    others: u32,
    ends_in_chunked: bool,
}

impl Codings {
    fn add(&mut self, member: &[u8]) -> Result<(), Reason> {
        self.ends_in_chunked = is_same_name(member, b"chunked");
        if self.ends_in_chunked {
            self.chunked += 1;
        } else {
            check_other(member)?;
            self.others += 1;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Reason> {
        if self.chunked > 1 {
            return Err(Reason::RepeatedChunked);
        }
        // RFC 9112 section 6.3: a request whose last coding is not chunked has no known end, and
        // 400 is the answer even if the coding is unknown.
        if !self.ends_in_chunked {
            return Err(Reason::ChunkedNotFinal);
        }
        if self.others > 0 {
            return Err(Reason::UnknownCoding);
        }
        Ok(())
    }
}

/// A coding is a token and perhaps parameters; chunked has none (RFC 9112 section 7.1).
fn check_other(member: &[u8]) -> Result<(), Reason> {
    let name = &member[..prefix(member, TOKEN)];
    let rest = member[name.len()..].trim_ascii_start();
    let is_coding = !name.is_empty() && matches!(rest, [] | [b';', ..]);
    if !is_coding || is_same_name(name, b"chunked") {
        return Err(Reason::BadTransferCoding);
    }
    Ok(())
}

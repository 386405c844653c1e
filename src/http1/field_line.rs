//! One field line: `field-name ":" OWS field-value OWS` and CRLF (RFC 9112 section 5).

use crate::message::{FieldName, PLAIN, Span, TOKEN, chunk, prefix};

use super::Reason;
use super::line::{Stop, crlf, fault_at};

/// A line of a field section.
pub(super) enum Line {
    Field(FieldLine),
    /// The empty line, and what follows it.
    End(usize),
}

/// A field line, by positions.
pub(super) struct FieldLine {
    pub(super) name: Span,
    pub(super) value: Span,
    pub(super) id: FieldName,
    /// Whether the name has letters, digits and hyphens only.
    pub(super) is_plain: bool,
    /// Whether it has exactly one space between colon and value and none after it.
    pub(super) is_verbatim: bool,
    pub(super) is_ascii: bool,
    /// Where the next line begins.
    pub(super) next: usize,
}

/// Reads the line that begins at `start`.
#[inline]
pub(super) fn read(bytes: &[u8], start: usize) -> Result<Line, Stop> {
    if bytes.get(start) == Some(&b'\r') {
        return Ok(Line::End(crlf(bytes, start, Reason::BareCr)?));
    }
    let Name {
        length,
        id,
        is_plain,
    } = name(bytes, start);
    let colon = start + length;
    if length == 0 || bytes.get(colon) != Some(&b':') {
        return Err(no_field(bytes, start, colon));
    }
    let (begin, is_after_space) = value_start(bytes, colon + 1);
    let (raw_end, is_ascii) = value_end(bytes, begin);
    let next = crlf(bytes, raw_end, Reason::ControlByte)?;
    let end = trim_whitespace(bytes, begin, raw_end);
    Ok(Line::Field(FieldLine {
        name: Span::new(start, colon),
        value: Span::new(begin, end),
        id,
        is_plain,
        is_verbatim: is_after_space && raw_end == end,
        is_ascii,
        next,
    }))
}

/// The token at the beginning of a line.
struct Name {
    length: usize,
    id: FieldName,
    is_plain: bool,
}

#[inline]
fn name(bytes: &[u8], start: usize) -> Name {
    match before_near_colon(bytes, start) {
        // A known name is a token.
        (length, id) if id != FieldName::Other => Name {
            length,
            id,
            is_plain: true,
        },
        _ => unknown_name(bytes.get(start..).unwrap_or_default()),
    }
}

/// A name that is not known, or the beginning of a line without one.
#[inline(never)]
fn unknown_name(line: &[u8]) -> Name {
    let (length, is_plain) = token(line);
    Name {
        length,
        id: FieldName::Other,
        is_plain,
    }
}

/// The length of a token, and whether it has letters, digits and hyphens only.
fn token(line: &[u8]) -> (usize, bool) {
    let plain = prefix(line, PLAIN);
    if line.get(plain) == Some(&b':') {
        return (plain, true);
    }
    let rest = prefix(&line[plain..], TOKEN);
    (plain + rest, rest == 0)
}

/// What stands before the first colon, if that is where known names have it.
#[inline]
fn before_near_colon(bytes: &[u8], start: usize) -> (usize, FieldName) {
    let first = chunk::at(bytes, start);
    if let Some(length) = chunk::first_colon(first) {
        return (length, FieldName::from_chunks(length, [first, 0]));
    }
    let second = chunk::at(bytes, start + chunk::LENGTH);
    match chunk::first_colon(second) {
        Some(colon) => {
            let length = chunk::LENGTH + colon;
            (length, FieldName::from_chunks(length, [first, second]))
        }
        None => (0, FieldName::Other),
    }
}

/// The line has no name, or none with a colon right behind it.
#[cold]
fn no_field(bytes: &[u8], start: usize, at: usize) -> Stop {
    let is_empty = at == start;
    let reason = match bytes.get(at) {
        None => return Stop::Incomplete,
        Some(b':') => Reason::EmptyFieldName,
        // RFC 9112 section 5.2: a folded value is refused, not unfolded.
        Some(b' ' | b'\t') if is_empty => Reason::ObsFold,
        // RFC 9112 section 5.1: whitespace before the colon is refused, not removed.
        Some(b' ' | b'\t') => Reason::SpaceInFieldName,
        Some(b'\r') => Reason::MissingColon,
        Some(_) => Reason::BadFieldName,
    };
    fault_at(bytes, at, reason)
}

/// Where a value begins, and whether that is behind exactly one space.
#[inline]
fn value_start(bytes: &[u8], at: usize) -> (usize, bool) {
    match bytes.get(at..) {
        Some([b' ', next, ..]) if *next > b' ' => (at + 1, true),
        _ => skip_whitespace(bytes, at),
    }
}

#[inline(never)]
fn skip_whitespace(bytes: &[u8], at: usize) -> (usize, bool) {
    let rest = bytes.get(at..).unwrap_or_default();
    let spaces = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
    let count = spaces.count();
    (at + count, count == 1 && rest[0] == b' ')
}

#[inline]
fn trim_whitespace(bytes: &[u8], start: usize, mut end: usize) -> usize {
    while end > start && matches!(bytes[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    end
}

/// The first control character but HTAB, or the end of the bytes; and whether all before it is
/// ASCII. RFC 9110 section 5.5 allows what is beyond ASCII, and no control character.
#[inline]
pub(super) fn value_end(bytes: &[u8], start: usize) -> (usize, bool) {
    let mut at = start;
    while at < bytes.len() {
        let Some(special) = chunk::first_special(chunk::at(bytes, at)) else {
            at += chunk::LENGTH;
            continue;
        };
        at += special;
        // Nearly always this is where the line ends.
        return match bytes.get(at) {
            None | Some(b'\r') => (at, true),
            Some(_) => value_end_by_bytes(bytes, start),
        };
    }
    (bytes.len(), true)
}

#[cold]
#[inline(never)]
fn value_end_by_bytes(bytes: &[u8], start: usize) -> (usize, bool) {
    let rest = bytes.get(start..).unwrap_or_default();
    let is_end = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    let length = rest.iter().position(is_end).unwrap_or(rest.len());
    (start + length, rest[..length].is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_found_or_passed() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut bytes = [b'~'; 20];
                bytes[at] = byte;
                let stops = byte.is_ascii_control() && byte != b'\t';
                let end = if stops { at } else { 20 };
                let is_ascii = stops || byte.is_ascii();
                assert_eq!(value_end(&bytes, 0), (end, is_ascii), "{byte} at {at}");
            }
        }
    }
}

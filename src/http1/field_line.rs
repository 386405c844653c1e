//! One field line: `field-name ":" OWS field-value OWS` and CRLF (RFC 9112 section 5).

use crate::message::{FieldName, MAX_GROUPS, PLAIN, Span, TOKEN, prefix};

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
    let Name {
        length,
        id,
        is_plain,
    } = name(&bytes[start..]);
    let colon = start + length;
    if colon == start || bytes.get(colon) != Some(&b':') {
        return no_field(bytes, start, colon);
    }
    let begin = skip_whitespace(bytes, colon + 1);
    let (raw_end, is_ascii) = value_end(bytes, begin);
    let next = crlf(bytes, raw_end, Reason::ControlByte)?;
    let end = trim_whitespace(bytes, begin, raw_end);
    Ok(Line::Field(FieldLine {
        name: Span::new(start, colon),
        value: Span::new(begin, end),
        id,
        is_plain,
        is_verbatim: begin == colon + 2 && bytes[colon + 1] == b' ' && raw_end == end,
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
fn name(line: &[u8]) -> Name {
    let Some((length, id)) = before_near_colon(line) else {
        let (length, is_plain) = token(line);
        let id = FieldName::from_bytes(&line[..length]);
        return Name {
            length,
            id,
            is_plain,
        };
    };
    // A known name is a token. What else stands before a colon is to be looked at.
    let (length, is_plain) = match id {
        FieldName::Other => token(line),
        _ => (length, true),
    };
    Name {
        length,
        id,
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

/// What stands before the first colon, if that is where names have it that are known.
#[inline]
fn before_near_colon(line: &[u8]) -> Option<(usize, FieldName)> {
    let mut groups = [0; MAX_GROUPS];
    for (index, (group, bytes)) in groups.iter_mut().zip(line.as_chunks::<8>().0).enumerate() {
        *group = u64::from_le_bytes(*bytes);
        let colons = zeros(*group ^ (ONES * u64::from(b':')));
        if colons != 0 {
            let length = index * 8 + first_byte(colons);
            return Some((length, FieldName::from_groups(&line[..length], &groups)));
        }
    }
    None
}

/// The line has no name, or none with a colon right behind it.
fn no_field(bytes: &[u8], start: usize, at: usize) -> Result<Line, Stop> {
    let is_empty = at == start;
    let reason = match bytes.get(at) {
        None => return Err(Stop::Incomplete),
        Some(b'\r') if is_empty => {
            return Ok(Line::End(crlf(bytes, at, Reason::BareCr)?));
        }
        Some(b':') => Reason::EmptyFieldName,
        // RFC 9112 section 5.2: a folded value is refused, not unfolded.
        Some(b' ' | b'\t') if is_empty => Reason::ObsFold,
        // RFC 9112 section 5.1: whitespace before the colon is refused, not removed.
        Some(b' ' | b'\t') => Reason::SpaceInFieldName,
        Some(b'\r') => Reason::MissingColon,
        Some(_) => Reason::BadFieldName,
    };
    Err(fault_at(bytes, at, reason))
}

fn skip_whitespace(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

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
    let groups = bytes.get(start..).unwrap_or_default().as_chunks::<8>().0;
    let is_special = |group: &[u8; 8]| !is_plain(u64::from_le_bytes(*group));
    let Some(plain) = groups.iter().position(is_special) else {
        return value_end_by_bytes(bytes, start + groups.len() * 8);
    };
    let (length, is_ascii) = before_control(u64::from_le_bytes(groups[plain]));
    let end = start + plain * 8 + length;
    // Nearly always this is where the line ends.
    if bytes.get(end) == Some(&b'\r') {
        return (end, is_ascii);
    }
    value_end_by_bytes(bytes, start)
}

#[cold]
#[inline(never)]
fn value_end_by_bytes(bytes: &[u8], start: usize) -> (usize, bool) {
    let rest = bytes.get(start..).unwrap_or_default();
    let is_end = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    let length = rest.iter().position(is_end).unwrap_or(rest.len());
    (start + length, rest[..length].is_ascii())
}

/// How many bytes of a group stand before its first control character, and whether they are ASCII.
fn before_control(group: u64) -> (usize, bool) {
    let controls = controls(group);
    let before = match controls {
        0 => u64::MAX,
        controls => (controls & controls.wrapping_neg()) - 1,
    };
    (first_byte(controls), group & HIGH & before == 0)
}

// Eight bytes are tested at once. Each function marks bytes by their highest bit; marks behind the
// first one mean nothing, because a subtraction may borrow from the byte behind.

const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES * 0x80;

/// Whether all bytes are ASCII and none is a control character.
fn is_plain(group: u64) -> bool {
    let marks = group.wrapping_sub(ONES * 0x20) | group | group.wrapping_add(ONES);
    marks & HIGH == 0
}

/// Marks bytes below 0x20, and 0x7f.
fn controls(group: u64) -> u64 {
    let low = group.wrapping_sub(ONES * 0x20) & !group & HIGH;
    low | zeros(group ^ (ONES * 0x7f))
}

/// Marks zeros.
fn zeros(group: u64) -> u64 {
    group.wrapping_sub(ONES) & !group & HIGH
}

/// The index of the first marked byte; 8 if there is none.
fn first_byte(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
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

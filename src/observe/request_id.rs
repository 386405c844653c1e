//! The id of a request, in its log line and in its `X-Request-Id` field.

use std::fmt;

/// What identifies a request: 1 to 128 characters of visible ASCII.
///
/// An id of Weir's own needs no memory beside itself.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(Text);

#[derive(Clone, PartialEq, Eq)]
enum Text {
    /// Hexadecimal digits.
    Own([u8; OWN_LENGTH]),
    Given(Box<str>),
}

/// The digits of 128 bits.
const OWN_LENGTH: usize = 32;

/// A longer id is not taken from a client, trusted or not: it goes into every line about the
/// request.
const MAX_LENGTH: usize = 128;

impl RequestId {
    /// An id of Weir's own: the hexadecimal digits of two numbers.
    pub fn new(high: u64, low: u64) -> Self {
        let mut digits = [0; OWN_LENGTH];
        let parts = [high >> 32, high, low >> 32, low];
        let (eights, _) = digits.as_chunks_mut();
        for (eight, part) in eights.iter_mut().zip(parts) {
            *eight = hex(part as u32);
        }
        Self(Text::Own(digits))
    }

    /// The id that a trusted client gives; `None` if it is empty, too long, or has other
    /// characters than visible ones of ASCII.
    pub fn given(text: &[u8]) -> Option<Self> {
        let is_id = (1..=MAX_LENGTH).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
        let text = std::str::from_utf8(text).ok()?;
        is_id.then(|| Self(Text::Given(text.into())))
    }

    /// Whether it is one of Weir's own.
    pub fn is_own(&self) -> bool {
        matches!(self.0, Text::Own(_))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Own(digits) => std::str::from_utf8(digits).unwrap_or_default(),
            Text::Given(text) => text,
        }
    }

    /// The id as the value of a field.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Own(digits) => digits,
            Text::Given(text) => text.as_bytes(),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestId").field(&self.as_str()).finish()
    }
}

/// The digits of 32 bits, all at once: each half byte gets a byte, and then becomes its digit.
fn hex(number: u32) -> [u8; 8] {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let mut halves = u64::from(number);
    halves = (halves | halves << 16) & 0x0000_ffff_0000_ffff;
    halves = (halves | halves << 8) & 0x00ff_00ff_00ff_00ff;
    halves = (halves | halves << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (halves + 6 * ONES) >> 4 & ONES;
    let to_letter = u64::from(b'a' - b'0' - 10);
    (halves + u64::from(b'0') * ONES + letters * to_letter).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_id_is_hexadecimal() {
        let id = RequestId::new(0x0123_4567_89ab_cdef, 10);
        assert_eq!(id.as_str(), "0123456789abcdef000000000000000a");
        assert_eq!(
            (id.to_string().as_bytes(), id.as_bytes().len()),
            (id.as_bytes(), 32)
        );
        assert_ne!(id, RequestId::new(0x0123_4567_89ab_cdef, 11));
    }

    #[test]
    fn a_given_id_is_visible_and_bounded() {
        let longest = "x".repeat(MAX_LENGTH);
        for text in ["a", "Root=1-67891233-abcdef012345678912345678", &longest] {
            let id = RequestId::given(text.as_bytes()).unwrap();
            assert_eq!((id.as_str(), id.as_bytes()), (text, text.as_bytes()));
        }
        let too_long = "x".repeat(MAX_LENGTH + 1);
        for text in ["", "a b", "a\tb", "a\u{7f}", "\u{e4}", &too_long] {
            assert_eq!(RequestId::given(text.as_bytes()), None, "{text}");
        }
    }
}

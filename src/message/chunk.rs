//! Sixteen bytes of a head, tested at once.

/// Bytes of a head from some position on, the first one lowest. Behind the end of the head it has
/// zeros.
pub(crate) type Chunk = u128;

/// Bytes in a chunk.
pub(crate) const LENGTH: usize = size_of::<Chunk>();

/// The chunk at a position.
#[inline]
pub(crate) fn at(bytes: &[u8], start: usize) -> Chunk {
    match bytes.get(start..).and_then(<[u8]>::first_chunk) {
        Some(chunk) => Chunk::from_le_bytes(*chunk),
        None => at_end(bytes, start),
    }
}

/// A chunk of which the head has only the first bytes.
#[inline(never)]
fn at_end(bytes: &[u8], start: usize) -> Chunk {
    let rest = bytes.get(start..).unwrap_or_default();
    if let Some(chunk) = bytes.last_chunk() {
        let missing = 8 * (LENGTH - rest.len()) as u32;
        return Chunk::from_le_bytes(*chunk)
            .checked_shr(missing)
            .unwrap_or_default();
    }
    let byte = |chunk, byte: &u8| chunk << 8 | Chunk::from(*byte);
    rest.iter().rev().fold(0, byte)
}

/// The index of the first byte which is a control character or not ASCII.
#[inline]
pub(crate) fn first_special(chunk: Chunk) -> Option<usize> {
    first(chunk, specials)
}

/// The index of the first colon.
#[inline]
pub(crate) fn first_colon(chunk: Chunk) -> Option<usize> {
    first(chunk, colons)
}

/// The index of the first byte that is marked. One group after the other: most chunks have a mark
/// in the first one.
#[inline]
fn first(chunk: Chunk, marks: impl Fn(u64) -> u64) -> Option<usize> {
    let low = marks(chunk as u64);
    if low != 0 {
        return Some(low.trailing_zeros() as usize / 8);
    }
    let high = marks((chunk >> 64) as u64);
    (high != 0).then_some(8 + high.trailing_zeros() as usize / 8)
}

// Eight bytes are tested at once. Bytes are marked by their highest bit; marks behind the first one
// mean nothing, because it may borrow from the byte behind, or carry.

const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES * 0x80;

#[inline]
fn specials(group: u64) -> u64 {
    let low = group.wrapping_sub(ONES * 0x20);
    let delete = group.wrapping_add(ONES);
    (low | group | delete) & HIGH
}

#[inline]
fn colons(group: u64) -> u64 {
    let zeros = group ^ (ONES * u64::from(b':'));
    zeros.wrapping_sub(ONES) & !zeros & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_found_at_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..LENGTH {
                let mut bytes = [b'~'; LENGTH];
                bytes[place] = byte;
                let is_special = byte.is_ascii_control() || !byte.is_ascii();
                let chunk = at(&bytes, 0);
                assert_eq!(first_special(chunk), is_special.then_some(place), "{byte}");
                assert_eq!(
                    first_colon(chunk),
                    (byte == b':').then_some(place),
                    "{byte}"
                );
            }
        }
    }

    #[test]
    fn a_chunk_has_zeros_behind_the_end() {
        let bytes: Vec<u8> = (1..=40).collect();
        for length in 0..=40 {
            for start in 0..=length + 2 {
                let head = &bytes[..length];
                let mut expected = [0; LENGTH];
                for (byte, known) in expected.iter_mut().zip(head.iter().skip(start)) {
                    *byte = *known;
                }
                assert_eq!(at(head, start).to_le_bytes(), expected, "{length} {start}");
            }
        }
    }
}

//! Request ids and random bits, per worker.

use std::cell::{Cell, RefCell};

use bytes::BytesMut;
use http::HeaderValue;

/// Request ids: 32 hexadecimal digits, the first half drawn once per worker, the
/// second a counter that starts at random. Unique, not secret.
#[derive(Debug)]
pub(super) struct RequestIds {
    worker: u64,
    next: Cell<u64>,
    /// Ids are cut from one allocation after another, which all their copies share.
    block: RefCell<BytesMut>,
}

/// Bytes of an id.
const LENGTH: usize = 32;

/// Ids per allocation, which lives as long as the longest request among them.
const PER_BLOCK: usize = 64;

impl Default for RequestIds {
    fn default() -> Self {
        Self {
            worker: fastrand::u64(..),
            next: Cell::new(fastrand::u64(..)),
            block: RefCell::default(),
        }
    }
}

impl RequestIds {
    pub(super) fn next(&self) -> HeaderValue {
        let count = self.next.get();
        self.next.set(count.wrapping_add(1));
        let mut block = self.block.borrow_mut();
        if block.capacity() < LENGTH {
            *block = BytesMut::with_capacity(PER_BLOCK * LENGTH);
        }
        let mut digits = [0; LENGTH];
        write_hex(self.worker, &mut digits[..LENGTH / 2]);
        write_hex(count, &mut digits[LENGTH / 2..]);
        block.extend_from_slice(&digits);
        let id = block.split().freeze();
        HeaderValue::from_maybe_shared(id).expect("hexadecimal digits are a legal value")
    }
}

fn write_hex(mut number: u64, digits: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(number & 0xF) as usize];
        number >>= 4;
    }
}

/// Random bits for pickers: `SplitMix64` (Steele, Lea, Flood 2014), two multiplications
/// a draw. Not for secrets.
#[derive(Debug)]
pub(super) struct Entropy(Cell<u64>);

impl Default for Entropy {
    fn default() -> Self {
        Self(Cell::new(fastrand::u64(..)))
    }
}

impl Entropy {
    pub(super) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_hexadecimal() {
        let ids = RequestIds::default();
        let (a, b) = (ids.next(), ids.next());
        assert_ne!(a, b);
        assert_eq!(a.len(), 32);
        assert!(a.as_bytes().iter().all(u8::is_ascii_hexdigit));
    }
}

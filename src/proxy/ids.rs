//! Request ids and random bits, per worker.

use std::cell::Cell;

use crate::observe::RequestId;

/// Request ids: 32 hexadecimal digits, the first half drawn once per worker, the
/// second a counter that starts at random. Unique, not secret.
#[derive(Debug)]
pub(super) struct RequestIds {
    worker: u64,
    next: Cell<u64>,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self {
            worker: fastrand::u64(..),
            next: Cell::new(fastrand::u64(..)),
        }
    }
}

impl RequestIds {
    pub(super) fn next(&self) -> RequestId {
        let count = self.next.get();
        self.next.set(count.wrapping_add(1));
        RequestId::new(self.worker, count)
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
        assert_eq!(a.as_bytes().len(), 32);
        assert!(a.as_bytes().iter().all(u8::is_ascii_hexdigit));
    }
}

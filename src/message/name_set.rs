//! Sets of the names that Weir knows.

use super::FieldName;

/// Fields that concern one connection of HTTP/1.1 (RFC 9110 section 7.6.1), and are never passed on as
/// they came.
pub const HOP_BY_HOP: NameSet = NameSet::of(&[
    FieldName::Connection,
    FieldName::KeepAlive,
    FieldName::ProxyConnection,
    FieldName::Te,
    FieldName::TransferEncoding,
    FieldName::Upgrade,
    FieldName::Http2Settings,
]);

/// A set of names; a lookup tests one bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameSet([u64; 2]);

impl NameSet {
    /// The set of these names.
    pub const fn of(names: &[FieldName]) -> Self {
        let mut bits = [0; 2];
        let mut index = 0;
        while index < names.len() {
            let (word, bit) = place(names[index]);
            bits[word] |= bit;
            index += 1;
        }
        Self(bits)
    }

    /// The union: the names of either.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        let ([a, b], [c, d]) = (self.0, other.0);
        Self([a | c, b | d])
    }

    /// Whether a name is in it.
    pub const fn contains(self, name: FieldName) -> bool {
        let (word, bit) = place(name);
        self.0[word] & bit != 0
    }

    /// Whether they have a name in common.
    pub const fn intersects(self, other: Self) -> bool {
        let ([a, b], [c, d]) = (self.0, other.0);
        a & c | b & d != 0
    }

    pub(super) fn insert(&mut self, name: FieldName) {
        let (word, bit) = place(name);
        self.0[word] |= bit;
    }
}

/// The word and the bit of a name.
const fn place(name: FieldName) -> (usize, u64) {
    let index = name as usize;
    (index / 64 % 2, 1 << (index % 64))
}

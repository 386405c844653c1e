//! Maps from texts, found again with or without regard to ASCII case. Names of fields and
//! methods are looked up as the bytes they are.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use rustc_hash::FxHasher;

/// How texts are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// Byte by byte.
    Sensitive,
    /// Letters of ASCII count as lower-case.
    Folded,
}

impl Case {
    /// A byte as it is compared.
    #[inline]
    pub(super) fn fold(self, byte: u8) -> u8 {
        match self {
            Self::Sensitive => byte,
            Self::Folded => byte.to_ascii_lowercase(),
        }
    }

    fn equal(self, one: &[u8], other: &[u8]) -> bool {
        match self {
            Self::Sensitive => one == other,
            Self::Folded => one.eq_ignore_ascii_case(other),
        }
    }
}

/// A map that is filled by the control plane and read with texts from requests.
///
/// A lookup folds case while it hashes, so it allocates nothing. The hash is fast and
/// has no secret: only a configuration adds keys, so no client can make them collide.
#[derive(Debug)]
pub(super) struct TextMap<V> {
    case: Case,
    /// By the hash of their key.
    entries: HashMap<u64, Vec<Keyed<V>>, BuildHasherDefault<FxHasher>>,
}

/// A value and its key.
type Keyed<V> = (Box<[u8]>, V);

impl<V> TextMap<V> {
    pub(super) fn new(case: Case) -> Self {
        Self {
            case,
            entries: HashMap::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn get(&self, key: impl AsRef<[u8]>) -> Option<&V> {
        let key = key.as_ref();
        let same = self.entries.get(&hash(self.case, key))?;
        same.iter()
            .find(|(known, _)| self.case.equal(known, key))
            .map(|(_, value)| value)
    }

    pub(super) fn get_or_insert_with(&mut self, key: &str, new: impl FnOnce() -> V) -> &mut V {
        let key = key.as_bytes();
        let case = self.case;
        let same = self.entries.entry(hash(case, key)).or_default();
        let found = same.iter().position(|(known, _)| case.equal(known, key));
        let index = found.unwrap_or_else(|| {
            same.push((key.into(), new()));
            same.len() - 1
        });
        &mut same[index].1
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut().flatten().map(|(_, value)| value)
    }
}

fn hash(case: Case, text: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    let mut folded = [0; 32];
    for chunk in text.chunks(folded.len()) {
        for (to, from) in folded.iter_mut().zip(chunk) {
            *to = case.fold(*from);
        }
        hasher.write(&folded[..chunk.len()]);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folded_map_finds_keys_in_any_case() {
        let long = "Long".repeat(20);
        let mut map = TextMap::new(Case::Folded);
        for key in ["", "Gold", long.as_str()] {
            *map.get_or_insert_with(key, || 0) += key.len();
            *map.get_or_insert_with(&key.to_uppercase(), || 0) += 1000;
        }
        assert_eq!(map.get("gOLD"), Some(&1004));
        assert_eq!(map.get(""), Some(&1000));
        assert_eq!(map.get(long.to_lowercase()), Some(&1080));
        assert_eq!(map.get("silver"), None);
    }

    #[test]
    fn a_sensitive_map_tells_cases_apart() {
        let mut map = TextMap::new(Case::Sensitive);
        map.get_or_insert_with("/a", || 1);
        assert_eq!((map.get("/a"), map.get("/A")), (Some(&1), None));
    }
}

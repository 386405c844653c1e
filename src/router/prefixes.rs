//! Which of many literals a text begins with (or ends with, read backwards).
//!
//! The literals stand in order, each with the longest other one that it begins with. All
//! that begin a text begin its predecessor in that order too, so one binary search and a
//! walk along those links find them, however many literals there are.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::positions::Positions;
use super::text_map::Case;

/// From which end texts are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Start,
    Finish,
}

/// Literals and the rules of each.
#[derive(Debug)]
pub(super) struct Prefixes {
    case: Case,
    end: End,
    /// In order of their literals, which are kept folded and in reading order.
    literals: Box<[Literal]>,
}

#[derive(Debug)]
struct Literal {
    text: Box<[u8]>,
    /// The longest other literal that this one begins with.
    parent: Option<usize>,
    positions: Positions,
}

impl Prefixes {
    pub(super) fn new(case: Case, end: End, literals: BTreeMap<String, Positions>) -> Self {
        let mut sorted: BTreeMap<Box<[u8]>, Positions> = BTreeMap::new();
        for (literal, positions) in literals {
            let bytes = read(literal.as_bytes(), case, end).collect();
            sorted.entry(bytes).or_default().extend(positions);
        }
        let mut known: Vec<Literal> = Vec::with_capacity(sorted.len());
        for (literal, mut positions) in sorted {
            positions.sort_unstable();
            positions.dedup();
            let mut parent = known.len().checked_sub(1);
            while let Some(at) = parent
                && !literal.starts_with(&known[at].text)
            {
                parent = known[at].parent;
            }
            known.push(Literal {
                text: literal,
                parent,
                positions,
            });
        }
        Self {
            case,
            end,
            literals: known.into(),
        }
    }

    /// Calls `visit` with the rules of each literal that `text` begins with.
    pub(super) fn visit(&self, text: &str, visit: &mut impl FnMut(&[u32])) {
        if self.literals.is_empty() {
            return;
        }
        let text = text.as_bytes();
        let behind = self.literals.partition_point(|literal| {
            let read = read(text, self.case, self.end);
            literal.text.iter().copied().cmp(read) != Ordering::Greater
        });
        let mut next = behind.checked_sub(1);
        while let Some(literal) = next.map(|at| &self.literals[at]) {
            if self.begins(text, &literal.text) {
                visit(&literal.positions);
            }
            next = literal.parent;
        }
    }

    fn begins(&self, text: &[u8], literal: &[u8]) -> bool {
        let mut read = read(text, self.case, self.end);
        literal.iter().all(|&byte| read.next() == Some(byte))
    }
}

/// The bytes of a text as they are compared.
fn read(text: &[u8], case: Case, end: End) -> impl Iterator<Item = u8> {
    let len = text.len();
    (0..len).map(move |at| {
        case.fold(match end {
            End::Start => text[at],
            End::Finish => text[len - 1 - at],
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(prefixes: &Prefixes, text: &str) -> Vec<u32> {
        let mut found = Vec::new();
        prefixes.visit(text, &mut |positions| found.extend(positions));
        found.sort_unstable();
        found
    }

    fn numbered(literals: &[&str]) -> BTreeMap<String, Positions> {
        literals
            .iter()
            .zip(0..)
            .map(|(literal, n)| ((*literal).to_owned(), vec![n]))
            .collect()
    }

    #[test]
    fn every_literal_that_begins_the_text_is_found() {
        let literals = numbered(&["/a", "/ab", "/abc", "/b", "", "/abd", "/a/"]);
        let prefixes = Prefixes::new(Case::Sensitive, End::Start, literals);
        let cases: [(&str, &[u32]); 8] = [
            ("/abcd", &[0, 1, 2, 4]),
            ("/ab", &[0, 1, 4]),
            ("/abe", &[0, 1, 4]),
            ("/a/x", &[0, 4, 6]),
            ("/c", &[4]),
            ("", &[4]),
            ("/A", &[4]),
            ("/b\u{ff}", &[3, 4]),
        ];
        for (text, expected) in cases {
            assert_eq!(found(&prefixes, text), expected, "{text}");
        }
    }

    #[test]
    fn ends_are_found_backwards_and_in_any_case() {
        let literals = numbered(&[".example.com", ".com", ".a.example.com"]);
        let suffixes = Prefixes::new(Case::Folded, End::Finish, literals);
        assert_eq!(found(&suffixes, "x.A.Example.COM"), [0, 1, 2]);
        assert_eq!(found(&suffixes, "example.com"), [1]);
        assert_eq!(found(&suffixes, "com"), [0; 0]);
    }
}

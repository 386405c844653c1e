//! The rules that may hold for one text of a request: its host, its path, the value of a
//! header or of a query parameter.

use std::collections::BTreeMap;

use regex::{RegexSet, RegexSetBuilder};

use super::positions::Positions;
use super::prefixes::{End, Prefixes};
use super::shape::Shape;
use super::text_map::{Case, TextMap};

/// Expressions that are searched for at once.
const SET: usize = 64;

/// Bytes that the caches of all sets of one index may take for each thread that searches.
const CACHE: usize = 64 << 20;

/// The least cache with which a search still is one pass over the text.
const LEAST_CACHE: usize = 32 << 10;

/// Rules by the shape of a text.
#[derive(Debug)]
pub(super) struct Values {
    exact: TextMap<Positions>,
    starts: Prefixes,
    ends: Prefixes,
    /// Sets of expressions, and the rules of each set together.
    contains: Vec<(RegexSet, Positions)>,
    anything: Positions,
}

impl Values {
    pub(super) fn new(case: Case, shapes: Vec<(Shape, Positions)>) -> Self {
        let mut exact = TextMap::new(case);
        let (mut starts, mut ends) = (BTreeMap::new(), BTreeMap::new());
        let (mut contains, mut anything) = (Vec::new(), Positions::new());
        for (shape, positions) in shapes {
            match shape {
                Shape::Exact(text) => exact
                    .get_or_insert_with(&text, Positions::new)
                    .extend(positions),
                Shape::Starts(text) => drop(starts.insert(text, positions)),
                Shape::Ends(text) => drop(ends.insert(text, positions)),
                Shape::Contains(source) => contains.push((source, positions)),
                Shape::Anything => anything.extend(positions),
            }
        }
        // Two spellings of one text are one entry when case is folded.
        exact.values_mut().for_each(in_order);
        let cache = (CACHE / contains.len().div_ceil(SET).max(1)).max(LEAST_CACHE);
        let mut sets = Vec::new();
        for chunk in contains.chunks(SET) {
            search_for(chunk, cache, &mut sets, &mut anything);
        }
        in_order(&mut anything);
        Self {
            exact,
            starts: Prefixes::new(case, End::Start, starts),
            ends: Prefixes::new(case, End::Finish, ends),
            contains: sets,
            anything,
        }
    }

    /// Calls `visit` with lists of rules that together hold every rule which may match
    /// `text`, some perhaps twice; each list is in order.
    pub(super) fn visit(&self, text: &str, visit: &mut impl FnMut(&[u32])) {
        if !self.exact.is_empty()
            && let Some(positions) = self.exact.get(text)
        {
            visit(positions);
        }
        self.starts.visit(text, visit);
        self.ends.visit(text, visit);
        for (set, positions) in &self.contains {
            if set.is_match(text) {
                visit(positions);
            }
        }
        visit(&self.anything);
    }
}

/// Adds a set of these expressions, or smaller ones if it would be too large. One that does
/// not fit alone is tried with every text.
fn search_for(
    some: &[(String, Positions)],
    cache: usize,
    sets: &mut Vec<(RegexSet, Positions)>,
    anything: &mut Positions,
) {
    let sources = some.iter().map(|(source, _)| source);
    let set = RegexSetBuilder::new(sources).dfa_size_limit(cache).build();
    let positions = some.iter().flat_map(|(_, positions)| positions).copied();
    match set {
        Ok(set) => {
            let mut positions: Positions = positions.collect();
            in_order(&mut positions);
            sets.push((set, positions));
        }
        Err(_) if some.len() == 1 => anything.extend(positions),
        Err(_) => {
            let (some, others) = some.split_at(some.len() / 2);
            search_for(some, cache, sets, anything);
            search_for(others, cache, sets, anything);
        }
    }
}

fn in_order(positions: &mut Positions) {
    positions.sort_unstable();
    positions.dedup();
}

//! Rendezvous hashing: every member bids for the key, the highest bid wins
//! (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates",
//! 1998; with weights by -w / ln(h), Schindelhauer and Schomaker, "Weighted
//! Distributed Hash Tables", 2005; here its reciprocal, as a price).
//!
//! A member's bid depends on the key, its address and its weight alone. So removing
//! a member moves its own keys and no others, adding one moves keys only to it,
//! and the order of the bids is the order in which a key falls back.

use super::hash::{hash_target, mix};
use super::key_order::KeyOrder;
use super::roster::{Member, Roster};

/// Asks every member for each key.
#[derive(Debug)]
pub(super) struct Rendezvous {
    /// Sorted by identity, so that equal bids are decided alike in every roster.
    bidders: Box<[Bidder]>,
    is_weighted: bool,
}

#[derive(Debug)]
struct Bidder {
    identity: u64,
    index: usize,
    weight: f64,
}

impl Rendezvous {
    pub(super) fn new(roster: &Roster) -> Self {
        let members = roster.members();
        let bidder = |(index, member): (usize, &Member)| Bidder {
            identity: hash_target(&member.target.id.addr),
            index,
            weight: f64::from(member.weight.get()),
        };
        let mut bidders: Box<[Bidder]> = members.iter().enumerate().map(bidder).collect();
        bidders.sort_unstable_by_key(|bidder| bidder.identity);
        Self {
            bidders,
            is_weighted: !roster.is_even(),
        }
    }

    /// The bidder with the largest hash. Equal weights keep the order of the hashes,
    /// so the logarithm can be left out without moving a key.
    fn best_hash(&self, key: u64, accepted: impl Fn(usize) -> bool) -> Option<usize> {
        self.bidders
            .iter()
            .filter(|bidder| accepted(bidder.index))
            .max_by_key(|bidder| bidder.hash(key))
            .map(|bidder| bidder.index)
    }

    /// The bidder with the smallest price.
    fn best_price(&self, key: u64, accepted: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = None;
        let mut lowest = f64::INFINITY;
        for bidder in &self.bidders {
            let fraction = bidder.fraction(key);
            // 1 - x <= -ln(x), and close to it where bids are good: most bidders are
            // out before their logarithm is computed.
            if 1.0 - fraction < lowest * bidder.weight && accepted(bidder.index) {
                let price = -fraction.ln() / bidder.weight;
                if price < lowest {
                    (best, lowest) = (Some(bidder.index), price);
                }
            }
        }
        best
    }
}

impl KeyOrder for Rendezvous {
    fn first(&self, key: u64, accepted: impl Fn(usize) -> bool) -> Option<usize> {
        if self.is_weighted {
            self.best_price(key, accepted)
        } else {
            self.best_hash(key, accepted)
        }
    }
}

impl Bidder {
    fn hash(&self, key: u64) -> u64 {
        mix(key ^ self.identity)
    }

    /// The upper 53 bits of the hash as a fraction in (0, 1): the half keeps it off
    /// both ends.
    fn fraction(&self, key: u64) -> f64 {
        ((self.hash(key) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }
}

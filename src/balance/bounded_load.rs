//! A limit on the load of one member (Mirrokni, Thorup, Zadimoghaddam,
//! "Consistent Hashing with Bounded Loads", 2016).
//!
//! With n requests in flight in the whole group, a member of weight w out of W
//! takes a request only while it has fewer than ceil(c · (n + 1) · w / W), at least
//! one, as in `HAProxy` (`chash_server_is_eligible`). The limits add up to more than n,
//! so while no member has been tried there is always one below its own.

use std::sync::Arc;

use super::roster::Roster;

/// The factor c is kept in thousandths: 1.1 is then exactly 1.1.
const UNIT: u128 = 1000;

/// The limit on the load of every member of a roster.
#[derive(Debug)]
pub(super) struct LoadBound {
    roster: Arc<Roster>,
    factor: u128,
    total_weight: u128,
}

impl LoadBound {
    /// Factors below 1 count as 1.
    pub(super) fn new(roster: &Arc<Roster>, factor: f64) -> Self {
        let weights = roster.members().iter().map(|m| u128::from(m.weight.get()));
        Self {
            factor: ((factor * UNIT as f64).round() as u128).max(UNIT),
            total_weight: weights.sum(),
            roster: Arc::clone(roster),
        }
    }

    /// Which members may take a request now.
    pub(super) fn admits(&self) -> impl Fn(usize) -> bool + Copy {
        let members = self.roster.members();
        let in_flight: u64 = members
            .iter()
            .map(|m| u64::from(m.target.load().in_flight()))
            .sum();
        let allowed = self.factor * (u128::from(in_flight) + 1);
        let unit = UNIT * self.total_weight;
        move |index: usize| {
            let member = &members[index];
            // Below the ceiling of a fraction is below the fraction, for a whole number.
            u128::from(member.target.load().in_flight()) * unit
                < allowed * u128::from(member.weight.get())
        }
    }
}

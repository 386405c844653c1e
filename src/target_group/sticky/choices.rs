//! The groups of weighted forwards that a client was sent to.

use std::time::{Duration, SystemTime};

use super::{MAX_COOKIES, Nonce, Seal, is_near, life, number, seconds, time, whole_seconds};

/// The groups a client was sent to: what the cookie of group stickiness holds.
///
/// A site has one such cookie and may have several weighted forwards, so it remembers more
/// than one group. Which forward a choice was made by does not matter: rules that share
/// their groups share the choice, and a page finds the version of its API that it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choices([Option<(u64, SystemTime)>; CHOICES]);

/// Groups a cookie remembers, the latest first.
const CHOICES: usize = 4;

impl Choices {
    /// Seals and opens all choices that Weirs with this key made.
    pub fn seal_of(key: &[u8; 32]) -> Seal {
        Seal::new(key, "weir groups 1")
    }

    /// The choices of a request that has these cookies, without those that have expired.
    pub fn find<'a>(
        seal: &Seal,
        mut cookies: impl Iterator<Item = &'a [u8]>,
        now: SystemTime,
    ) -> Self {
        let opened = cookies
            .by_ref()
            .take(MAX_COOKIES)
            .find_map(|cookie| seal.open(cookie));
        let mut choices = opened.map_or_else(Self::default, Self::from_bytes);
        for choice in &mut choices.0 {
            choice.take_if(|(_, expires)| *expires <= now);
        }
        choices
    }

    /// Until when a group stays chosen.
    pub fn until(&self, group: u64) -> Option<SystemTime> {
        let mut choices = self.0.iter().flatten();
        let (_, expires) = choices.find(|(chosen, _)| *chosen == group)?;
        Some(*expires)
    }

    /// The choices after another one, for `duration`; `None` if that changes next to
    /// nothing (see `Sessions::verdict`). `siblings` are the groups it was chosen from.
    pub fn choose(
        &self,
        group: u64,
        siblings: &[u64],
        duration: Duration,
        now: SystemTime,
    ) -> Option<Self> {
        let expires = whole_seconds(now + duration);
        if self
            .until(group)
            .is_some_and(|held| is_near(held, expires, now))
        {
            return None;
        }
        let others = self.0.iter().flatten().copied();
        let others = others.filter(|(other, _)| !siblings.contains(other) && *other != group);
        let mut next = Self::default();
        for (place, choice) in next
            .0
            .iter_mut()
            .zip([(group, expires)].into_iter().chain(others))
        {
            *place = Some(choice);
        }
        Some(next)
    }

    /// How long a client keeps the cookie: as long as the choice that lasts longest.
    pub fn max_age(&self, now: SystemTime) -> Duration {
        let expiries = self.0.iter().flatten().map(|(_, expires)| *expires);
        life(expiries.max().unwrap_or(now), now)
    }

    /// The value of the cookie.
    pub fn seal(&self, seal: &Seal, nonce: Nonce) -> String {
        let mut bytes = [0; CHOICES * 16];
        for (place, (group, expires)) in bytes.chunks_exact_mut(16).zip(self.0.iter().flatten()) {
            place[..8].copy_from_slice(&group.to_be_bytes());
            place[8..].copy_from_slice(&seconds(*expires).to_be_bytes());
        }
        seal.seal(bytes, nonce)
    }

    fn from_bytes(bytes: [u8; CHOICES * 16]) -> Self {
        let mut choices = Self::default();
        for (choice, place) in choices.0.iter_mut().zip(bytes.chunks_exact(16)) {
            // An empty place expired in 1970.
            *choice = time(number(&place[8..])).map(|expires| (number(&place[..8]), expires));
        }
        choices
    }
}

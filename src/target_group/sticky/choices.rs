//! The groups that a client was sent to by weighted forwards.

use std::time::{Duration, SystemTime};

use super::lifetime::{MAX_COOKIES, is_near, life, number, seconds, time, whole_seconds};
use super::seal::{Nonce, Seal};

/// The groups a client was sent to: what the cookie of group stickiness holds.
///
/// A site has one such cookie and may have several weighted forwards, so it remembers more
/// than one group. Which forward made a choice does not matter: rules that share their
/// groups share the choice, so that a page and its API come from the same version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choices([Option<(u64, SystemTime)>; CHOICES]);

/// Groups a cookie remembers, the latest first.
const CHOICES: usize = 4;

impl Choices {
    /// Seals and opens the choices of all Weirs with this key.
    pub fn seal_of(key: &[u8; 32]) -> Seal {
        Seal::new(key, "weir groups 1")
    }

    /// The choices in these cookies of a request, without those that have expired.
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

    /// When the choice of a group expires; `None` if the group is not chosen.
    pub fn until(&self, group: u64) -> Option<SystemTime> {
        self.0
            .iter()
            .flatten()
            .find(|(chosen, _)| *chosen == group)
            .map(|(_, expires)| *expires)
    }

    /// The choices after another one, for `duration`; `None` if the cookie would hardly
    /// change (see `Sessions::cookie_update`). `siblings` are the groups it was chosen from.
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
        let others = self
            .0
            .iter()
            .flatten()
            .copied()
            .filter(|(other, _)| !siblings.contains(other) && *other != group);
        let mut next = Self::default();
        for (slot, choice) in next
            .0
            .iter_mut()
            .zip([(group, expires)].into_iter().chain(others))
        {
            *slot = Some(choice);
        }
        Some(next)
    }

    /// How long a client keeps the cookie: as long as the choice that lasts longest.
    pub fn max_age(&self, now: SystemTime) -> Duration {
        let latest = self.0.iter().flatten().map(|(_, expires)| *expires).max();
        life(latest.unwrap_or(now), now)
    }

    /// The value of the cookie.
    pub fn seal(&self, seal: &Seal, nonce: Nonce) -> String {
        let mut bytes = [0; CHOICES * 16];
        for (part, (group, expires)) in bytes.chunks_exact_mut(16).zip(self.0.iter().flatten()) {
            part[..8].copy_from_slice(&group.to_be_bytes());
            part[8..].copy_from_slice(&seconds(*expires).to_be_bytes());
        }
        seal.seal(bytes, nonce)
    }

    fn from_bytes(bytes: [u8; CHOICES * 16]) -> Self {
        let mut choices = Self::default();
        for (choice, part) in choices.0.iter_mut().zip(bytes.chunks_exact(16)) {
            // An empty part expired in 1970.
            *choice = time(number(&part[8..])).map(|expires| (number(&part[..8]), expires));
        }
        choices
    }
}

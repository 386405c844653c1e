//! Sessions with a target of a group.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustc_hash::FxBuildHasher;

use super::{MAX_COOKIES, Nonce, Seal, is_near, life, number, seconds, time, whole_seconds};
use crate::balance::{Roster, hash_target};
use crate::model::{CookieSource, Sticky, StickyDraining, StickyFull, TargetGroupId};
use crate::target::{Lease, Target};
use crate::target_group::{Registered, Tried, Unavailable};

/// The sessions of a group, and where its targets are found for them.
#[derive(Debug)]
pub struct Sessions {
    /// As configured.
    pub settings: Sticky,
    seal: Seal,
    homes: HashMap<u64, Home, FxBuildHasher>,
}

/// A target that may go on with its sessions.
#[derive(Debug)]
struct Home {
    target: Arc<Target>,
    /// Its index in the roster; `None` while it drains.
    member: Option<usize>,
}

/// What a cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which target, by the hash of its address.
    pub target: u64,
    /// When the cookie is worth nothing any more.
    pub expires: SystemTime,
    /// When the application's cookie expires, if it says so: later than that, a session
    /// cannot be.
    pub ends: Option<SystemTime>,
}

/// What a response says of the application's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplicationCookie {
    /// Nothing.
    Unmentioned,
    /// A new value, and when it expires; `None` with the browser's session.
    Set(Option<SystemTime>),
    /// That it is no more.
    Deleted,
}

/// What a response says of Weir's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: the client has the right one, or needs none.
    Keep,
    /// A new one.
    Issue(Session),
    /// That it is no more.
    Delete,
}

impl Sessions {
    /// The sessions of a group with these targets, of which the roster holds those that
    /// may get any request, and the iterator those that may go on with what they have
    /// (see [`draining`]).
    pub fn new(
        settings: Sticky,
        key: &[u8; 32],
        group: &TargetGroupId,
        roster: Option<&Roster>,
        draining: impl Iterator<Item = Arc<Target>>,
    ) -> Self {
        let members = roster.map_or(&[][..], Roster::members);
        let mut homes = HashMap::default();
        for (index, member) in members.iter().enumerate() {
            let home = Home {
                target: Arc::clone(&member.target),
                member: Some(index),
            };
            homes.insert(hash_target(member.target.id.addr), home);
        }
        if settings.when_draining == StickyDraining::Stay {
            for target in draining {
                let hash = hash_target(target.id.addr);
                let member = None;
                homes.entry(hash).or_insert(Home { target, member });
            }
        }
        Self {
            settings,
            seal: Seal::new(key, &format!("weir session 1 {group}")),
            homes,
        }
    }

    /// The session of a request that has these cookies: the first that Weir made, that has
    /// not expired and that leads to a target. Without such a target the first of the
    /// others, so that its end is remembered.
    pub fn find<'a>(
        &self,
        cookies: impl Iterator<Item = &'a [u8]>,
        now: SystemTime,
    ) -> Option<Session> {
        let mut lost = None;
        for cookie in cookies.take(MAX_COOKIES) {
            let session = self.seal.open(cookie).and_then(Session::from_bytes);
            match session.filter(|session| session.expires > now) {
                Some(session) if self.homes.contains_key(&session.target) => return Some(session),
                Some(session) => lost = lost.or(Some(session)),
                None => {}
            }
        }
        lost
    }

    /// Starts a request on the target of its session. `Ok(None)` sends it to any other.
    pub(in crate::target_group) fn resume(
        &self,
        session: u64,
        tried: &mut Tried,
    ) -> Result<Option<Lease>, Unavailable> {
        let Some(home) = self.homes.get(&session) else {
            return Ok(None);
        };
        let Some(lease) = home.target.try_lease() else {
            return match self.settings.when_full {
                StickyFull::Move => Ok(None),
                StickyFull::Wait => Err(Unavailable::Full),
            };
        };
        // A draining target is in no roster: no picker finds it a second time.
        if let Some(index) = home.member {
            tried.push(index);
        }
        Ok(Some(lease))
    }

    /// The target that a session waits for while it is full; `None` if it would rather move.
    pub(in crate::target_group) fn waits_for(&self, session: u64) -> Option<&Arc<Target>> {
        let home = self.homes.get(&session)?;
        (self.settings.when_full == StickyFull::Wait).then_some(&home.target)
    }

    /// What the response of `target` says, to a request that had the session `held`.
    ///
    /// A cookie costs a cipher, a few bytes and the response's place in many caches, so one
    /// that changes next to nothing is not sent: ALB refreshes with each response, Weir
    /// when a tenth of the life has passed. A session that is used at least once in nine
    /// tenths of its duration never ends.
    pub fn verdict(
        &self,
        held: Option<Session>,
        application: ApplicationCookie,
        target: SocketAddr,
        now: SystemTime,
    ) -> Verdict {
        let ends = match (&self.settings.source, application) {
            (CookieSource::LoadBalancer, _) => None,
            (CookieSource::Application(_), ApplicationCookie::Set(ends)) => ends.map(whole_seconds),
            (CookieSource::Application(_), ApplicationCookie::Deleted) => return Verdict::Delete,
            (CookieSource::Application(_), ApplicationCookie::Unmentioned) => match held {
                Some(held) => held.ends,
                None => return Verdict::Keep,
            },
        };
        let expires = whole_seconds(now + self.settings.duration);
        let next = Session {
            target: hash_target(target),
            expires: ends.map_or(expires, |ends| ends.min(expires)),
            ends,
        };
        match held {
            Some(held) if held.says_enough_of(&next, now) => Verdict::Keep,
            Some(_) | None => Verdict::Issue(next),
        }
    }

    /// How long a client keeps the cookie of a session; `None` until its browser closes.
    pub fn max_age(&self, session: &Session, now: SystemTime) -> Option<Duration> {
        let lives_on = match self.settings.source {
            CookieSource::LoadBalancer => true,
            CookieSource::Application(_) => session.ends.is_some(),
        };
        lives_on.then(|| life(session.expires, now))
    }

    /// The value of a session's cookie.
    pub fn seal(&self, session: &Session, nonce: Nonce) -> String {
        self.seal.seal(session.to_bytes(), nonce)
    }
}

impl Session {
    fn says_enough_of(&self, next: &Self, now: SystemTime) -> bool {
        self.target == next.target
            && self.ends.is_some() == next.ends.is_some()
            && is_near(self.expires, next.expires, now)
    }

    fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.target.to_be_bytes());
        bytes[8..16].copy_from_slice(&seconds(self.expires).to_be_bytes());
        bytes[16..].copy_from_slice(&self.ends.map_or(0, seconds).to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; 24]) -> Option<Self> {
        let ends = number(&bytes[16..]);
        Some(Self {
            target: number(&bytes[..8]),
            expires: time(number(&bytes[8..16]))?,
            ends: if ends == 0 { None } else { Some(time(ends)?) },
        })
    }
}

/// The targets that get no new sessions and may go on with theirs, unless they fail their
/// checks.
///
/// A target of weight 0 drains like one that is being deregistered: it is how an operator
/// takes one out without a deadline.
pub fn draining(targets: &[Registered], checked: bool) -> impl Iterator<Item = Arc<Target>> {
    targets
        .iter()
        .filter(|t| t.weight == 0 || !t.registration.is_active())
        .filter(move |t| !checked || t.target.health().is_healthy())
        .map(|t| Arc::clone(&t.target))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::balance::Member;
    use crate::model::TargetId;
    use crate::target::Admission;

    /// A target that takes one request at a time.
    fn target(port: u16) -> Arc<Target> {
        let admission = Arc::new(Admission::default());
        admission.open(NonZeroU32::new(1), &[], false);
        let id = TargetId {
            group: "todo".into(),
            addr: ([127, 0, 0, 1], port).into(),
        };
        Arc::new(Target::with_admission(id, admission))
    }

    /// The sessions of a member and of a target that drains, and the two.
    fn sessions(when_full: StickyFull, when_draining: StickyDraining) -> (Sessions, [u64; 2]) {
        let (member, leaving) = (target(1), target(2));
        let homes = [&member, &leaving].map(|target| hash_target(target.id.addr));
        let roster = Roster::new(vec![Member {
            target: member,
            weight: 1.try_into().unwrap(),
        }]);
        let settings = Sticky {
            source: CookieSource::LoadBalancer,
            cookie: "WEIRLB".to_owned(),
            duration: Duration::from_secs(60),
            when_full,
            when_draining,
        };
        let (group, leaving) = ("todo".into(), std::iter::once(leaving));
        let sessions = Sessions::new(settings, &[7; 32], &group, roster.as_ref(), leaving);
        (sessions, homes)
    }

    #[test]
    fn a_full_target_is_left_or_waited_for() {
        for when_full in [StickyFull::Move, StickyFull::Wait] {
            let (sessions, [member, _]) = sessions(when_full, StickyDraining::Move);
            let mut tried = Tried::default();
            let lease = sessions.resume(member, &mut tried).unwrap();
            assert!(lease.is_some());
            assert_eq!(tried.as_slice(), [0], "a retry goes elsewhere");
            let mut tried = Tried::default();
            match sessions.resume(member, &mut tried) {
                Ok(None) => assert_eq!(when_full, StickyFull::Move),
                Err(Unavailable::Full) => assert_eq!(when_full, StickyFull::Wait),
                other => panic!("{other:?}"),
            }
            assert!(tried.as_slice().is_empty());
            drop(lease);
            assert!(sessions.resume(member, &mut tried).unwrap().is_some());
        }
    }

    #[test]
    fn a_draining_target_goes_on_with_its_sessions_if_they_stay() {
        for (when_draining, stays) in [(StickyDraining::Stay, true), (StickyDraining::Move, false)]
        {
            let (sessions, [_, leaving]) = sessions(StickyFull::Move, when_draining);
            let mut tried = Tried::default();
            let lease = sessions.resume(leaving, &mut tried).unwrap();
            assert_eq!(lease.is_some(), stays);
            assert!(tried.as_slice().is_empty(), "it is no member of the roster");
            assert!(sessions.resume(9, &mut tried).unwrap().is_none(), "removed");
        }
    }
}

//! Sessions with a target of a group.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustc_hash::FxBuildHasher;

use super::lifetime::{MAX_COOKIES, is_near, life, number, seconds, time, whole_seconds};
use super::seal::{Nonce, Seal};
use crate::balance::{Roster, hash_target};
use crate::model::{CookieSource, Endpoint, Sticky, StickyDraining, StickyFull, TargetGroupId};
use crate::target::{Lease, Target};
use crate::target_group::pick_request::{Tried, Unavailable};
use crate::target_group::registered::Registered;

/// The sessions of a group, and where its targets are found for them.
#[derive(Debug)]
pub struct Sessions {
    /// The settings of the group.
    pub settings: Sticky,
    seal: Seal,
    /// By the hash of their address.
    targets: HashMap<u64, SessionTarget, FxBuildHasher>,
}

/// A target that may go on with its sessions.
#[derive(Debug)]
struct SessionTarget {
    target: Arc<Target>,
    /// Its index in the roster; `None` while it drains.
    member: Option<usize>,
}

/// The content of a session cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which target, by the hash of its address.
    pub target: u64,
    /// When the cookie expires.
    pub expires: SystemTime,
    /// When the application's cookie expires, if it says so: the session ends then at the
    /// latest.
    pub ends: Option<SystemTime>,
}

/// What a response does to the application's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplicationCookie {
    /// It does not mention it.
    Unmentioned,
    /// It sets a value, which expires then; `None` stands for the browser's session.
    Set(Option<SystemTime>),
    /// It deletes it.
    Deleted,
}

/// What a response does to Weir's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieUpdate {
    /// Nothing: the client has the right one, or needs none.
    Keep,
    /// It sets this one.
    Issue(Session),
    /// It deletes it.
    Delete,
}

impl Sessions {
    /// The sessions of a group. The roster holds the targets that may get any request, and
    /// `draining` those that may only go on with the sessions they have (see [`draining`]).
    pub fn new(
        settings: Sticky,
        key: &[u8; 32],
        group: &TargetGroupId,
        roster: Option<&Roster>,
        draining: impl Iterator<Item = Arc<Target>>,
    ) -> Self {
        let members = roster.map_or(&[][..], Roster::members);
        let mut targets = HashMap::default();
        for (index, member) in members.iter().enumerate() {
            let target = SessionTarget {
                target: Arc::clone(&member.target),
                member: Some(index),
            };
            targets.insert(hash_target(&member.target.id.addr), target);
        }
        if settings.when_draining == StickyDraining::Stay {
            for target in draining {
                let hash = hash_target(&target.id.addr);
                targets.entry(hash).or_insert(SessionTarget {
                    target,
                    member: None,
                });
            }
        }
        Self {
            settings,
            seal: Seal::new(key, &format!("weir session 1 {group}")),
            targets,
        }
    }

    /// The session of a request that has these cookies: the first that Weir made, that has
    /// not expired and that leads to a target. If there is none, the first that leads to a
    /// target which is gone, so that the end of the application's cookie is known.
    pub fn find<'a>(
        &self,
        cookies: impl Iterator<Item = &'a [u8]>,
        now: SystemTime,
    ) -> Option<Session> {
        let mut without_target = None;
        for cookie in cookies.take(MAX_COOKIES) {
            let session = self.seal.open(cookie).and_then(Session::from_bytes);
            match session.filter(|session| session.expires > now) {
                Some(session) if self.targets.contains_key(&session.target) => {
                    return Some(session);
                }
                Some(session) => without_target = without_target.or(Some(session)),
                None => {}
            }
        }
        without_target
    }

    /// Starts a request on the target of its session. `Ok(None)` means: on any target.
    pub(in crate::target_group) fn resume(
        &self,
        session: u64,
        tried: &mut Tried,
    ) -> Result<Option<Lease>, Unavailable> {
        let Some(own) = self.targets.get(&session) else {
            return Ok(None);
        };
        let Some(lease) = own.target.try_lease() else {
            return match self.settings.when_full {
                StickyFull::Move => Ok(None),
                StickyFull::Wait => Err(Unavailable::Full),
            };
        };
        // A draining target is in no roster: no picker finds it a second time.
        if let Some(index) = own.member {
            tried.push(index);
        }
        Ok(Some(lease))
    }

    /// The target that a session waits for while it is full; `None` if the session moves.
    pub(in crate::target_group) fn waits_for(&self, session: u64) -> Option<&Arc<Target>> {
        let own = self.targets.get(&session)?;
        (self.settings.when_full == StickyFull::Wait).then_some(&own.target)
    }

    /// What the response of `target` does to the cookie of a client that had the session
    /// `held`.
    ///
    /// A cookie costs an encryption, a few bytes and the right of the response to be kept in
    /// many caches, so one that hardly changes is not sent: ALB refreshes with each response,
    /// Weir when a tenth of the life has passed. A session that is used at least once in nine
    /// tenths of its duration never ends.
    pub fn cookie_update(
        &self,
        held: Option<Session>,
        application: ApplicationCookie,
        target: &Endpoint,
        now: SystemTime,
    ) -> CookieUpdate {
        let ends = match (&self.settings.source, application) {
            (CookieSource::LoadBalancer, _) => None,
            (CookieSource::Application(_), ApplicationCookie::Set(ends)) => ends.map(whole_seconds),
            (CookieSource::Application(_), ApplicationCookie::Deleted) => {
                return CookieUpdate::Delete;
            }
            (CookieSource::Application(_), ApplicationCookie::Unmentioned) => match held {
                Some(held) => held.ends,
                None => return CookieUpdate::Keep,
            },
        };
        let expires = whole_seconds(now + self.settings.duration);
        let next = Session {
            target: hash_target(target),
            expires: ends.map_or(expires, |ends| ends.min(expires)),
            ends,
        };
        match held {
            Some(held) if held.stands_for(&next, now) => CookieUpdate::Keep,
            Some(_) | None => CookieUpdate::Issue(next),
        }
    }

    /// How long a client keeps the cookie of a session; `None` stands for until its browser
    /// closes.
    pub fn max_age(&self, session: &Session, now: SystemTime) -> Option<Duration> {
        let is_persistent = match self.settings.source {
            CookieSource::LoadBalancer => true,
            CookieSource::Application(_) => session.ends.is_some(),
        };
        is_persistent.then(|| life(session.expires, now))
    }

    /// The value of a session's cookie.
    pub fn seal(&self, session: &Session, nonce: Nonce) -> String {
        self.seal.seal(session.to_bytes(), nonce)
    }
}

impl Session {
    fn stands_for(&self, next: &Self, now: SystemTime) -> bool {
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
/// A target of weight 0 drains like one that is being deregistered: so an operator takes one
/// out without a deadline.
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
        let hashes = [&member, &leaving].map(|target| hash_target(&target.id.addr));
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
        (sessions, hashes)
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

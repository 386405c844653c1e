//! Sessions in heads: which group and which target a request's cookies ask for, and which
//! cookies its response brings.
//!
//! A response with a new cookie stays as cacheable as its target made it. Shared caches
//! commonly store none that sets a cookie, and most responses of a session set none.

use std::time::{Duration, SystemTime};

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};

use super::client::Client;
use super::cookie;
use crate::model::{CookieSource, Forward, GroupIndex};
use crate::router;
use crate::state::DataPlaneSnapshot;
use crate::target::Target;
use crate::target_group::{
    ApplicationCookie, Choices, CookieUpdate, Nonce, Seal, Session, Sessions, hash_key,
};

/// The cookie of group stickiness (ALB's `AWSALBTG`).
const GROUP_COOKIE: &str = "WEIRTG";

/// What is known of whoever sends a request, and when it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visitor<'a> {
    headers: &'a HeaderMap,
    now: SystemTime,
    /// Whether the client's own connection is encrypted.
    is_secure: bool,
}

impl<'a> Visitor<'a> {
    /// `trusted` is whether the peer's word about the client counts.
    pub(super) fn new(headers: &'a HeaderMap, client: &Client, trusted: bool) -> Self {
        let told = headers.get("x-forwarded-proto").filter(|_| trusted);
        let proto = told.unwrap_or(&client.forwarded.proto);
        // With several proxies in a row the first word is of the one the client spoke to.
        let first = proto.as_bytes().split(|byte| *byte == b',').next();
        Self {
            headers,
            now: SystemTime::now(),
            is_secure: first.is_some_and(|word| word.trim_ascii().eq_ignore_ascii_case(b"https")),
        }
    }
}

/// The group a client stays with for `duration`, and the cookie that says so; without one,
/// the client has it.
pub(super) fn choose_group(
    forward: &Forward<GroupIndex>,
    duration: Duration,
    snapshot: &DataPlaneSnapshot,
    seal: &Seal,
    visitor: Visitor<'_>,
    entropy: u64,
) -> (GroupIndex, Option<HeaderValue>) {
    let cookies = cookie::values(visitor.headers, GROUP_COOKIE);
    let choices = Choices::find(seal, cookies, visitor.now);
    let hash = |index: GroupIndex| hash_key(snapshot.group(index).id.0.as_bytes());
    let chosen = router::choose_again(
        forward,
        entropy,
        |index| choices.until(hash(index)).is_some(),
        |index| snapshot.group(index).is_alive,
    );
    let siblings: Vec<u64> = forward
        .groups
        .iter()
        .map(|(index, _)| hash(*index))
        .collect();
    let next = choices.choose(hash(chosen), &siblings, duration, visitor.now);
    let cookie = next.and_then(|next| {
        let value = next.seal(seal, nonce()?);
        let max_age = next.max_age(visitor.now);
        cookie::set(GROUP_COOKIE, &value, Some(max_age), visitor.is_secure)
    });
    (chosen, cookie)
}

/// A request to a group whose clients stay on their targets.
#[derive(Debug)]
pub(super) struct Visit<'g> {
    sessions: &'g Sessions,
    /// The session it belongs to.
    held: Option<Session>,
    /// Whether there is a cookie to delete.
    has_cookie: bool,
    now: SystemTime,
    is_secure: bool,
}

impl<'g> Visit<'g> {
    /// Reads the request's cookies.
    pub(super) fn new(sessions: &'g Sessions, visitor: Visitor<'_>) -> Self {
        let settings = &sessions.settings;
        let cookies = || cookie::values(visitor.headers, &settings.cookie);
        let is_open = match &settings.source {
            CookieSource::LoadBalancer => true,
            CookieSource::Application(name) => cookie::has(visitor.headers, name),
        };
        let held = is_open.then(|| sessions.find(cookies(), visitor.now));
        Self {
            sessions,
            held: held.flatten(),
            has_cookie: cookies().next().is_some(),
            now: visitor.now,
            is_secure: visitor.is_secure,
        }
    }

    /// The target it should go to, for [`crate::target_group::PickRequest`].
    pub(super) fn target(&self) -> Option<u64> {
        Some(self.held?.target)
    }

    /// Adds to the response of the target that answered what the client must know, and
    /// counts the session there.
    pub(super) fn conclude(&self, target: &Target, response: &mut HeaderMap) {
        let settings = &self.sessions.settings;
        let application = match &settings.source {
            CookieSource::LoadBalancer => ApplicationCookie::Unmentioned,
            CookieSource::Application(name) => cookie::said_of(response, name, self.now),
        };
        let update = self
            .sessions
            .cookie_update(self.held, application, target.id.addr, self.now);
        let has_session = match update {
            CookieUpdate::Issue(_) => true,
            CookieUpdate::Keep => self.held.is_some(),
            CookieUpdate::Delete => false,
        };
        if has_session {
            target.sessions().count();
        }
        let cookie = match update {
            CookieUpdate::Issue(session) => nonce().and_then(|nonce| {
                let value = self.sessions.seal(&session, nonce);
                let max_age = self.sessions.max_age(&session, self.now);
                cookie::set(&settings.cookie, &value, max_age, self.is_secure)
            }),
            CookieUpdate::Delete if self.has_cookie => {
                cookie::set(&settings.cookie, "", Some(Duration::ZERO), self.is_secure)
            }
            CookieUpdate::Keep | CookieUpdate::Delete => None,
        };
        if let Some(cookie) = cookie {
            response.append(SET_COOKIE, cookie);
        }
    }
}

/// From the system, because cookies of many Weirs share a key. `None`, and no cookie, if it
/// has no more to give.
fn nonce() -> Option<Nonce> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).ok()?;
    Some(nonce)
}

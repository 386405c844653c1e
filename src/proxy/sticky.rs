//! Sessions in heads: the group and the target that a request's cookies name, and the cookies
//! that its response sets.
//!
//! A response with a new cookie stays as cacheable as its target made it. Shared caches
//! commonly store no response that sets a cookie, and most responses of a session set none.

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

/// The facts about a request that decide about its cookies.
#[derive(Clone, Copy, Debug)]
pub(super) struct StickyContext<'a> {
    headers: &'a HeaderMap,
    now: SystemTime,
    /// Whether the client's own connection is encrypted.
    is_secure: bool,
}

impl<'a> StickyContext<'a> {
    /// `trusted` is whether the peer is a trusted proxy, so that its `X-Forwarded-Proto` counts.
    pub(super) fn new(headers: &'a HeaderMap, client: &Client, trusted: bool) -> Self {
        let forwarded = headers.get("x-forwarded-proto").filter(|_| trusted);
        let proto = forwarded.unwrap_or(&client.forwarded.proto);
        // With several proxies in a row the first value is from the one next to the client.
        let first = proto.as_bytes().split(|byte| *byte == b',').next();
        Self {
            headers,
            now: SystemTime::now(),
            is_secure: first.is_some_and(|proto| proto.trim_ascii().eq_ignore_ascii_case(b"https")),
        }
    }
}

/// The group with which a client stays for `duration`, and the cookie that names it; `None` if
/// the client has that cookie already.
pub(super) fn choose_group(
    forward: &Forward<GroupIndex>,
    duration: Duration,
    snapshot: &DataPlaneSnapshot,
    seal: &Seal,
    context: StickyContext<'_>,
    entropy: u64,
) -> (GroupIndex, Option<HeaderValue>) {
    let cookies = cookie::values(context.headers, GROUP_COOKIE);
    let choices = Choices::find(seal, cookies, context.now);
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
    let next = choices.choose(hash(chosen), &siblings, duration, context.now);
    let cookie = next.and_then(|next| {
        let value = next.seal(seal, nonce()?);
        let max_age = next.max_age(context.now);
        cookie::set(GROUP_COOKIE, &value, Some(max_age), context.is_secure)
    });
    (chosen, cookie)
}

/// A request to a group with sessions.
#[derive(Debug)]
pub(super) struct StickyRequest<'g> {
    sessions: &'g Sessions,
    /// The session that its cookie names.
    held: Option<Session>,
    /// Whether there is a cookie to delete.
    has_cookie: bool,
    now: SystemTime,
    is_secure: bool,
}

impl<'g> StickyRequest<'g> {
    /// Reads the request's cookies.
    pub(super) fn new(sessions: &'g Sessions, context: StickyContext<'_>) -> Self {
        let settings = &sessions.settings;
        let cookies = || cookie::values(context.headers, &settings.cookie);
        let is_open = match &settings.source {
            CookieSource::LoadBalancer => true,
            CookieSource::Application(name) => cookie::has(context.headers, name),
        };
        let held = is_open.then(|| sessions.find(cookies(), context.now));
        Self {
            sessions,
            held: held.flatten(),
            has_cookie: cookies().next().is_some(),
            now: context.now,
            is_secure: context.is_secure,
        }
    }

    /// The target it should go to, for [`crate::target_group::PickRequest`].
    pub(super) fn target(&self) -> Option<u64> {
        Some(self.held?.target)
    }

    /// Adds the session's cookie to the response of `target` if the client needs another one,
    /// and counts the session there.
    pub(super) fn finish(&self, target: &Target, response: &mut HeaderMap) {
        let settings = &self.sessions.settings;
        let application = match &settings.source {
            CookieSource::LoadBalancer => ApplicationCookie::Unmentioned,
            CookieSource::Application(name) => cookie::cookie_state(response, name, self.now),
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

/// From the system, because several Weirs may encrypt with the same key. `None`, and no cookie,
/// if the system has no randomness.
fn nonce() -> Option<Nonce> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).ok()?;
    Some(nonce)
}

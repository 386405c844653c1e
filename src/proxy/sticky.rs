//! Sessions in heads: the group and the target that a request's cookies name, and the cookies
//! that its response sets. The cookies are values of `Set-Cookie` fields for the response.
//!
//! A response with a new cookie stays as cacheable as its target made it. Shared caches
//! commonly store no response that sets a cookie, and most responses of a session set none.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::cookie;
use crate::message::Fields;
use crate::model::{CookieSource, Forward, GroupIndex};
use crate::router;
use crate::target::Target;
use crate::target_group::{
    ApplicationCookie, Choices, CookieUpdate, Nonce, Seal, Session, Sessions, TargetGroup, hash_key,
};

/// The cookie of group stickiness (ALB's `AWSALBTG`).
const GROUP_COOKIE: &str = "WEIRTG";

/// The facts about a request that decide about its cookies.
#[derive(Clone, Copy, Debug)]
pub(super) struct StickyContext<'a> {
    /// The request's.
    pub(super) fields: &'a Fields,
    /// When it came.
    pub(super) now: SystemTime,
    /// Whether the client's own connection is encrypted, as trusted proxies report it.
    pub(super) is_secure: bool,
}

/// The group with which a client stays for `duration`, and the cookie that names it; `None` if
/// the client has that cookie already. `group` finds the groups of a snapshot.
pub(super) fn choose_group<'s>(
    forward: &Forward<GroupIndex>,
    duration: Duration,
    group: impl Fn(GroupIndex) -> &'s Arc<TargetGroup>,
    seal: &Seal,
    context: StickyContext<'_>,
    entropy: u64,
) -> (GroupIndex, Option<String>) {
    let cookies = cookie::values(context.fields, GROUP_COOKIE);
    let choices = Choices::find(seal, cookies, context.now);
    let hash = |index: GroupIndex| hash_key(group(index).id.0.as_bytes());
    let chosen = router::choose_again(
        forward,
        entropy,
        |index| choices.until(hash(index)).is_some(),
        |index| group(index).is_alive,
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
        let cookies = || cookie::values(context.fields, &settings.cookie);
        let is_open = match &settings.source {
            CookieSource::LoadBalancer => true,
            CookieSource::Application(name) => cookie::has(context.fields, name),
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

    /// The session's cookie for the response of `target` if the client needs another one than it
    /// has; counts the session there.
    pub(super) fn finish(&self, target: &Target, response: &Fields) -> Option<String> {
        let settings = &self.sessions.settings;
        let application = match &settings.source {
            CookieSource::LoadBalancer => ApplicationCookie::Unmentioned,
            CookieSource::Application(name) => cookie::cookie_state(response, name, self.now),
        };
        let update = self
            .sessions
            .cookie_update(self.held, application, &target.id.addr, self.now);
        let has_session = match update {
            CookieUpdate::Issue(_) => true,
            CookieUpdate::Keep => self.held.is_some(),
            CookieUpdate::Delete => false,
        };
        if has_session {
            target.sessions().count();
        }
        match update {
            CookieUpdate::Issue(session) => nonce().and_then(|nonce| {
                let value = self.sessions.seal(&session, nonce);
                let max_age = self.sessions.max_age(&session, self.now);
                cookie::set(&settings.cookie, &value, max_age, self.is_secure)
            }),
            CookieUpdate::Delete if self.has_cookie => {
                cookie::set(&settings.cookie, "", Some(Duration::ZERO), self.is_secure)
            }
            CookieUpdate::Keep | CookieUpdate::Delete => None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::FieldName;
    use crate::model::{Sticky, StickyDraining, StickyFull, TargetId};

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn target() -> Arc<Target> {
        Arc::new(Target::new(TargetId {
            group: "todo".into(),
            addr: ([10, 0, 0, 1], 6400).into(),
        }))
    }

    /// Sessions that know one target, and nothing of a roster.
    fn sessions(source: CookieSource, target: &Arc<Target>) -> Sessions {
        let settings = Sticky {
            source,
            cookie: "WEIRLB".to_owned(),
            duration: Duration::from_secs(3600),
            when_full: StickyFull::Move,
            when_draining: StickyDraining::Stay,
        };
        let targets = std::iter::once(Arc::clone(target));
        Sessions::new(settings, &[7; 32], &"todo".into(), None, targets)
    }

    fn fields(name: FieldName, values: &[&str]) -> Fields {
        let mut fields = Fields::new();
        for value in values {
            fields.append_known(name, value.as_bytes()).unwrap();
        }
        fields
    }

    fn context(fields: &Fields, is_secure: bool) -> StickyContext<'_> {
        StickyContext {
            fields,
            now: now(),
            is_secure,
        }
    }

    /// The cookie as a client sends it back.
    fn pair(cookie: &str) -> &str {
        cookie.split(';').next().unwrap()
    }

    #[test]
    fn a_client_gets_a_cookie_once_and_is_found_by_it() {
        let target = target();
        let sessions = sessions(CookieSource::LoadBalancer, &target);
        let none = Fields::new();
        let first = StickyRequest::new(&sessions, context(&none, true));
        assert_eq!(first.target(), None);
        let cookie = first.finish(&target, &none).unwrap();
        assert!(cookie.starts_with("WEIRLB="), "{cookie}");
        let attributes = "; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600; Secure";
        assert!(cookie.ends_with(attributes), "{cookie}");

        let sent = fields(FieldName::Cookie, &["a=b", pair(&cookie)]);
        let second = StickyRequest::new(&sessions, context(&sent, false));
        assert_eq!(
            second.target(),
            Some(crate::target_group::hash_target(&target.id.addr))
        );
        assert_eq!(second.finish(&target, &none), None);
    }

    #[test]
    fn a_session_ends_with_the_cookie_of_the_application() {
        let target = target();
        let sessions = sessions(CookieSource::Application("app".to_owned()), &target);
        let (none, begins) = (Fields::new(), fields(FieldName::SetCookie, &["app=1"]));
        let request = StickyRequest::new(&sessions, context(&none, false));
        assert_eq!(
            request.finish(&target, &none),
            None,
            "no session without it"
        );
        let cookie = request.finish(&target, &begins).unwrap();
        assert!(!cookie.contains("Secure") && !cookie.contains("Max-Age"));

        let ends = fields(FieldName::SetCookie, &["app=; Max-Age=0"]);
        assert_eq!(
            request.finish(&target, &ends),
            None,
            "there is none to delete"
        );
        let sent = fields(FieldName::Cookie, &["app=1", pair(&cookie)]);
        let request = StickyRequest::new(&sessions, context(&sent, false));
        assert!(request.target().is_some());
        let deletion = request.finish(&target, &ends).unwrap();
        assert!(deletion.starts_with("WEIRLB=; ") && deletion.contains("Max-Age=0"));

        let sent = fields(FieldName::Cookie, &[pair(&cookie)]);
        let request = StickyRequest::new(&sessions, context(&sent, false));
        assert_eq!(request.target(), None, "without the application's cookie");
    }
}

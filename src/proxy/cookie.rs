//! Cookies in heads: those of a request, those a response sets (RFC 6265).

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use crate::message::{FieldName, Fields};
use crate::target_group::ApplicationCookie;

/// The values of the cookies of a name in a request, in order.
pub(super) fn values<'a>(fields: &'a Fields, name: &str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .get_all(FieldName::Cookie)
        .flat_map(|field| field.split(|byte| *byte == b';'))
        .filter_map(move |pair| {
            let pair = pair.trim_ascii();
            pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
        })
}

/// Whether a request has a cookie of a name, whatever its value.
pub(super) fn has(fields: &Fields, name: &str) -> bool {
    values(fields, name).next().is_some()
}

/// A `Set-Cookie` value for the whole site (`Path=/`), hidden from scripts (`HttpOnly`) and sent
/// with requests from other sites only when a user follows a link (`SameSite=Lax`). A `max_age`
/// of 0 deletes the cookie. Returns `None` if the value would not be legal.
pub(super) fn set(
    name: &str,
    value: &str,
    max_age: Option<Duration>,
    secure: bool,
) -> Option<String> {
    let mut text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
    if let Some(age) = max_age {
        write!(text, "; Max-Age={}", age.as_secs()).ok()?;
    }
    if secure {
        text.push_str("; Secure");
    }
    (!text.bytes().any(|byte| byte.is_ascii_control())).then_some(text)
}

/// Whether a response sets or deletes the application's cookie `name`. Of several fields the
/// last one counts, as in a browser.
pub(super) fn cookie_state(fields: &Fields, name: &str, now: SystemTime) -> ApplicationCookie {
    fields
        .get_all(FieldName::SetCookie)
        .filter_map(|field| state_in(field, name, now))
        .last()
        .unwrap_or(ApplicationCookie::Unmentioned)
}

/// The state after one `Set-Cookie` field; `None` if it is for another cookie.
fn state_in(field: &[u8], name: &str, now: SystemTime) -> Option<ApplicationCookie> {
    let mut parts = field.split(|byte| *byte == b';');
    let equals = |byte: &u8| *byte == b'=';
    let pair = parts.next()?;
    let end = pair.iter().position(equals)?;
    if pair[..end].trim_ascii() != name.as_bytes() {
        return None;
    }
    let (mut max_age, mut expires) = (None, None);
    for part in parts {
        let end = part.iter().position(equals).unwrap_or(part.len());
        let (attribute, value) = part.split_at(end);
        let attribute = attribute.trim_ascii();
        let value = std::str::from_utf8(value).unwrap_or_default();
        let value = value.trim_start_matches('=').trim();
        // An attribute that cannot be parsed is ignored (RFC 6265 section 5.2).
        if attribute.eq_ignore_ascii_case(b"max-age") {
            max_age = age(value).or(max_age);
        } else if attribute.eq_ignore_ascii_case(b"expires") {
            expires = date(value).or(expires);
        }
    }
    // RFC 6265 section 5.3: `Max-Age` overrides `Expires`.
    let ends = max_age.map(|age| now + age).or(expires);
    Some(match ends {
        Some(ends) if ends <= now => ApplicationCookie::Deleted,
        ends => ApplicationCookie::Set(ends),
    })
}

/// The longest lifetime of a cookie, 400 days (draft-ietf-httpbis-rfc6265bis section 5.5).
const MAX_LIFETIME: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// Parses `Max-Age`: digits, or a minus and digits (RFC 6265 section 5.2.2).
fn age(text: &str) -> Option<Duration> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if text.starts_with('-') {
        return Some(Duration::ZERO);
    }
    // A number that does not fit is above the limit.
    let age = digits.parse().map_or(MAX_LIFETIME, Duration::from_secs);
    Some(age.min(MAX_LIFETIME))
}

/// Parses `Expires`: an HTTP date, or one with the hyphens that many cookies still have.
fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text)
        .or_else(|_| httpdate::parse_http_date(&text.replace('-', " ")))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields of one name.
    fn fields(name: FieldName, values: &[&str]) -> Fields {
        let mut fields = Fields::new();
        for value in values {
            fields.append_known(name, value.as_bytes()).unwrap();
        }
        fields
    }

    #[test]
    fn a_cookie_is_found_among_others_by_its_whole_name() {
        let sent = ["xid=1; id=2;id=4", "other=3; id="];
        let fields = fields(FieldName::Cookie, &sent);
        let values = |name| values(&fields, name).collect::<Vec<_>>();
        assert_eq!(values("id"), [&b"2"[..], b"4", b""]);
        assert_eq!(values("other"), [b"3"]);
        assert!(!has(&fields, "none") && has(&fields, "id"));
    }

    #[test]
    fn a_response_sets_or_deletes_a_cookie_or_leaves_it_alone() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_000); // 2015-10-21 07:20
        let later = |seconds| ApplicationCookie::Set(Some(now + Duration::from_secs(seconds)));
        let (deleted, open) = (ApplicationCookie::Deleted, ApplicationCookie::Set(None));
        let cases = [
            ("id=1", open),
            (" id = 1 ; Path=/; HttpOnly", open),
            ("id=; Max-Age=60", later(60)),
            ("id=1; max-age = 60", later(60)),
            (
                "id=1; Max-Age=99999999999999999999999",
                later(MAX_LIFETIME.as_secs()),
            ),
            ("id=1; Max-Age=soon", open),
            ("id=1; Max-Age=0", deleted),
            ("id=1; Max-Age=-5", deleted),
            ("id=1; Expires=Wed, 21 Oct 2015 07:28:00 GMT", later(480)),
            ("id=1; Expires=Wed, 21-Oct-2015 07:28:00 GMT", later(480)),
            (
                "id=1; Expires=Wednesday, 21-Oct-15 07:28:00 GMT",
                later(480),
            ),
            ("id=1; expires=Thu, 01 Jan 1970 00:00:00 GMT", deleted),
            (
                "id=1; Expires=Thu, 01-Jan-1970 00:00:00 GMT; Max-Age=9",
                later(9),
            ),
            ("id=1; Expires=tomorrow", open),
            ("xid=1; id=2", ApplicationCookie::Unmentioned),
            ("id", ApplicationCookie::Unmentioned),
        ];
        for (text, expected) in cases {
            let fields = fields(FieldName::SetCookie, &[text, "other=1; Max-Age=0"]);
            assert_eq!(cookie_state(&fields, "id", now), expected, "{text}");
        }
    }

    #[test]
    fn the_last_field_of_a_name_counts() {
        let fields = fields(FieldName::SetCookie, &["id=; Max-Age=0", "id=1"]);
        let state = cookie_state(&fields, "id", SystemTime::UNIX_EPOCH);
        assert_eq!(state, ApplicationCookie::Set(None));
    }

    #[test]
    fn a_cookie_has_its_attributes() {
        let cookie = set("a", "b", Some(Duration::from_secs(1)), true).unwrap();
        let expected = "a=b; Path=/; HttpOnly; SameSite=Lax; Max-Age=1; Secure";
        assert_eq!(cookie, expected);
        let cookie = set("a", "b", None, false).unwrap();
        assert_eq!(cookie, "a=b; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(set("a", "line\nbreak", None, false), None);
    }
}

//! Whether the conditions of a rule hold for a request (ALB user guide, "Rule
//! condition types").

use std::borrow::Cow;

use super::request::RequestView;
use crate::model::{Condition, QueryMatch};

/// Whether all of `conditions` hold; none at all always do.
pub fn hold(conditions: &[Condition], request: &RequestView<'_>) -> bool {
    conditions.iter().all(|condition| holds(condition, request))
}

/// Whether any value of one condition is satisfied.
pub(super) fn holds(condition: &Condition, request: &RequestView<'_>) -> bool {
    match condition {
        Condition::Host(hosts) => hosts.iter().any(|host| host.matches(request.host())),
        Condition::Path(paths) => paths.iter().any(|path| path.matches(request.path())),
        Condition::Method(methods) => methods
            .iter()
            .any(|method| method.as_str().as_bytes() == request.method()),
        Condition::Header { name, values } => {
            let mut sent = request.fields().get_all_by_name(name.as_str());
            sent.any(|sent| {
                // Bytes outside of UTF-8 match wildcards and nothing else; only they allocate.
                let sent = String::from_utf8_lossy(sent);
                values
                    .iter()
                    .any(|value| value.matches_ignoring_case(&sent))
            })
        }
        Condition::Query(accepted) => {
            parameters(request.query()).any(|sent| accepted.iter().any(|one| accepts(one, sent)))
        }
        Condition::SourceIp(networks) => {
            let client = request.client().canonical_ip();
            client.is_some_and(|client| networks.iter().any(|network| network.contains(&client)))
        }
    }
}

/// The parameters of a query, still encoded; one without `=` has an empty value.
pub(super) fn parameters(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
}

fn accepts(accepted: &QueryMatch, (key, value): (&str, &str)) -> bool {
    accepted
        .key
        .as_ref()
        .is_none_or(|wanted| wanted.eq_ignore_ascii_case(&decoded(key)))
        && accepted.value.matches_ignoring_case(&decoded(value))
}

/// Form decoding: `+` is a space, `%xx` a byte. A `%` without two digits stands for
/// itself (WHATWG URL, "percent-decode"), and what is not UTF-8 then cannot match.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match (byte, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match hex(*high).zip(hex(*low)) {
                Some((high, low)) => {
                    rest = after;
                    high << 4 | low
                }
                None => b'%',
            },
            _ => byte,
        });
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_like_forms() {
        let cases = [
            ("plain", "plain"),
            ("a+b", "a b"),
            ("a%20b", "a b"),
            ("%C3%a4", "ä"),
            ("100%", "100%"),
            ("%2", "%2"),
            ("%zz", "%zz"),
            ("%2B", "+"),
            ("%ff", "\u{FFFD}"),
        ];
        for (text, expected) in cases {
            assert_eq!(decoded(text), expected, "{text}");
        }
    }
}

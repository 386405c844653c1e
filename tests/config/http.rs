//! What the keys mean that say how HTTP is read and forwarded.

use std::num::NonZeroU32;

use weir::config::{self, Config, Listener};
use weir::model::{
    Condition, DesyncMitigation, EncodedSlashes, FieldNames, ForwardedFormat, ForwardedMode,
    HttpPolicy, NormalizePath,
};

/// A listener with this in it, before a group with that in it.
fn read(listener: &str, group: &str) -> Config {
    let text = format!(
        "[[listener]]\nbind = \"0.0.0.0:8080\"\nforward = \"todo\"\n{listener}\n\
         [target_group.todo]\ntargets = \"10.0.0.1:6400\"\n{group}\n"
    );
    match config::parse("good.toml", &text, &|_| None) {
        Ok(parsed) if parsed.warnings.is_empty() => parsed.config,
        Ok(parsed) => panic!("{}", parsed.warnings),
        Err(problems) => panic!("{problems}"),
    }
}

fn listener(inside: &str) -> Listener {
    read(inside, "").listeners.remove(0)
}

#[test]
fn http_is_read_strictly_and_paths_are_matched_normalized_by_default() {
    let expected = HttpPolicy {
        desync_mitigation: DesyncMitigation::Defensive,
        field_names: FieldNames::Strict,
        normalize_path: NormalizePath::Match,
        encoded_slashes: EncodedSlashes::Pass,
        via: None,
        http2: true,
    };
    assert_eq!(listener("").http, expected);
}

#[test]
fn every_word_of_the_http_policy_has_its_meaning() {
    let http = |inside: &str| listener(inside).http;
    let monitor = http("desync_mitigation = \"monitor\"");
    assert_eq!(monitor.desync_mitigation, DesyncMitigation::Monitor);
    let strictest = http("desync_mitigation = \"strictest\"");
    assert_eq!(strictest.desync_mitigation, DesyncMitigation::Strictest);
    assert_eq!(http("field_names = \"pass\"").field_names, FieldNames::Pass);
    let forward = http("normalize_path = \"forward\"");
    assert_eq!(forward.normalize_path, NormalizePath::Forward);
    let off = http("normalize_path = \"off\"");
    assert_eq!(off.normalize_path, NormalizePath::Off);
    let reject = http("encoded_slashes = \"reject\"");
    assert_eq!(reject.encoded_slashes, EncodedSlashes::Reject);
    for name in ["weir", "lb-1.example.com", "lb:8080"] {
        let via = http(&format!("via = \"{name}\"")).via;
        assert_eq!(via.as_deref(), Some(name));
    }
}

#[test]
fn a_rate_of_0_sets_no_limit() {
    let config = read("", "");
    let (client, upstream) = (config.listeners[0].client, config.target_groups[0].upstream);
    assert!(client.abort_on_close);
    assert_eq!(client.body_min_rate, NonZeroU32::new(500));
    assert_eq!((upstream.max_head, upstream.max_fields), (65_536, 1000));
    assert_eq!(upstream.body_min_rate, None);

    let config = read(
        "client = { abort_on_close = false, body_min_rate = 0 }",
        "upstream = { max_head = \"1KiB\", max_fields = 10000, body_min_rate = 0 }",
    );
    let (client, upstream) = (config.listeners[0].client, config.target_groups[0].upstream);
    assert!(!client.abort_on_close);
    assert_eq!(client.body_min_rate, None);
    assert_eq!((upstream.max_head, upstream.max_fields), (1024, 10_000));
    assert_eq!(upstream.body_min_rate, None);
}

#[test]
fn listed_identity_headers_replace_the_default_ones() {
    let forwarded = |inside: &str| listener(inside).forwarded;
    let default = forwarded("");
    assert_eq!(default.mode, ForwardedMode::Append);
    assert_eq!(default.send, ForwardedFormat::XForwarded);
    assert_eq!(default.identity_headers.len(), 7);
    assert_eq!(forwarded("forwarded = {}"), default);

    let other = forwarded("forwarded = { identity_headers = [\"X-User\"], send = \"both\" }");
    assert_eq!(other.identity_headers, ["x-user"]);
    assert!(other.send.has_forwarded() && other.send.has_x_forwarded());
    let one = forwarded("forwarded = { identity_headers = \"X-User\", send = \"forwarded\" }");
    assert_eq!(one.identity_headers, ["x-user"]);
    assert!(one.send.has_forwarded() && !one.send.has_x_forwarded());
    let none = forwarded("forwarded = { identity_headers = [] }");
    assert!(none.identity_headers.is_empty());
}

#[test]
fn patterns_in_the_spelling_that_is_matched_are_accepted() {
    let accepted = |inside: &str, when: &str| {
        let rule = "priority = 1\nthen = { forward = \"todo\" }";
        listener(&format!(
            "{inside}\n[[listener.rule]]\n{rule}\nwhen = {{ {when} }}"
        ))
    };
    for path in [
        "/~user/*",
        "/a%2Fb",
        "/caf%C3%A9/*",
        "/ok%*",
        "/a/.*",
        "*/..?",
    ] {
        accepted("", &format!("path = \"{path}\""));
    }
    for regex in ["^/(ok|%61)$", "^/a/+b", "(?i)^/a%2f", "^//?a", "[é]|^/a"] {
        accepted("", &format!("path_regex = '{regex}'"));
    }
    // As sent, each of them can come.
    for path in ["/%7Euser/*", "//admin/*", "/a/../b", "/100%"] {
        accepted("normalize_path = \"off\"", &format!("path = \"{path}\""));
    }
    let hosts = accepted(
        "",
        "host = [\"Example.COM\", \"[::1]\", \"*.xn--mnchen-3ya.example\"]",
    );
    let Condition::Host(hosts) = &hosts.rules[0].conditions[0] else {
        panic!("{:?}", hosts.rules);
    };
    assert!(hosts[0].matches("example.com"));
}

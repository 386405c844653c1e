//! Paths are matched on one spelling, and sent on as they came.

use crate::scenario::support::{Recorder, Rig, Wire};

const NO_ADMIN: &str = "[[listener.rule]]\npriority = 1\nwhen = { path = \"/admin/*\" }\n\
                        then = { fixed_response = { status = 403, body = \"no\" } }";

/// Spellings of a path below `/admin/` (RFC 3986 sections 5.2.4, 6.2.2.2 and 6.2.2.3; doubled
/// slashes are one for most servers).
const SPELLINGS: [&str; 16] = [
    "/admin/x",
    "/%61dmin/x",
    "/%61%64%6D%69%6e/x",
    "/./admin/x",
    "//admin/x",
    "///admin//x",
    "/admin/./x",
    "/x/../admin/x",
    "/x/%2e%2E/admin/x",
    "/%2e/admin/x",
    "/../admin/x",
    "/x/y/../../admin/x",
    "/x/..//admin/x",
    "/.//admin/x",
    "http://a/%61dmin/x",
    "http://a//admin/x",
];

/// Other paths, which look like it.
const OTHERS: [&str; 9] = [
    "/ADMIN/x",
    "/adminx/x",
    "/x/admin/x",
    "/admin%2fx",
    "/admin%2Fx",
    "/%2fadmin/x",
    "/admin%252fx",
    "/admin/../x",
    "/x?y=/admin/x",
];

async fn status(rig: &Rig, path: &str) -> u16 {
    let mut wire = rig
        .wire(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    wire.response().await.status()
}

#[tokio::test]
async fn a_rule_holds_for_every_spelling_of_its_path() {
    let target = Recorder::start().await;
    let rig = Rig::with(&[target.addr()], NO_ADMIN, "").await;
    for path in SPELLINGS {
        assert_eq!(status(&rig, path).await, 403, "{path}");
    }
    assert_eq!(target.bytes(), "");
    for (index, path) in OTHERS.into_iter().enumerate() {
        assert_eq!(status(&rig, path).await, 200, "{path}");
        let line = target.requests()[index]
            .head
            .lines()
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(line, format!("GET {path} HTTP/1.1"), "sent on as it came");
    }
}

#[tokio::test]
async fn paths_are_sent_on_in_one_spelling_if_that_is_wished() {
    let target = Recorder::start().await;
    let rig = Rig::with(&[target.addr()], "normalize_path = \"forward\"", "").await;
    let mut wire = Wire::open(rig.addr()).await;
    for (index, (sent, expected)) in [
        ("/a/./%7Eb//c?x=/%61/./", "/a/~b/c?x=/%61/./"),
        ("/../a/b/..", "/a/"),
        ("/a%2fb", "/a%2fb"),
        ("/plain?", "/plain?"),
        ("http://b//a", "/a"),
    ]
    .into_iter()
    .enumerate()
    {
        wire.send(format!("GET {sent} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(wire.response().await.status(), 200, "{sent}");
        let line = target.requests()[index]
            .head
            .lines()
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(
            line.to_lowercase(),
            format!("get {expected} http/1.1"),
            "{sent}"
        );
    }
}

#[tokio::test]
async fn only_the_same_spelling_matches_if_paths_are_not_normalised() {
    let target = Recorder::start().await;
    let keys = format!("normalize_path = \"off\"\n{NO_ADMIN}");
    let rig = Rig::with(&[target.addr()], &keys, "").await;
    for path in SPELLINGS {
        let expected = if path == "/admin/x" { 403 } else { 200 };
        // The rule's asterisk covers what follows.
        let expected = if path == "/admin/./x" { 403 } else { expected };
        assert_eq!(status(&rig, path).await, expected, "{path}");
    }
}

#[tokio::test]
async fn encoded_slashes_can_be_refused() {
    let target = Recorder::start().await;
    let rig = Rig::with(&[target.addr()], "encoded_slashes = \"reject\"", "").await;
    for path in [
        "/admin%2fx",
        "/admin%2Fx",
        "/%2f",
        "/a%2f?x",
        "http://a/%2f",
    ] {
        assert_eq!(status(&rig, path).await, 400, "{path}");
    }
    assert_eq!(target.bytes(), "");
    for path in ["/a?x=%2f", "/a%252f", "/a%5c"] {
        assert_eq!(status(&rig, path).await, 200, "{path}");
    }
}

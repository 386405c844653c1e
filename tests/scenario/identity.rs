//! Fields that a target may believe: from clients that are not trusted they never reach it, however
//! they are spelt.

use crate::scenario::support::{Recorder, Rig};

/// What says where a request came from and what was asked for.
const NAMES: [&str; 13] = [
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Real-IP",
    "True-Client-IP",
    "X-Client-IP",
    "X-Forwarded-Ssl",
    "X-Forwarded-Scheme",
    "X-Forwarded-Prefix",
    "X-Original-URL",
    "X-Rewrite-URL",
];

const CLAIM: &str = "claimed.example";

/// The head that a target gets when a client claims all of them, in three spellings each.
async fn claimed(keys: &str, more: &str) -> String {
    let target = Recorder::start().await;
    let rig = Rig::with(&[target.addr()], keys, "").await;
    let mut request = format!("GET / HTTP/1.1\r\nHost: a\r\n{more}");
    for name in NAMES {
        let folded = name.replace('-', "_");
        for name in [
            name.to_owned(),
            name.to_uppercase(),
            folded.clone(),
            folded.to_lowercase(),
        ] {
            request.push_str(&format!("{name}: {CLAIM}\r\n"));
        }
        // Some targets make one character of every symbol (RFC 3875 section 4.1.18).
        request.push_str(&format!("{}: {CLAIM}\r\n", name.replace('-', ".")));
        request.push_str(&format!("{}: {CLAIM}\r\n", name.replacen('-', "_", 1)));
    }
    let mut wire = rig.wire(request + "\r\n").await;
    let reply = wire.response().await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    target.requests()[0].head.clone()
}

#[tokio::test]
async fn a_client_that_is_not_trusted_claims_nothing() {
    // 78 fields.
    for keys in [
        "",
        "field_names = \"pass\"",
        "forwarded = { mode = \"remove\" }",
    ] {
        let head = claimed(keys, "").await;
        assert!(!head.contains(CLAIM), "{keys}: {head}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_in_plain_names_alone() {
    let keys = "forwarded = { trusted_proxies = \"127.0.0.1\" }";
    let head = claimed(keys, "").await.to_lowercase();
    for name in NAMES {
        let name = name.to_lowercase();
        assert!(
            head.contains(&format!("\n{name}: {CLAIM}")),
            "{name}: {head}"
        );
        let folded = name.replace('-', "_");
        if folded != name {
            assert!(!head.contains(&format!("\n{folded}: ")), "{folded}: {head}");
        }
    }
}

#[tokio::test]
async fn further_names_can_be_listed_and_others_given_free() {
    let keys = "forwarded = { identity_headers = [\"X-User\"] }";
    let more = "X-User: root\r\nx_user: root\r\nX_Other: 1\r\nX-Users: 2\r\n";
    let head = claimed(keys, more).await.to_lowercase();
    assert!(
        !head.contains("root") && !head.contains("x_other"),
        "{head}"
    );
    assert!(head.contains("\nx-users: 2\r"), "{head}");
    assert!(
        head.contains("\ntrue-client-ip: "),
        "not in the list: {head}"
    );
    assert!(!head.contains("\nx-real-ip: "), "always: {head}");
    let keys = format!("field_names = \"pass\"\n{keys}");
    let head = claimed(&keys, more).await.to_lowercase();
    assert!(!head.contains("root"), "{head}");
    assert!(head.contains("\nx_other: 1\r"), "{head}");
}

/// Rules see what the target will see.
#[tokio::test]
async fn a_dropped_field_matches_no_rule() {
    let target = Recorder::start().await;
    let rule = "[[listener.rule]]\npriority = 1\nwhen = { header = { \"X-Real-IP\" = \"10.*\" } }\n\
                then = { fixed_response = { status = 418 } }\n\
                [[listener.rule]]\npriority = 2\nwhen = { header = { \"X-Hop\" = \"*\" } }\n\
                then = { fixed_response = { status = 418 } }\n\
                [[listener.rule]]\npriority = 3\nwhen = { header = { \"X_Folded\" = \"*\" } }\n\
                then = { fixed_response = { status = 418 } }";
    let rig = Rig::with(&[target.addr()], rule, "").await;
    for fields in [
        "X-Real-IP: 10.0.0.1",
        "X-Hop: 1\r\nConnection: x-hop",
        "X_Folded: 1",
    ] {
        let mut wire = rig
            .wire(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"))
            .await;
        assert_eq!(wire.response().await.status(), 200, "{fields}");
    }
    let mut wire = rig
        .wire("GET / HTTP/1.1\r\nHost: a\r\nX-Hop: 1\r\n\r\n")
        .await;
    assert_eq!(wire.response().await.status(), 418);
}

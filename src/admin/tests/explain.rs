//! `/api/v1/explain`: answers about the state of the moment, and refusals.

use http::StatusCode;
use serde_json::json;

use super::fixture::{Fixture, config};
use crate::admin::paths;
use crate::config::Config;

/// The rule of the fixture, which answers everything itself, is left out.
fn forwarding() -> Config {
    let mut config = config();
    config.listeners[0].rules.clear();
    config
}

#[tokio::test]
async fn targets_say_whether_they_are_eligible_now_and_why_not() {
    let fixture = Fixture::with_token(forwarding()).await;
    let ask = async || {
        let body =
            json!({ "url": "http://a.example/x", "headers": ["x-a: b"], "listener": "http" });
        let (status, told) = fixture
            .tell("POST", paths::EXPLAIN, &body.to_string())
            .await;
        assert_eq!(status, StatusCode::OK, "{told}");
        told
    };
    fixture.pass(0);
    fixture.fail(1, "no");
    let told = ask().await;
    assert_eq!(told["listener"], "http");
    assert_eq!(told["request"]["method"], "GET");
    let group = &told["action"]["groups"][0];
    assert_eq!(
        (&group["name"], &group["chance"]),
        (&json!("todo"), &json!(90.0))
    );
    assert_eq!(group["targets"][1]["eligible"], false);
    assert_eq!(group["targets"][1]["state"], "unhealthy");
    let because = group["targets"][1]["because"].as_str().unwrap();
    assert!(because.starts_with("its checks fail"), "{because}");
    let counted = fixture.status().await.listeners[0].rule_hits[0].hits;
    assert_eq!(counted, 0, "nothing is counted");
}

#[tokio::test]
async fn what_cannot_be_asked_is_a_problem() {
    let fixture = Fixture::with_token(forwarding()).await;
    for (body, status, kind) in [
        (json!({}), 400, "bad-body"),
        (json!({ "url": "/", "x": 1 }), 400, "bad-body"),
        (json!({ "url": "" }), 422, "bad-value"),
        (json!({ "url": "ftp://a/" }), 422, "bad-value"),
        (
            json!({ "url": "http://a/", "method": "G(T" }),
            422,
            "bad-value",
        ),
        (
            json!({ "url": "http://a/", "headers": ["x"] }),
            422,
            "bad-value",
        ),
        (json!({ "url": "http://a/", "from": "x" }), 422, "bad-value"),
        (
            json!({ "url": "http://a/", "listener": "x" }),
            404,
            "unknown-listener",
        ),
        (json!({ "url": "http://a:8080/" }), 422, "bad-value"),
    ] {
        let (code, problem) = fixture
            .tell("POST", paths::EXPLAIN, &body.to_string())
            .await;
        assert_eq!(code, status, "{body}: {problem}");
        assert_eq!(
            problem["type"],
            format!("urn:weir:problem:{kind}"),
            "{body}"
        );
    }
}

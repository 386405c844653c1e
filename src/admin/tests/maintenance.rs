//! The maintenance of a group.

use http::StatusCode;
use serde_json::json;

use super::fixture::{Fixture, config};

const PATH: &str = "/api/v1/groups/todo/maintenance";

#[tokio::test]
async fn a_group_is_in_maintenance_until_that_is_ended() {
    let fixture = Fixture::with_token(config()).await;
    let begun = fixture.tell("PUT", PATH, r#"{"enabled": true, "retry_after": 30}"#);
    let (status, begun) = begun.await;
    assert_eq!(status, StatusCode::OK, "{begun}");
    assert_eq!(begun["maintenance"]["retry_after_seconds"], 30.0);
    let page = fixture.page().await;
    let gauge = |group: &str| {
        page.value(&format!(
            "weir_target_group_maintenance{{target_group=\"{group}\"}}"
        ))
    };
    assert_eq!((gauge("todo"), gauge("empty")), (Some(1.0), Some(0.0)));
    // Another time for clients is the same maintenance.
    let (_, again) = fixture.tell("PUT", PATH, r#"{"enabled": true}"#).await;
    assert_eq!(again["maintenance"]["retry_after_seconds"], 60.0);
    assert_eq!(again["maintenance"]["since"], begun["maintenance"]["since"]);
    // A reload keeps it.
    let mut changed = config();
    changed.admin = fixture.context.reader.load().config.admin.clone();
    changed.target_groups[0].retry.budget = 7;
    fixture.publisher.configure(changed).await.unwrap();
    let shown = async || fixture.status().await.target_groups[0].maintenance;
    assert_eq!(shown().await.unwrap().retry_after.as_secs(), 60);
    for (method, body) in [("DELETE", ""), ("PUT", r#"{"enabled": false}"#)] {
        fixture.tell("PUT", PATH, r#"{"enabled": true}"#).await;
        assert!(shown().await.is_some());
        let (status, ended) = fixture.tell(method, PATH, body).await;
        assert_eq!(
            (status, &ended["maintenance"]),
            (StatusCode::OK, &json!(null))
        );
        assert!(shown().await.is_none());
    }
}

#[tokio::test]
async fn a_maintenance_that_cannot_be_is_refused() {
    let fixture = Fixture::with_token(config()).await;
    for (path, body, status, kind) in [
        (
            PATH,
            r#"{"enabled": true, "retry_after": 0}"#,
            422,
            "bad-value",
        ),
        (
            PATH,
            r#"{"enabled": true, "retry_after": 604801}"#,
            422,
            "bad-value",
        ),
        (PATH, r#"{"enabled": 1}"#, 400, "bad-body"),
        (PATH, "", 400, "bad-body"),
        (
            "/api/v1/groups/nope/maintenance",
            r#"{"enabled": true}"#,
            404,
            "unknown-group",
        ),
    ] {
        let (code, problem) = fixture.tell("PUT", path, body).await;
        assert_eq!(code, status, "{body}: {problem}");
        assert_eq!(
            problem["type"],
            format!("urn:weir:problem:{kind}"),
            "{body}"
        );
    }
    let (status, _, _) = fixture.ask("PUT", PATH).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

//! The files of the dashboard.

use std::fs;
use std::path::Path;

use http::StatusCode;

use super::fixture::Fixture;
use crate::admin::paths;

/// The files of the folder, as a browser asks for them.
fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/dashboard");
    let entries = fs::read_dir(folder).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_none_or(|extension| extension != "rs"));
    let named = files.map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        (
            format!("/dashboard/{name}"),
            fs::read_to_string(&path).unwrap(),
        )
    });
    named.collect()
}

#[tokio::test]
async fn every_file_is_served_as_it_is_and_small() {
    let fixture = Fixture::new().await;
    let files = files();
    assert!(files.len() > 5);
    for (path, text) in &files {
        let (status, head, body) = fixture.ask("GET", path).await;
        assert_eq!((status, &body), (StatusCode::OK, text), "{path}");
        assert!(head.contains("x-content-type-options: nosniff\r"), "{head}");
        assert!(head.contains("content-security-policy: default-src 'self';"));
        let known = ["text/html", "text/css", "text/javascript", "image/svg+xml"];
        let known = known.map(|media_type| format!("content-type: {media_type}"));
        assert!(known.iter().any(|known| head.contains(known)), "{head}");
        // Names of XML are no addresses that are asked for.
        let loaded = text.replace("http://www.w3.org/", "");
        assert!(
            !loaded.contains("http://") && !loaded.contains("https://"),
            "{path}"
        );
        assert!(!text.contains("innerHTML"), "{path} makes markup of texts");
    }
    let size: usize = files.iter().map(|(_, text)| text.len()).sum();
    assert!(size < 150_000, "{size} bytes");
    let (_, page) = fixture.get(paths::DASHBOARD).await;
    for path in ["style.css", "icon.svg", "main.js"] {
        assert!(page.contains(&format!("/dashboard/{path}")), "{path}");
    }
    let (status, _) = fixture.get("/dashboard/nope.js").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_copy_that_is_the_newest_is_not_sent_again() {
    let fixture = Fixture::new().await;
    let (_, head, _) = fixture.ask("GET", paths::DASHBOARD).await;
    assert!(head.contains("cache-control: no-cache\r"), "{head}");
    let tag = head.split("etag: ").nth(1).unwrap().lines().next().unwrap();
    for (known, status) in [
        (tag, "304"),
        (&format!("\"other\", W/{tag}"), "304"),
        ("*", "304"),
        ("\"other\"", "200"),
    ] {
        let answer = fixture
            .send(&format!(
                "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nif-none-match: {known}\r\n\r\n"
            ))
            .await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{known}");
        assert_eq!(answer.contains("<html"), status == "200", "{known}");
    }
}

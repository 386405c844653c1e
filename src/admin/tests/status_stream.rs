//! The status as a stream.

use http::StatusCode;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::fixture::Fixture;
use crate::admin::serve::max_connections;
use crate::admin::status_feed::MAX_FOLLOWERS;
use crate::admin::{Problem, Status, paths};

/// A client that follows the status.
struct Following(BufReader<TcpStream>);

impl Following {
    async fn new(fixture: &Fixture) -> Self {
        let mut stream = TcpStream::connect(fixture.address).await.unwrap();
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n",
            paths::STATUS
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        Self(BufReader::new(stream))
    }

    /// The next event; the end of the body, if it ends.
    async fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.0.read_line(&mut line).await.unwrap() > 0 {
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(data.to_owned());
            }
            line.clear();
        }
        None
    }
}

#[tokio::test]
async fn all_that_follow_the_status_get_the_same_bytes() {
    let fixture = Fixture::configured().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Following::new(&fixture).await);
    }
    fixture.fail(1, "no");
    // Each gets what is there, then what changes; so all of them have this one.
    let mut seen = Vec::new();
    for client in &mut clients {
        let mut event = client.next().await.unwrap();
        let is_failed = |event: &str| {
            let status: Status = serde_json::from_str(event).unwrap();
            status.target_groups[0].targets[1].failed_checks == 1
        };
        while !is_failed(&event) {
            event = client.next().await.unwrap();
        }
        seen.push(event);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_no_other_up() {
    let fixture = Fixture::configured().await;
    let _slow = Following::new(&fixture).await;
    let mut other = Following::new(&fixture).await;
    for count in 1..4 {
        fixture.fail(1, "no");
        let mut failed = 0;
        while failed < count {
            let event = other.next().await.unwrap();
            let status: Status = serde_json::from_str(&event).unwrap();
            failed = status.target_groups[0].targets[1].failed_checks;
        }
    }
}

#[tokio::test]
async fn more_clients_than_may_follow_are_refused() {
    if max_connections() <= MAX_FOLLOWERS {
        // Too few descriptors are allowed for so many connections.
        return;
    }
    let fixture = Fixture::new().await;
    let mut clients = Vec::new();
    for _ in 0..MAX_FOLLOWERS {
        let mut client = Following::new(&fixture).await;
        assert!(client.next().await.is_some());
        clients.push(client);
    }
    let mut refused = Following::new(&fixture).await.0;
    let mut head = vec![0; 12];
    refused.read_exact(&mut head).await.unwrap();
    assert_eq!(head, b"HTTP/1.1 503");
    let (status, body) = fixture.get(paths::STATUS).await;
    assert_eq!(status, StatusCode::OK, "a single status has no limit");
    assert!(serde_json::from_str::<Problem>(&body).is_err());
}

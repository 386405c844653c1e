//! Policies, and replicas with a page of metrics, for tests.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::config::{Autoscaling, Metric, Profile, TargetTracking};

/// An autoscaling of the profile `fast` without policies.
pub(crate) fn no_policies(min: u32, max: u32) -> Autoscaling {
    Autoscaling::without_policies(Profile::Fast, min, max)
}

pub(crate) fn tracking(metric: Metric, target: f64) -> TargetTracking {
    TargetTracking {
        metric,
        target,
        scale_in: true,
    }
}

/// A replica that reads each request's head and answers with these bytes, then closes if
/// `closes`, or else stays silent. Ends with the test's runtime.
pub(super) async fn replica(answer: Vec<u8>, closes: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            // The client may close the connection before it has taken all of it.
            let _ = stream.write_all(&answer).await;
            if !closes {
                open.push(stream);
            }
        }
    });
    addr
}

pub(super) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n\r\n{body}").into_bytes()
}

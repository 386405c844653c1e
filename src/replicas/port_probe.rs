//! Waits until a replica's port accepts connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::backoff::Backoff;

/// Between attempts to connect: doubling from the first to the last.
const PROBE_INTERVAL: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// For one attempt. An address that no host has yet does not refuse, it does not answer.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// Returns once a connection to `address` is accepted. Calls `failed` for
/// each attempt before.
pub(super) async fn until_open(address: SocketAddr, mut failed: impl FnMut(&io::Error)) {
    let mut backoff = Backoff::new(PROBE_INTERVAL.0, PROBE_INTERVAL.1);
    loop {
        let connected = timeout(PROBE_TIMEOUT, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(_) => return,
            Err(error) => failed(&error),
        }
        sleep(backoff.next_wait()).await;
    }
}

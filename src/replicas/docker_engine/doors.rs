//! Which replicas accept connections.
//!
//! An engine says that a container runs as soon as its first process exists; a target is one
//! that has opened its port.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::replicas::ReplicaId;

/// Between attempts to connect: doubling from the first to the last.
const KNOCK_AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// For one attempt. An address that nobody has yet does not refuse, it says nothing.
const KNOCK: Duration = Duration::from_millis(500);

/// A replica at an address. One that comes back elsewhere is looked at anew.
type Door = (ReplicaId, SocketAddr);

/// Dropping it ends all attempts.
#[derive(Debug, Default)]
pub(in super::super) struct Doors {
    open: HashSet<Door>,
    knocking: HashMap<Door, AbortHandle>,
    knocks: JoinSet<Door>,
}

impl Doors {
    /// Whether the replica has accepted a connection there. Begins to try when it has not.
    pub(in super::super) fn is_open(&mut self, replica: ReplicaId, address: SocketAddr) -> bool {
        while let Some(Ok(door)) = self.knocks.try_join_next() {
            self.note(door);
        }
        let door = (replica, address);
        if self.open.contains(&door) {
            return true;
        }
        if !self.knocking.contains_key(&door) {
            let knock = self.knocks.spawn(async move {
                knock(address).await;
                door
            });
            self.knocking.insert(door, knock);
        }
        false
    }

    /// Forgets a replica that has ended: what comes in its place has to open its port first.
    pub(in super::super) fn forget(&mut self, replica: ReplicaId) {
        self.retain(|other| other != replica);
    }

    /// Forgets those that are gone.
    pub(in super::super) fn retain(&mut self, is_kept: impl Fn(ReplicaId) -> bool) {
        self.open.retain(|(replica, _)| is_kept(*replica));
        self.knocking.retain(|(replica, _), knock| {
            let is_kept = is_kept(*replica);
            if !is_kept {
                knock.abort();
            }
            is_kept
        });
    }

    /// Waits until another one opens. Cancel-safe.
    pub(in super::super) async fn opened(&mut self) {
        loop {
            match self.knocks.join_next().await {
                Some(Ok(door)) => return self.note(door),
                // Forgotten.
                Some(Err(_)) => {}
                None => return pending().await,
            }
        }
    }

    fn note(&mut self, door: Door) {
        // One that was forgotten in the meantime has no place here.
        if self.knocking.remove(&door).is_some() {
            self.open.insert(door);
        }
    }
}

async fn knock(address: SocketAddr) {
    let mut wait = KNOCK_AGAIN.0;
    while !matches!(timeout(KNOCK, TcpStream::connect(address)).await, Ok(Ok(_))) {
        sleep(wait).await;
        wait = KNOCK_AGAIN.1.min(wait * 2);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const REPLICA: ReplicaId = ReplicaId(1);

    #[tokio::test]
    async fn a_door_is_open_once_somebody_listens_and_shut_when_forgotten() {
        let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = reserved.local_addr().unwrap();
        drop(reserved);
        let mut doors = Doors::default();
        assert!(!doors.is_open(REPLICA, address));
        let _listener = TcpListener::bind(address).await.unwrap();
        timeout(LONG, doors.opened()).await.unwrap();
        assert!(doors.is_open(REPLICA, address));
        assert!(!doors.is_open(ReplicaId(2), address), "another replica");
        doors.forget(REPLICA);
        assert!(!doors.is_open(REPLICA, address));
        timeout(LONG, doors.opened()).await.unwrap();
    }
}

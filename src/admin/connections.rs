//! The connections of the admin listener: bounded, and no client can keep another out.
//!
//! A connection beyond the limit is accepted too. It replaces the oldest connection of the address
//! that has the most of them: probes and scrapes are over within milliseconds, so an old
//! connection is a slow one.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

/// Connections that are open, oldest first.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    tasks: JoinSet<()>,
    open: VecDeque<(IpAddr, AbortHandle)>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            tasks: JoinSet::new(),
            open: VecDeque::new(),
        }
    }

    /// Runs a connection. Returns the client of the connection that was closed for it.
    pub(super) fn admit(
        &mut self,
        client: IpAddr,
        connection: impl Future<Output = ()> + Send + 'static,
    ) -> Option<IpAddr> {
        let evicted = (self.open.len() >= self.most)
            .then(|| self.evict())
            .flatten();
        let task = self.tasks.spawn(connection);
        self.open.push_back((client, task));
        evicted
    }

    /// Waits until a connection has ended; an error if it panicked or was closed for another one,
    /// `None` if none is open. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Option<Result<(), JoinError>> {
        let ended = self.tasks.join_next_with_id().await?;
        let (id, result) = match ended {
            Ok((id, ())) => (id, Ok(())),
            Err(error) => (error.id(), Err(error)),
        };
        self.forget(id);
        Some(result)
    }

    fn evict(&mut self) -> Option<IpAddr> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (client, _) in &self.open {
            *counts.entry(*client).or_default() += 1;
        }
        let (client, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let oldest = self.open.iter().position(|(other, _)| *other == client)?;
        let (_, task) = self.open.remove(oldest)?;
        task.abort();
        Some(client)
    }

    fn forget(&mut self, id: Id) {
        self.open.retain(|(_, task)| task.id() != id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn the_oldest_connection_of_the_client_with_the_most_is_closed() {
        let [few, many] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let mut connections = Connections::new(4);
        for client in [few, many, many, many] {
            assert_eq!(connections.admit(client, pending()), None);
        }
        assert_eq!(connections.admit(few, pending()), Some(many));
        assert!(
            connections
                .ended()
                .await
                .unwrap()
                .unwrap_err()
                .is_cancelled()
        );
        let left: Vec<IpAddr> = connections.open.iter().map(|(client, _)| *client).collect();
        assert_eq!(left, [few, many, many, few]);
        assert!(connections.admit(many, async {}).is_some());
    }

    #[tokio::test]
    async fn connections_that_end_free_their_slot() {
        let client = IpAddr::from([10, 0, 0, 1]);
        let mut connections = Connections::new(1);
        for _ in 0..3 {
            assert_eq!(connections.admit(client, async {}), None);
            assert!(connections.ended().await.unwrap().is_ok());
        }
        assert!(connections.ended().await.is_none());
    }
}

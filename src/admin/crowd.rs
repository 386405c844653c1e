//! The connections of the admin listener: bounded, and no client can keep another out.
//!
//! A client beyond the most is let in all the same. The oldest connection of the address that
//! has the most of them goes for it: probes and scrapes are over within milliseconds, so what
//! is old is slow.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

/// Connections that are open, oldest first.
#[derive(Debug)]
pub(super) struct Crowd {
    most: usize,
    tasks: JoinSet<()>,
    open: VecDeque<(IpAddr, AbortHandle)>,
}

impl Crowd {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            tasks: JoinSet::new(),
            open: VecDeque::new(),
        }
    }

    /// Lets a connection in; the address of the one that had to go for it.
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

    /// Waits until a connection has ended, and says if it panicked; `None` if none is open.
    /// Cancel-safe.
    pub(super) async fn ended(&mut self) -> Option<Result<(), JoinError>> {
        let ended = self.tasks.join_next_with_id().await?;
        let (id, outcome) = match ended {
            Ok((id, ())) => (id, Ok(())),
            Err(error) => (error.id(), Err(error)),
        };
        self.forget(id);
        Some(outcome)
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
    async fn the_oldest_of_the_largest_crowd_goes() {
        let [few, many] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let mut crowd = Crowd::new(4);
        for client in [few, many, many, many] {
            assert_eq!(crowd.admit(client, pending()), None);
        }
        assert_eq!(crowd.admit(few, pending()), Some(many));
        assert!(crowd.ended().await.unwrap().unwrap_err().is_cancelled());
        let left: Vec<IpAddr> = crowd.open.iter().map(|(client, _)| *client).collect();
        assert_eq!(left, [few, many, many, few]);
        assert!(crowd.admit(many, async {}).is_some());
    }

    #[tokio::test]
    async fn connections_that_end_make_room() {
        let client = IpAddr::from([10, 0, 0, 1]);
        let mut crowd = Crowd::new(1);
        for _ in 0..3 {
            assert_eq!(crowd.admit(client, async {}), None);
            assert!(crowd.ended().await.unwrap().is_ok());
        }
        assert!(crowd.ended().await.is_none());
    }
}

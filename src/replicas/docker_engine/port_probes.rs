//! Which replicas accept connections.
//!
//! An engine reports a container as running as soon as its first process exists; a target is
//! one that has opened its port.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::net::SocketAddr;

use tokio::task::{AbortHandle, JoinSet};

use crate::replicas::port_probe::until_open;

/// Probes the ports of named replicas until each is open. Dropping it ends all attempts.
#[derive(Debug, Default)]
pub(crate) struct PortProbes {
    probed: HashMap<String, Probed>,
    attempts: JoinSet<(String, SocketAddr)>,
}

#[derive(Debug)]
struct Probed {
    address: SocketAddr,
    /// `None` once the port is open.
    attempt: Option<AbortHandle>,
}

impl Probed {
    fn abort(&self) {
        if let Some(attempt) = &self.attempt {
            attempt.abort();
        }
    }
}

impl PortProbes {
    /// Whether the replica has accepted a connection at this address. Starts to probe it if
    /// that is not known; a replica that has another address now is probed anew.
    pub(crate) fn is_open(&mut self, replica: &str, address: SocketAddr) -> bool {
        while let Some(Ok((replica, address))) = self.attempts.try_join_next() {
            self.opened(&replica, address);
        }
        if let Some(probed) = self.probed.get(replica)
            && probed.address == address
        {
            return probed.attempt.is_none();
        }
        self.forget(replica);
        let name = replica.to_owned();
        let attempt = self.attempts.spawn(async move {
            until_open(address, |_| {}).await;
            (name, address)
        });
        let probed = Probed {
            address,
            attempt: Some(attempt),
        };
        self.probed.insert(replica.to_owned(), probed);
        false
    }

    /// Forgets a replica that has exited: what is started in its place has to open its port
    /// first.
    pub(crate) fn forget(&mut self, replica: &str) {
        if let Some(probed) = self.probed.remove(replica) {
            probed.abort();
        }
    }

    /// Forgets all replicas but these.
    pub(crate) fn retain<'a>(&mut self, replicas: impl Iterator<Item = &'a str>) {
        let replicas: HashSet<&str> = replicas.collect();
        self.probed.retain(|replica, probed| {
            let is_kept = replicas.contains(replica.as_str());
            if !is_kept {
                probed.abort();
            }
            is_kept
        });
    }

    /// Waits until another port opens. Cancel-safe.
    pub(crate) async fn next_open(&mut self) {
        loop {
            match self.attempts.join_next().await {
                Some(Ok((replica, address))) => return self.opened(&replica, address),
                // Aborted, as the replica was forgotten.
                Some(Err(_)) => {}
                None => return pending().await,
            }
        }
    }

    fn opened(&mut self, replica: &str, address: SocketAddr) {
        // A replica that was forgotten in the meantime is not listed again.
        if let Some(probed) = self.probed.get_mut(replica)
            && probed.address == address
        {
            probed.attempt = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_port_is_open_once_a_process_listens_and_unknown_when_forgotten() {
        let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = reserved.local_addr().unwrap();
        drop(reserved);
        let mut probes = PortProbes::default();
        assert!(!probes.is_open("a", address));
        let _listener = TcpListener::bind(address).await.unwrap();
        timeout(LONG, probes.next_open()).await.unwrap();
        assert!(probes.is_open("a", address));
        assert!(!probes.is_open("b", address), "another replica");
        probes.forget("a");
        assert!(!probes.is_open("a", address));
        timeout(LONG, probes.next_open()).await.unwrap();
    }
}

//! The phases of a shutdown.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::running::Server;
use super::worker::Worker;
use crate::config;
use crate::lifecycle::Phase;

/// How long requests have to finish after a part of Weir has panicked that cannot be started
/// again.
const BROKEN_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

impl Server {
    /// Goes through the phases of a shutdown. When `abort` resolves, the rest of the lame-duck
    /// time and of the drain is skipped. Returns whether every request was finished.
    pub async fn shutdown(mut self, abort: impl Future<Output = ()>) -> bool {
        let drained = tokio::select! {
            drained = self.drain() => drained,
            () = abort => false,
        };
        self.lifecycle.enter(Phase::Closing);
        let connections = if drained {
            0
        } else {
            self.close_tunnels().await
        };
        if connections > 0 {
            warn!(connections, "closing now: open connections are dropped");
        }
        for worker in self.workers.drain(..) {
            worker.stop().await;
        }
        self.control.stop().await;
        self.lifecycle.enter(Phase::Stopped);
        connections == 0
    }

    /// Prepares for a shutdown that is about to come. Sockets of a worker that has ended are
    /// closed at once: the clients in their queues would not be served.
    pub(super) fn hasten_shutdown(&mut self) {
        self.listeners.close_copies();
        self.config.shutdown.lame_duck = Duration::ZERO;
        self.config.shutdown.drain = self.config.shutdown.drain.min(BROKEN_DRAIN_TIMEOUT);
    }

    async fn drain(&mut self) -> bool {
        self.lifecycle.enter(Phase::LameDuck);
        for worker in &self.workers {
            worker.close_after_responses();
        }
        let config::Shutdown { lame_duck, drain } = self.config.shutdown;
        // Without an open listener there is no client to which a response could say `close`.
        if !lame_duck.is_zero() && self.listeners.is_any_open() {
            info!("lame duck for {lame_duck:?}: not ready, still accepting");
            sleep(lame_duck).await;
        }
        self.lifecycle.enter(Phase::Draining);
        self.listeners.close_copies();
        let connections = self.listeners.connections();
        info!(connections, "draining for at most {drain:?}");
        // All begin before one is waited for: none accepts while another drains.
        let draining: Vec<_> = self.workers.iter().map(Worker::drain_all).collect();
        let drained = async {
            for drained in draining {
                // An error means that the worker is gone, and its connections with it.
                let _ = drained.await;
            }
        };
        timeout(drain, drained).await.is_ok()
    }

    /// Ends upgraded connections and those of protocol `tcp`, which otherwise end only with their
    /// client or target. Returns how many connections are left.
    async fn close_tunnels(&self) -> usize {
        let closing: Vec<_> = self.workers.iter().map(Worker::close_tunnels).collect();
        let (mut tunnels, mut left) = (0, 0);
        for closed in closing {
            // An error means that the worker is gone, and its connections with it.
            let closed = closed.await.unwrap_or_default();
            tunnels += closed.tunnels;
            left += closed.connections_left;
        }
        if tunnels > 0 {
            info!(tunnels, "upgraded and TCP connections closed");
        }
        left
    }
}

//! Counts and logs each exchange once, whatever happens to it.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::time::Instant;

use super::access_log;
use super::exchange::ExchangeFacts;
use super::metrics::{OpenTunnel, WorkerMetrics};
use super::spans;
use crate::clock;
use crate::model::{AccessLog, AccessPolicy, ClientAddress, ListenerId, ListenerSlot, Protocol};

/// The record of one exchange. Dropping it counts and logs it.
///
/// A record which is dropped neither complete nor failed means that the client went away, or that
/// Weir stopped before the exchange ended.
#[derive(Debug)]
pub struct Record {
    metrics: Rc<WorkerMetrics>,
    policy: AccessPolicy,
    facts: ExchangeFacts,
}

impl Record {
    /// Begins the record of a request that a listener received, and whose head was complete at
    /// `started`; or of a connection that was accepted then.
    pub fn begin(
        metrics: &Rc<WorkerMetrics>,
        policy: AccessPolicy,
        protocol: Protocol,
        started: Instant,
        listener: (ListenerSlot, ListenerId),
        client: ClientAddress,
    ) -> Self {
        Self {
            metrics: Rc::clone(metrics),
            policy,
            facts: ExchangeFacts::new(protocol, started, listener, client),
        }
    }

    /// Whether the access log may write it.
    pub fn is_logged(&self) -> bool {
        self.policy.logged != AccessLog::Off
    }

    /// What the access log writes of it.
    pub fn policy(&self) -> AccessPolicy {
        self.policy
    }

    /// The exchange has become a tunnel: counts it as long as the guard lives.
    pub fn tunnel(&self) -> OpenTunnel {
        OpenTunnel::new(&self.metrics, self.facts.protocol)
    }
}

impl Deref for Record {
    type Target = ExchangeFacts;

    fn deref(&self) -> &ExchangeFacts {
        &self.facts
    }
}

impl DerefMut for Record {
    fn deref_mut(&mut self) -> &mut ExchangeFacts {
        &mut self.facts
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let facts = &mut self.facts;
        if !facts.complete && facts.failure.is_none() {
            facts.failure = Some(self.metrics.abandoned());
        }
        facts.waits_no_more();
        let now = clock::now().into_std();
        let elapsed = now.saturating_duration_since(facts.started());
        self.metrics.record(facts, elapsed);
        access_log::record(self.policy, facts, elapsed);
        spans::finish(facts, elapsed);
    }
}

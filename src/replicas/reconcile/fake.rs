//! A provider for tests that does as its script says.

use std::collections::BTreeSet;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::config::Replicas;
use crate::replicas::fixture::replica;
use crate::replicas::{Fleet, Provider, ProviderError, Replica, ReplicaId, ReplicaState, Usage};

/// Replicas that run at once, and go when they are released.
#[derive(Clone, Default)]
pub(super) struct Fake {
    script: Arc<Mutex<Script>>,
    news: Arc<Notify>,
}

/// What it has and how it behaves.
#[derive(Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is another way to misbehave"
)]
pub(super) struct Script {
    pub(super) replicas: Vec<Replica>,
    pub(super) desired: u32,
    /// Whether the replicas are an engine's.
    pub(super) is_engine: bool,
    /// Calls that fail.
    pub(super) fails: BTreeSet<&'static str>,
    /// Calls that panic.
    pub(super) panics: BTreeSet<&'static str>,
    /// Calls that never come back.
    pub(super) hangs: BTreeSet<&'static str>,
    /// Whether counts are accepted and forgotten.
    pub(super) is_idle: bool,
    /// Whether counts are accepted and never answered.
    pub(super) is_mute: bool,
    /// Whether another has the lease.
    pub(super) follows: bool,
    /// Whether it always says that something has changed.
    pub(super) is_restless: bool,
    /// Where the first replica answers; the next ones on the next ports.
    pub(super) port: u16,
    /// The calls, `set_count` with its number.
    pub(super) calls: Vec<String>,
    /// Of the last `set_count`.
    pub(super) victims: Vec<ReplicaId>,
    next: u64,
}

impl Fake {
    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        // A call that panics holds it.
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the script, and says so.
    pub(super) fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script());
        self.news.notify_one();
    }

    pub(super) fn count(&self) -> usize {
        self.script().replicas.len()
    }

    /// How often a call was made.
    pub(super) fn calls(&self, name: &str) -> usize {
        let script = self.script();
        let calls = script.calls.iter();
        calls.filter(|call| call.starts_with(name)).count()
    }

    async fn call(&self, name: &'static str, argument: &str) -> Result<(), ProviderError> {
        let hangs = {
            let mut script = self.script();
            script.calls.push(format!("{name} {argument}"));
            assert!(!script.panics.contains(name), "{name} is broken");
            if script.fails.contains(name) {
                return Err(ProviderError::Unreachable("it is down".to_owned()));
            }
            script.hangs.contains(name)
        };
        if hangs {
            pending::<()>().await;
        }
        Ok(())
    }
}

impl Script {
    /// From now on nothing fails.
    pub(super) fn recover(&mut self) {
        self.fails.clear();
        self.hangs.clear();
        self.panics.clear();
        self.is_idle = false;
        self.is_mute = false;
        self.follows = false;
        self.is_restless = false;
    }

    /// Starts another replica, and drains this one.
    fn replace(&mut self, id: ReplicaId) {
        let count = self.replicas.len() as u32;
        self.scale(count + 1);
        let replaced = self.replicas.iter_mut().find(|replica| replica.id == id);
        replaced.unwrap().state = ReplicaState::Draining;
        self.desired = count;
    }

    pub(super) fn scale(&mut self, count: u32) {
        if self.is_idle {
            return;
        }
        self.desired = count;
        let victims = self.victims.clone();
        let rank = |id: ReplicaId| victims.iter().rev().position(|victim| *victim == id);
        let lasts = |r: &&mut Replica| r.state == ReplicaState::Running;
        let mut last: Vec<&mut Replica> = self.replicas.iter_mut().filter(lasts).collect();
        last.sort_by_key(|replica| rank(replica.id));
        let there = last.len() as u32;
        for replica in last.iter_mut().skip(count as usize) {
            replica.state = ReplicaState::Draining;
        }
        if self.is_engine {
            let drains = |r: &Replica| r.state == ReplicaState::Draining;
            self.replicas.retain(|replica| !drains(replica));
        }
        for _ in there..count {
            let port = if self.port == 0 { 6400 } else { self.port } + self.next as u16;
            let address = SocketAddr::from(([127, 0, 0, 1], port)).to_string();
            let state = ReplicaState::Running;
            self.replicas.push(replica(self.next, &address, state));
            self.next += 1;
        }
    }
}

#[async_trait]
impl Provider for Fake {
    async fn configure(&mut self, _: &Replicas) -> Result<(), ProviderError> {
        self.call("configure", "").await
    }

    async fn set_count(&mut self, count: u32, victims: &[ReplicaId]) -> Result<(), ProviderError> {
        self.call("set_count", &count.to_string()).await?;
        self.change(|script| {
            script.victims = victims.to_vec();
            script.scale(count);
        });
        let is_mute = self.script().is_mute;
        if is_mute {
            pending::<()>().await;
        }
        Ok(())
    }

    async fn fleet(&mut self) -> Result<Fleet, ProviderError> {
        self.call("fleet", "").await?;
        let script = self.script();
        Ok(Fleet {
            desired: script.desired,
            stopped: Vec::new(),
            replicas: script.replicas.clone(),
        })
    }

    async fn changed(&mut self) {
        let is_broken = self.script().panics.contains("changed");
        assert!(!is_broken, "changed is broken");
        if !self.script().is_restless {
            self.news.notified().await;
        }
    }

    async fn release(&mut self, id: ReplicaId) -> Result<(), ProviderError> {
        self.call("release", "").await?;
        self.change(|script| {
            let released = script.replicas.iter().position(|r| r.id == id).unwrap();
            assert_eq!(script.replicas[released].state, ReplicaState::Draining);
            script.replicas.remove(released);
        });
        Ok(())
    }

    async fn replace(&mut self, id: ReplicaId) -> Result<(), ProviderError> {
        self.call("replace", &id.0.to_string()).await?;
        self.change(|script| script.replace(id));
        Ok(())
    }

    async fn usage(&mut self) -> Result<Vec<(ReplicaId, Usage)>, ProviderError> {
        self.call("usage", "").await?;
        let usage = |replica: &Replica| {
            let usage = Usage {
                cpu: Some(50.0),
                memory: None,
            };
            (replica.id, usage)
        };
        Ok(self.script().replicas.iter().map(usage).collect())
    }

    async fn may_scale(&mut self) -> Result<bool, ProviderError> {
        self.call("may_scale", "").await?;
        Ok(!self.script().follows)
    }

    fn is_own(&self) -> bool {
        !self.script().is_engine
    }
}

//! When listeners open: at the start each of them by itself, when the groups it names are
//! ready or their time is over. Until then its clients wait in the kernel's queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::pending_reload::TARGETS_TIMEOUT;
use super::ready::{Notices, find_group, forwarded_groups, not_known_yet};
use super::running::{Server, ServerEvent, WaitingListener};
use super::worker::Opening;
use crate::admin;
use crate::config::Listener;
use crate::lifecycle::Phase;
use crate::model::{Endpoint, ListenerId, Protocol, TargetGroupId};

/// A group that a listener waits for.
struct Lack {
    group: TargetGroupId,
    reason: String,
}

impl Server {
    /// Adds listeners without accept loops to those that wait. After a reload, which has waited
    /// for its groups before, they open at once.
    pub(super) fn wait_for_groups(&mut self, is_first: bool, now: Instant) {
        let unopened = self.listeners.unopened();
        self.waiting
            .retain(|waiting| unopened.contains(&waiting.id));
        let timeout = if is_first {
            TARGETS_TIMEOUT
        } else {
            Duration::ZERO
        };
        for id in unopened {
            if !self.waiting.iter().any(|waiting| waiting.id == id) {
                self.waiting.push(WaitingListener {
                    id,
                    deadline: now + timeout,
                    notices: Notices::since(now),
                });
            }
        }
    }

    /// Opens listeners if their groups are ready or their time is over.
    pub(super) fn open_ready(&mut self, now: Instant) {
        let mut all = std::mem::take(&mut self.waiting);
        all.retain_mut(|waiting| {
            let listener = &waiting.id;
            if let Some(Lack { group, reason }) = self.lack(listener) {
                if now < waiting.deadline {
                    if waiting.notices.is_due(now) {
                        info!(%listener, %group, reason, "listener waits for its target groups");
                    }
                    return true;
                }
                warn!(%listener, %group, reason, "listener opens without a target group");
            }
            self.open(listener);
            false
        });
        self.waiting = all;
        let is_published = self.switching.is_none();
        let is_starting = self.lifecycle.phase() == Phase::Starting;
        if is_published && is_starting && self.waiting.is_empty() {
            self.lifecycle.enter(Phase::Serving);
            self.events.push_back(ServerEvent::Serving);
        }
    }

    fn lack(&self, listener: &ListenerId) -> Option<Lack> {
        let listener = self
            .config
            .listeners
            .iter()
            .find(|other| other.id == *listener)?;
        let snapshot = self.reader.load();
        forwarded_groups(listener).into_iter().find_map(|id| {
            let reason = not_known_yet(&snapshot, find_group(&self.config, id)?)?;
            Some(Lack {
                group: id.clone(),
                reason,
            })
        })
    }

    fn open(&mut self, listener: &ListenerId) {
        let sockets = self.listeners.open(listener);
        self.hand_to_workers(sockets);
        if let Some(addr) = self.listeners.addresses(&self.config).get(listener) {
            let name = if *listener.0 == addr.to_string() {
                String::new()
            } else {
                format!(" ({listener})")
            };
            let mut listeners = self.config.listeners.iter();
            let known = listeners.find(|other| other.id == *listener);
            let scheme = match (addr, known) {
                (Endpoint::Unix(_), _) | (_, None) => "",
                (_, Some(listener)) => scheme(listener),
            };
            info!("listening on {scheme}{addr}{name}");
        }
    }

    pub(super) fn hand_to_workers(&self, sockets: Vec<Opening>) {
        for (worker, socket) in self.workers.iter().cycle().zip(sockets) {
            worker.listen(socket);
        }
    }

    /// Serves the admin listener on sockets that are not served yet.
    pub(super) fn serve_admin(&mut self) {
        let context = admin::Context {
            reader: self.reader.clone(),
            metrics: Arc::clone(&self.metrics),
            lifecycle: Arc::clone(&self.lifecycle),
            replicas: self.control.replicas().clone(),
            replica_control: self.control.replica_control().clone(),
            autoscaling: Arc::clone(self.control.journal()),
            certificates: Arc::clone(self.control.certificates()),
            discovery: Arc::clone(self.control.discovery()),
            connections: self.listeners.limits(),
            history: Arc::clone(&self.history),
            publisher: self.publisher.clone(),
        };
        let sockets = self.listeners.open_admin();
        if sockets.is_empty() {
            return;
        }
        for socket in sockets {
            self.control.serve_admin(socket, context.clone());
        }
        if let Some(addr) = self.admin_address() {
            info!("admin on http://{addr}");
        }
    }

    /// All that is waited for, a sentence each.
    pub(super) fn waits(&self) -> Vec<String> {
        let mut waits: Vec<String> = self
            .waiting
            .iter()
            .filter_map(|waiting| {
                let Lack { group, reason } = self.lack(&waiting.id)?;
                let listener = &waiting.id;
                Some(format!("listener {listener} waits for {group}: {reason}"))
            })
            .collect();
        if let Some(reload) = &self.reload {
            waits.extend(reload.waits(&self.reader.load()));
        }
        waits
    }
}

/// What a client of a port writes before its address.
fn scheme(listener: &Listener) -> &'static str {
    match (listener.protocol, &listener.tls) {
        (Protocol::Http1 | Protocol::Http2, None) => "http://",
        (Protocol::Http1 | Protocol::Http2, Some(_)) => "https://",
        (Protocol::Tcp, None) => "tcp://",
        (Protocol::Tcp, Some(_)) => "tls://",
    }
}

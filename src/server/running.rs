//! A running Weir: what it consists of, and the events of its life.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::control::ControlPlane;
use super::descriptors::Descriptors;
use super::error::ApplyError;
use super::listeners::{ListenerChanges, Listeners};
use super::pending_reload::PendingReload;
use super::published::RemovedListener;
use super::ready::Notices;
use super::supervision::Defect;
use super::upgrade::Inherited;
use super::worker::Worker;
use crate::admin::History;
use crate::config::Config;
use crate::lifecycle::Lifecycle;
use crate::model::{Endpoint, ListenerId};
use crate::observe::Metrics;
use crate::state::{Diff, Publisher, Reader};

/// How often target groups that are waited for are looked at. A first failed check changes no
/// health, so that nothing is published which could be waited for.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// A running Weir. The files beside this one have the rest of its methods: `start`, `reload`,
/// `opening`, `handover` and `shutdown`.
#[derive(Debug)]
pub struct Server {
    pub(super) publisher: Publisher,
    pub(super) reader: Reader,
    pub(super) metrics: Arc<Metrics>,
    /// The last hour, for the admin listener.
    pub(super) history: Arc<History>,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) workers: Vec<Worker>,
    pub(super) listeners: Listeners,
    pub(super) descriptors: Descriptors,
    pub(super) control: ControlPlane,
    /// The configuration that is in force.
    pub(super) config: Config,
    /// Removed listeners with connections that are still served.
    pub(super) removed: Vec<RemovedListener>,
    /// Listeners that the workers do not accept for yet.
    pub(super) waiting: Vec<WaitingListener>,
    /// The next configuration, while its groups are waited for.
    pub(super) reload: Option<PendingReload>,
    /// What follows when the configuration that is being published is visible.
    pub(super) switching: Option<Switch>,
    /// A publication that is not visible yet.
    pub(super) publication: Option<JoinHandle<Option<Diff>>>,
    /// Whether the published configuration has parts without use.
    pub(super) is_stale: bool,
    pub(super) events: VecDeque<ServerEvent>,
    /// What the predecessor has handed over, until this process serves.
    pub(super) inherited: Inherited,
    pub(super) defects: mpsc::UnboundedReceiver<Defect>,
}

/// A listener that waits for its groups.
#[derive(Debug)]
pub(super) struct WaitingListener {
    pub(super) id: ListenerId,
    /// When it opens in any case.
    pub(super) deadline: Instant,
    pub(super) notices: Notices,
}

/// What follows when a configuration is visible to the workers.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) changes: ListenerChanges,
    pub(super) diff: Diff,
    /// Whether it is the configuration of the start: then its listeners wait for their groups.
    pub(super) is_first: bool,
}

/// A change of the server that its owner acts on.
#[derive(Debug)]
pub(super) enum ServerEvent {
    /// The first configuration is published.
    Started,
    /// Every listener is open.
    Serving,
    /// A reload has ended.
    Reloaded(Result<Diff, ApplyError>),
    /// A part that cannot be started again has panicked.
    Broken(Defect),
}

impl Server {
    /// The next event. Reloads and openings advance only while this is polled. Cancel-safe.
    pub(super) async fn next(&mut self) -> ServerEvent {
        loop {
            self.advance();
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let is_idle = self.publication.is_none();
            let is_waiting = self.reload.is_some() || !self.waiting.is_empty();
            let next_removal = self.removed.iter().map(|removed| removed.until).min();
            tokio::select! {
                published = published(&mut self.publication) => self.published(published),
                () = self.listeners.ended() => {}
                () = sleep(CHECK_INTERVAL), if is_idle && is_waiting => {}
                () = until(next_removal), if is_idle => {}
                Some(defect) = self.defects.recv() => return ServerEvent::Broken(defect),
            }
        }
    }

    /// Does all that needs no waiting.
    fn advance(&mut self) {
        let now = Instant::now();
        if self.publication.is_none() {
            self.advance_reload(now);
        }
        if self.publication.is_none() {
            self.open_ready(now);
            self.forget_removed(now);
        }
        if self.publication.is_none() && self.is_stale {
            self.publish();
        }
        self.lifecycle.wait_for(self.waits());
    }

    /// The bound address of each listener; differs from the configuration for port 0.
    pub fn addresses(&self) -> impl Iterator<Item = (&ListenerId, &Endpoint)> {
        self.listeners.addresses(&self.config).into_iter()
    }

    /// The bound address of the admin listener.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.listeners
            .admin_address(self.config.admin.as_ref()?.bind)
    }

    /// Reads the snapshot that the data plane reads.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Client connections now open.
    pub fn connections(&self) -> usize {
        self.listeners.connections()
    }
}

/// Resolves when a publication is visible. Cancel-safe.
async fn published(publication: &mut Option<JoinHandle<Option<Diff>>>) -> Option<Diff> {
    let Some(task) = publication else {
        return std::future::pending().await;
    };
    let published = task.await;
    *publication = None;
    published.ok().flatten()
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

//! How a configuration comes into force: prepared, awaited, published, switched to.

use tokio::time::Instant;
use tracing::info;

use super::error::ApplyError;
use super::listeners::ListenerChanges;
use super::pending_reload::{NextStep, PendingReload};
use super::published::{RemovedListener, with_incoming, with_removed};
use super::ready::Awaited;
use super::running::{Server, ServerEvent, Switch};
use super::worker::LATE_HANDSHAKE_TIMEOUT;
use crate::config::Config;
use crate::model::ListenerId;
use crate::state::Diff;

impl Server {
    /// Makes `config` the running configuration, or changes nothing and returns the reason.
    /// Returns once its groups are ready and its rules are in force.
    pub async fn reload(&mut self, config: Config) -> Result<Diff, ApplyError> {
        while self.is_switching() {
            // The caller of the earlier reload waits no longer.
            let _ = self.next().await;
        }
        self.begin_reload(config)?;
        loop {
            match self.next().await {
                ServerEvent::Reloaded(result) => return result,
                ServerEvent::Broken(_) => return Err(ApplyError::PublisherGone),
                ServerEvent::Started | ServerEvent::Serving => {}
            }
        }
    }

    /// Binds new sockets and begins to wait for groups. A reload that waits already is
    /// replaced by this one. Fails without having changed anything. Must not be called while a
    /// reload is [switching](Self::is_switching).
    pub(super) fn begin_reload(&mut self, config: Config) -> Result<(), ApplyError> {
        let begun = self.try_begin_reload(config);
        if begun.is_err() {
            self.metrics.reloaded(false);
        }
        begun
    }

    fn try_begin_reload(&mut self, config: Config) -> Result<(), ApplyError> {
        let from = self.workers.len();
        // Without a number in the file, the number of the start stays, even if the process may
        // use more or fewer cores by now.
        if let Some(to) = config.workers.map(usize::from).filter(|to| *to != from) {
            return Err(ApplyError::Workers { from, to });
        }
        if self
            .reload
            .as_ref()
            .is_some_and(|reload| reload.config == config)
        {
            info!("configuration unchanged since the reload that waits; it goes on waiting");
            return Ok(());
        }
        if let Some(earlier) = self.reload.take() {
            // Its sockets, which may conflict with the new ones, are closed here.
            self.is_stale |= earlier.is_warming;
            info!("waiting reload abandoned: a newer configuration replaces it");
        }
        let prepared = self.listeners.prepare(&config, from)?;
        let awaited = Awaited::of(&self.config, &config, &self.reader.load());
        self.reload = Some(PendingReload::new(config, prepared, awaited));
        Ok(())
    }

    /// Whether a reload is past the point where a newer one can replace it. It ends within
    /// moments.
    pub(super) fn is_switching(&self) -> bool {
        self.switching.is_some()
    }

    /// Publishes the groups of the waiting reload, or switches to it, if it is time.
    pub(super) fn advance_reload(&mut self, now: Instant) {
        let Some(mut reload) = self.reload.take() else {
            return;
        };
        let snapshot = self.reader.load_full();
        let is_open = |id: &ListenerId| self.listeners.is_open(id);
        match reload.next_step(&self.config, &snapshot, is_open, now) {
            NextStep::Wait => self.reload = Some(reload),
            NextStep::Warm => {
                reload.is_warming = true;
                self.reload = Some(reload);
                self.publish();
            }
            NextStep::Switch => {
                let was_warming = reload.is_warming;
                if let Err(error) = self.switch(reload, false) {
                    self.is_stale |= was_warming;
                    self.metrics.reloaded(false);
                    self.events.push_back(ServerEvent::Reloaded(Err(error)));
                }
            }
        }
    }

    /// Lets clients connect, and publishes. Nothing can fail after the sockets listen.
    pub(super) fn switch(
        &mut self,
        reload: PendingReload,
        is_first: bool,
    ) -> Result<(), ApplyError> {
        reload.prepared.listen()?;
        let before = std::mem::replace(&mut self.config, reload.config);
        self.descriptors.adapt(&self.config);
        let drain = self.config.shutdown.drain;
        let changes = self.listeners.commit(reload.prepared, &self.config, drain);
        // A connection with a late handshake may still have its first request.
        let until = Instant::now() + drain.max(LATE_HANDSHAKE_TIMEOUT);
        self.removed.extend(
            changes
                .removed
                .iter()
                .filter_map(|id| RemovedListener::of(&before, id, until)),
        );
        self.switching = Some(Switch {
            changes,
            diff: Diff::between(&before, &self.config),
            is_first,
        });
        self.publish();
        Ok(())
    }

    /// Publishes the configuration in force, with removed listeners that still have
    /// connections and the groups of a reload that waits.
    pub(super) fn publish(&mut self) {
        self.is_stale = false;
        let mut config = with_removed(self.config.clone(), &self.removed);
        if let Some(reload) = self.reload.as_ref().filter(|reload| reload.is_warming) {
            config = with_incoming(config, &reload.config);
        }
        let (publisher, served) = (self.publisher.clone(), self.listeners.served());
        let publication = async move { publisher.configure_on(config, served).await };
        self.publication = Some(tokio::spawn(publication));
    }

    /// Finishes a switch when its configuration is visible; `published` is `None` if the
    /// publisher has ended.
    pub(super) fn published(&mut self, published: Option<Diff>) {
        let Some(switch) = self.switching.take() else {
            return;
        };
        let Some(published) = published else {
            self.events
                .push_back(ServerEvent::Reloaded(Err(ApplyError::PublisherGone)));
            return;
        };
        self.carry_out(switch.changes);
        self.serve_admin();
        let now = Instant::now();
        self.wait_for_groups(switch.is_first, now);
        if switch.is_first {
            self.inherited.count_in(&self.reader);
            self.events.push_back(ServerEvent::Started);
        }
        self.open_ready(now);
        if !switch.is_first {
            self.metrics.reloaded(true);
            self.events.push_back(ServerEvent::Reloaded(Ok(Diff {
                contradictions: published.contradictions,
                ..switch.diff
            })));
        }
    }

    fn carry_out(&mut self, changes: ListenerChanges) {
        self.hand_to_workers(changes.open);
        for (id, leaving) in changes.leave {
            for worker in &self.workers {
                worker.leave(id, leaving);
            }
        }
        for (id, accepting) in changes.leave_admin {
            self.control.leave_admin(id, accepting);
        }
    }

    /// Stops publishing removed listeners after their last connection has ended.
    pub(super) fn forget_removed(&mut self, now: Instant) {
        let before = self.removed.len();
        let (listeners, config) = (&self.listeners, &self.config);
        self.removed.retain(|removed| {
            let id = &removed.listener.id;
            let is_back = config.listeners.iter().any(|listener| listener.id == *id);
            !is_back && now < removed.until && listeners.has_left(id)
        });
        self.is_stale |= self.removed.len() < before;
    }
}

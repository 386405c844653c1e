//! The start: a reload from the empty configuration.

use std::collections::VecDeque;
use std::process::Command;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::control::{ControlParts, ControlPlane};
use super::descriptors::Descriptors;
use super::error::ApplyError;
use super::listeners::Listeners;
use super::pending_reload::PendingReload;
use super::running::{Server, ServerEvent};
use super::supervision::Supervision;
use super::upgrade::Inherited;
use super::worker::{self, Worker};
use crate::config::Config;
use crate::lifecycle::Lifecycle;
use crate::net::descriptors::DescriptorPool;
use crate::observe::Metrics;
use crate::state::{Publisher, Reader};

impl Server {
    /// Starts Weir on a checked configuration: returns once it serves. Needs a tokio
    /// runtime that lives as long as the server; workers bring their own.
    pub async fn start(config: Config) -> Result<Self, ApplyError> {
        let mut server = Self::begin(config, Inherited::default(), || {}, None)?;
        loop {
            match server.next().await {
                ServerEvent::Serving => return Ok(server),
                ServerEvent::Reloaded(Err(error)) => return Err(error),
                ServerEvent::Broken(_) => return Err(ApplyError::PublisherGone),
                ServerEvent::Started | ServerEvent::Reloaded(Ok(_)) => {}
            }
        }
    }

    /// Begins to start on a checked configuration, on the sockets of the predecessor as far
    /// as the configuration has them. The admin listener answers at once, the others open as
    /// [`Self::next`] is polled. Each thread calls `housekeeping` once a second; for
    /// `guardian` see [`crate::replicas::run`].
    pub(super) fn begin(
        config: Config,
        mut inherited: Inherited,
        housekeeping: fn(),
        guardian: Option<fn() -> Command>,
    ) -> Result<Self, ApplyError> {
        let (publisher, task, reader) = Publisher::new(fastrand::u64(..));
        let metrics = Arc::new(Metrics::default());
        let (report, defects) = mpsc::unbounded_channel();
        let supervision = Supervision::new(&metrics, report);
        let descriptors = Descriptors::new(&config);
        let workers = start_workers(
            &config,
            &reader,
            &metrics,
            housekeeping,
            &supervision,
            &descriptors.targets,
        )?;
        let parts = ControlParts {
            publisher: publisher.clone(),
            reader: reader.clone(),
            metrics: Arc::clone(&metrics),
            housekeeping,
            guardian,
            supervision,
        };
        let mut control = ControlPlane::start(task, inherited.replica_counts(&config), &parts);
        if !inherited.is_successor() {
            control.begin_scaling();
        }
        let mut server = Self {
            publisher,
            reader,
            metrics,
            history: Arc::default(),
            lifecycle: Arc::new(Lifecycle::default()),
            workers,
            listeners: Listeners::new(descriptors.clients.clone()),
            descriptors,
            control,
            config: Config::empty(),
            removed: Vec::new(),
            waiting: Vec::new(),
            reload: None,
            switching: None,
            publication: None,
            is_stale: false,
            events: VecDeque::new(),
            inherited,
            defects,
        };
        let workers = server.workers.len();
        server.listeners.inherit(&mut server.inherited, workers)?;
        let prepared = server.listeners.prepare(&config, workers)?;
        server.switch(PendingReload::new(config, prepared, Vec::new()), true)?;
        server.serve_admin();
        Ok(server)
    }
}

fn start_workers(
    config: &Config,
    reader: &Reader,
    metrics: &Arc<Metrics>,
    housekeeping: fn(),
    supervision: &Supervision,
    descriptors: &DescriptorPool,
) -> Result<Vec<Worker>, ApplyError> {
    (0..worker::count(config))
        .map(|index| {
            let (supervision, descriptors) = (supervision.clone(), descriptors.clone());
            Worker::spawn(
                index,
                reader,
                metrics,
                housekeeping,
                supervision,
                descriptors,
            )
        })
        .collect::<Result<_, _>>()
        .map_err(ApplyError::Worker)
}

//! What the pages of the admin listener are made from.

use std::sync::Arc;

use tokio::sync::watch;

use super::history::History;
use crate::acme;
use crate::autoscale::Journal;
use crate::discovery;
use crate::lifecycle::Lifecycle;
use crate::listener::ConnectionLimit;
use crate::model::ListenerId;
use crate::observe::Metrics;
use crate::replicas::{self, ReplicaControl};
use crate::state::{Publisher, Reader};

/// What the admin listener reports, and what it changes.
#[derive(Clone, Debug)]
pub struct Context {
    /// The snapshot that the data plane reads.
    pub reader: Reader,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The phase of the process.
    pub lifecycle: Arc<Lifecycle>,
    /// The replicas that Weir runs.
    pub replicas: watch::Receiver<replicas::Status>,
    /// Changes what is wanted of the replicas.
    pub replica_control: ReplicaControl,
    /// The decisions of the autoscaler.
    pub autoscaling: Arc<Journal>,
    /// The state of certificates that are ordered.
    pub certificates: Arc<acme::Report>,
    /// The state of names and files that targets come from.
    pub discovery: Arc<discovery::Report>,
    /// The open connections of each listener, and how many it may have.
    pub connections: watch::Receiver<Vec<(ListenerId, Arc<ConnectionLimit>)>>,
    /// The last hour.
    pub history: Arc<History>,
    /// Receives changes of targets.
    pub publisher: Publisher,
}

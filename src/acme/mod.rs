//! Orders certificates from an authority by ACME (RFC 8555) and renews them.
//!
//! Nothing here is read by a handshake. A certificate is written to the state directory, in one
//! file with its key, and the configuration, which has read that file or found it missing, is read
//! again: a renewal is a reload. What the authority is answered is written there too, and every Weir
//! that shares the directory reads it once a second into the [`Challenges`](crate::tls::Challenges)
//! of its snapshots. So one Weir can order, the one that holds the lock of the directory, and all
//! of them answer.
//!
//! Each domain has a plan of its own (`schedule`): it is ordered if there is no certificate, and
//! again after two thirds of the lifetime, or when the authority says so (RFC 9773). What fails is
//! tried again with growing pauses; the certificate that exists is served meanwhile.

mod challenges;
mod client;
mod disk;
mod jobs;
mod order;
mod report;
mod schedule;
mod store;

use std::sync::Arc;

use crate::state::Reader;

pub use report::{DomainReport, Report};

/// Follows the configurations of the snapshots until the publisher ends.
pub async fn run(reader: Reader, report: Arc<Report>) {
    let answering = challenges::follow(reader.clone());
    tokio::join!(answering, jobs::Jobs::new(report).run(reader));
}

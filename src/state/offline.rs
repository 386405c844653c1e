//! A snapshot without a publisher, for what looks at a configuration and runs nothing.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};

use super::builder::Builder;
use super::change::Change;
use super::snapshot::Snapshot;
use super::work::Work;
use crate::balance::KeyTable;
use crate::config::Config;

/// The first snapshot of a configuration: of targets only those are in it that stand in the file.
pub fn compile(config: Config) -> Arc<Snapshot> {
    let current = Arc::new(ArcSwap::from_pointee(Snapshot::empty()));
    let (version, _watcher) = watch::channel(0);
    let mut builder = Builder::new(Arc::clone(&current), version, 0);
    let (done, _applied) = oneshot::channel();
    let change = Change::Configure {
        config,
        sockets: Vec::new(),
        done,
    };
    let now = Instant::now();
    builder.apply(Work::Changes(vec![change]), now);
    build_tables(&mut builder, now);
    current.load_full()
}

/// The tables of large groups, which the publisher builds beside other work.
fn build_tables(builder: &mut Builder, now: Instant) {
    let wanted = builder.take_wanted_tables(usize::MAX);
    let tables = wanted
        .into_iter()
        .map(|(id, roster)| (id, KeyTable::new(&roster)))
        .collect();
    builder.apply(Work::Tables(tables), now);
}

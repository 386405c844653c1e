//! The counters of the requests of one listener, group and target, on one worker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::durations::{Durations, LiveDurations, add};
use super::exchange::ExchangeFacts;
use super::readings::{CLASSES, TargetTraffic};
use crate::model::Protocol;

/// The status of a response after which the connection is a tunnel.
const SWITCHING_PROTOCOLS: u16 = 101;

/// The counters of one listener, group and target.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) labels: Labels,
    /// Of a connection, which has no status, all are in one class.
    pub(super) classes: [AtomicU64; CLASSES.len()],
    pub(super) durations: LiveDurations,
    /// The times to the head of the target's response.
    first_bytes: LiveDurations,
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    /// Requests that got a connection to the target which was there already.
    pub(super) reused: AtomicU64,
}

/// The listener, group and target of a request or connection; empty if it reached none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Labels {
    pub(super) protocol: Protocol,
    pub(super) listener: String,
    pub(super) group: String,
    pub(super) target: String,
}

/// A protocol, a listener and a group: the targets of a group share their histograms.
pub(super) type GroupLabels = (Protocol, String, String);

/// The times of a series.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    /// To the end of the exchange or connection.
    pub(super) whole: Durations,
    /// To the head of the target's response.
    pub(super) first_byte: Durations,
}

impl Times {
    pub(super) fn add(&mut self, other: &Self) {
        self.whole.add(&other.whole);
        self.first_byte.add(&other.first_byte);
    }
}

/// What removed targets of a group have answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Retired {
    pub(super) times: Times,
    counts: [u64; CLASSES.len()],
}

impl Retired {
    pub(super) fn add(&mut self, series: &Series) {
        self.times.add(&series.times());
        for (sum, count) in self.counts.iter_mut().zip(series.counts()) {
            *sum += count;
        }
    }

    pub(super) fn traffic(&self) -> TargetTraffic {
        TargetTraffic {
            counts: self.counts,
            durations: self.times.whole.clone(),
        }
    }
}

impl Series {
    pub(super) fn new(labels: Labels) -> Self {
        Self {
            labels,
            classes: Default::default(),
            durations: LiveDurations::default(),
            first_bytes: LiveDurations::default(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            reused: AtomicU64::new(0),
        }
    }

    /// Counts an exchange or a connection. Only for the worker that owns the series.
    pub(super) fn count(&self, exchange: &ExchangeFacts, elapsed: Duration) {
        let class = match exchange.status {
            Some(status) => usize::from((status / 100).clamp(1, 5) - 1),
            None => CLASSES.len() - 1,
        };
        add(&self.classes[class], 1);
        add(&self.received, exchange.received);
        add(&self.sent, exchange.sent);
        if let Some(first_byte) = exchange.time_to(exchange.answered) {
            self.first_bytes.count(first_byte);
            add(&self.reused, u64::from(exchange.connecting.is_none()));
        }
        if exchange.status == Some(SWITCHING_PROTOCOLS) {
            // The lifetime of a tunnel says nothing about the speed of requests.
            return;
        }
        self.durations.count(elapsed);
    }

    fn counts(&self) -> [u64; CLASSES.len()] {
        std::array::from_fn(|class| self.classes[class].load(Ordering::Relaxed))
    }

    pub(super) fn traffic(&self) -> TargetTraffic {
        TargetTraffic {
            counts: self.counts(),
            durations: self.durations.read(),
        }
    }

    pub(super) fn times(&self) -> Times {
        Times {
            whole: self.durations.read(),
            first_byte: self.first_bytes.read(),
        }
    }
}

impl Labels {
    pub(super) fn group_key(&self) -> GroupLabels {
        let protocol = self.protocol.without_version();
        (protocol, self.listener.clone(), self.group.clone())
    }
}

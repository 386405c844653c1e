//! The health of a target, as its checks see it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{Health, HealthRecord};

/// What the checks have found so far about one target. Written by the prober, read by the
/// publisher and the status page; no request touches it.
#[derive(Debug, Default)]
pub struct HealthCell(Mutex<HealthRecord>);

impl HealthCell {
    /// The record, with exclusive access: for the control plane, which holds the lock for
    /// the length of a statement.
    pub fn lock(&self) -> MutexGuard<'_, HealthRecord> {
        // A panic while the record was held leaves plain numbers behind, all legal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the checks say now.
    pub fn now(&self) -> Health {
        self.lock().state.health()
    }

    /// Whether the checks pass.
    pub fn is_healthy(&self) -> bool {
        self.now() == Health::Healthy
    }
}

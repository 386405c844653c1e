//! A target of a group with its settings.

use std::sync::Arc;

use crate::model::Registration;
use crate::target::Target;

/// A target of a group with its settings.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its live state.
    pub target: Arc<Target>,
    /// 0-999; 0 gets no new requests.
    pub weight: u16,
    /// Whether it is active or drains.
    pub registration: Registration,
}

impl PartialEq for Registered {
    /// The same target, not one with the same id, with the same settings.
    fn eq(&self, other: &Self) -> bool {
        self.target.serial == other.target.serial
            && (self.weight, self.registration) == (other.weight, other.registration)
    }
}

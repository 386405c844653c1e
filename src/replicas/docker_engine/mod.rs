//! A connection to a Docker Engine, for the providers that have one behind them.
//!
//! Each call ends within its deadline. Its error is one kind if the engine does not answer,
//! another if it refuses, and another if its answer is nonsense. The size of an answer is bounded where
//! Weir reads it itself. What bollard's models do not have is read as JSON: the addresses of a
//! Swarm task, and the specification of a service, which must go back exactly as it came.

mod engine;
mod error;
#[cfg(test)]
pub(super) mod fake;
mod meter;
mod polling;
mod port_probes;
#[cfg(test)]
pub(super) mod real;
mod wire;

pub(super) use engine::{CALL_TIMEOUT, Engine, MOST_REPLICAS, escape, within};
pub(super) use error::{is_conflict, none_if_missing, nonsense};
pub(super) use meter::{Limits, Meter, Subject};
pub(super) use polling::{poll_interval, poll_timer};
pub(super) use port_probes::PortProbes;

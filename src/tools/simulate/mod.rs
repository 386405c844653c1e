//! `weir simulate`: simulates how the policies of a group follow a load.
//!
//! A [`LoadCurve`] has the requests of each second, a [`Service`] models how replicas serve them,
//! and [`run`] closes the loop: the metrics of each second go to the [`Scaler`] that runs in
//! production, or to Kubernetes' algorithm for comparison, and the decided count sets the replicas
//! of the following seconds. Everything is computed; the same arguments give the same numbers.
//!
//! [`Scaler`]: crate::autoscale::Scaler

mod curve;
mod figure;
mod hpa;
mod metric;
mod read;
mod recorded;
mod replica_set;
mod rules;
mod run;
mod service;
mod summary;

pub use curve::{LoadCurve, MAX_RATE, MAX_SECONDS};
pub use figure::{load_panel, run_panel};
pub use metric::{is_simulated, tracked};
pub use read::{Load, LoadFormat, ReadError, read};
pub use recorded::{Selection, recorded};
pub use rules::ScalingRules;
pub use run::{Change, Row, Run, Setting, run};
pub use service::{ResponseTime, ServedSecond, Service};
pub use summary::{Summary, summary};

#[cfg(test)]
mod tests;

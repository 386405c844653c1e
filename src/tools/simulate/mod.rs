//! `weir simulate`: what the policies of a group would make of a load.
//!
//! A [`LoadCurve`] says how many requests come each second, a [`Service`] what replicas make of
//! them, and [`run`] closes the loop: the metrics of each second go to the very [`Scaler`] that
//! runs in production, or to Kubernetes' rule for comparison, and what it decides are the
//! replicas of the seconds after. Everything is computed; the same arguments give the same
//! numbers.
//!
//! [`Scaler`]: crate::autoscale::Scaler

mod crew;
mod curve;
mod figure;
mod hpa;
mod metric;
mod read;
mod recorded;
mod rules;
mod run;
mod service;
mod summary;

pub use curve::{LoadCurve, MAX_RATE, MAX_SECONDS};
pub use figure::{load_panel, run_panel};
pub use metric::{is_simulated, tracked};
pub use read::{Kind, Load, ReadError, read};
pub use recorded::{Selection, recorded};
pub use rules::Rules;
pub use run::{Change, Row, Run, Setting, run};
pub use service::{Moment, Response, Service};
pub use summary::{Summary, summary};

#[cfg(test)]
mod tests;

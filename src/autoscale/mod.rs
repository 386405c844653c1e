//! How many replicas a group should have: measured, decided, explained.
//!
//! Once a second [`run`] takes a [`Sample`] of each group that scales (`signal`) and gives it
//! to the group's [`Scaler`], which decides. The scaler is pure: samples and times are
//! arguments, so that `weir simulate` and the property tests run the very code that runs in
//! production. What it decides, and why, is a [`Decision`]; the last ones are kept for the
//! admin listener, and the number itself goes to `replicas` as a wish.

mod decision;
mod history;
mod sample;
mod scaler;
mod tracking;
mod verdict;
mod zero;

pub use decision::{AlarmState, Decision, Inputs, Kind, Opinion, Outcome, Reason};
pub use sample::{Capacity, Now, Reading, Sample};
pub use scaler::Scaler;

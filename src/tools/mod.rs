//! What the offline commands do: pure functions over files, beside the daemon.
//!
//! Nothing of the daemon depends on this module, and the feature `tools` leaves it out. Of the
//! daemon it uses the configuration and the pure policies of `autoscale`.

pub mod import;
pub mod plot;
pub mod simulate;

//! Which exchanges the access log holds.

/// Which exchanges are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// Those without a complete response of a target. Of many with one reason in one group some
    /// are written and the others counted.
    Failures,
    /// All.
    All,
}

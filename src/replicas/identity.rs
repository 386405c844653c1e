//! How one instance of Weir differs from others in an engine.

use std::process;

/// The machine's name (in a container that of the pod or task), the process ID and a random
/// number. Two instances on one machine differ, and so does one that was started again. Holds
/// letters, digits, `-`, `.` and `_`.
pub(super) fn identity() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let host: String = host
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
        .take(64)
        .collect();
    format!("{host}_{}_{:08x}", process::id(), fastrand::u32(..))
}

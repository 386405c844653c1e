//! Who this Weir is among several, where an engine has to be told.

use std::process;

/// The machine's name, which is the pod's or task's in a container, the process and a number
/// that no other has: two Weirs on one machine differ, and one that starts again is another.
pub(super) fn identity() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let host: String = host.chars().filter(|c| legal(*c)).take(64).collect();
    format!("{host}_{}_{:08x}", process::id(), fastrand::u32(..))
}

//! Files from outside: read within limits of size and time, and watched through any link.
//!
//! The configuration, the secrets it names and the lists of targets are written by editors,
//! orchestrators and mounts: they are replaced, linked, mounted over, and may turn into a pipe, a
//! device or a mount that does not answer. A read takes regular files only, up to a limit; what
//! touches a file system in the daemon runs on a blocking thread, and every wait for that thread
//! has a deadline.

mod blocking;
mod read;
mod stamp;
mod watch;
mod writable;

pub use blocking::{Blocking, Unfinished};
pub use read::{read, read_from, read_text};
pub use stamp::{Stamp, Versions};
pub use watch::FileWatcher;
pub use writable::check_writable;

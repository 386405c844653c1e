//! Weir as a child process, targets as threads, and a client.

mod http;
mod target;
mod taskoverflow;
mod users;
mod weir;

use std::thread;
use std::time::{Duration, Instant};

pub use http::{Client, Reply};
pub use target::Target;
pub use taskoverflow::taskoverflow;
pub use users::Users;
pub use weir::{Weir, command};

/// How long anything may take; `WEIR_TEST_PATIENCE_MS` stretches it on slow machines.
pub fn patience() -> Duration {
    let configured = std::env::var("WEIR_TEST_PATIENCE_MS").ok();
    let millis = configured.and_then(|text| text.parse().ok());
    Duration::from_millis(millis.unwrap_or(30_000))
}

/// Polls until there is a value; panics with what was last seen when patience ends.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + patience();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(last) if Instant::now() > end => {
                panic!("never happened: {what}; last seen: {last}")
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Whether the process has not ended: one that has, and was not waited for, does not run.
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Whether the process exists; one that nobody has waited for counts.
pub fn exists(pid: u32) -> bool {
    rustix::process::Pid::from_raw(pid.cast_signed())
        .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

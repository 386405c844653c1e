//! Weir as a child process, targets as threads, and a client.

mod http;
mod successor;
mod target;
mod taskoverflow;
mod users;
mod weir;

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

pub use http::{Client, Reply};
pub use successor::Successor;
pub use target::Target;
pub use taskoverflow::taskoverflow;
pub use users::Users;
pub use weir::{Weir, command};

/// The deadline of every wait; `WEIR_TEST_TIMEOUT_MS` changes it on slow machines.
pub fn wait_timeout() -> Duration {
    let configured = std::env::var("WEIR_TEST_TIMEOUT_MS").ok();
    let millis = configured.and_then(|text| text.parse().ok());
    Duration::from_millis(millis.unwrap_or(30_000))
}

/// Polls until there is a value. Panics with the last error after [`wait_timeout`].
pub fn eventually<T>(what: &str, attempt: impl FnMut() -> Result<T, String>) -> T {
    eventually_within(wait_timeout(), what, attempt)
}

/// As [`eventually`], for what takes longer.
pub fn eventually_within<T>(
    limit: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + limit;
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

/// Polls until the value is as wanted, and returns it.
pub fn until<T: Debug>(
    what: &str,
    mut value: impl FnMut() -> T,
    is_wanted: impl Fn(&T) -> bool,
) -> T {
    eventually(what, || {
        let value = value();
        if is_wanted(&value) {
            Ok(value)
        } else {
            Err(format!("{value:?}"))
        }
    })
}

/// Polls until none of these processes exists.
pub fn until_gone(pids: &[u32], exists: impl Fn(u32) -> bool) {
    until(
        "the processes are gone",
        || {
            let left = pids.iter().copied().filter(|pid| exists(*pid));
            left.collect::<Vec<u32>>()
        },
        Vec::is_empty,
    );
}

/// Whether the process runs: one that has ended and was not waited for does not.
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Whether the process exists; one that has ended and was not waited for does.
pub fn exists(pid: u32) -> bool {
    rustix::process::Pid::from_raw(pid.cast_signed())
        .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

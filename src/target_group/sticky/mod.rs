//! Sessions: what a client's cookie says about where its requests go.
//!
//! A cookie holds all there is to know, sealed (see [`Seal`]): Weir remembers nothing, so
//! all workers, and all Weirs with the same key, agree. A session is a wish and no promise.
//! Its target is taken while it may take requests; otherwise the request goes where it
//! would go without a cookie, and the response brings a new one. Nothing in a cookie can
//! make a request fail.

mod choices;
mod seal;
mod session;

use std::time::{Duration, SystemTime};

pub use choices::Choices;
pub use seal::{Nonce, Seal};
pub use session::{ApplicationCookie, Session, Sessions, Verdict, draining};

/// Cookies of one name that are looked at: a client has one, or two from paths or domains
/// that overlap. Each costs a cipher, and who sends more has made them up.
const MAX_COOKIES: usize = 4;

/// Which part of its life may pass before a cookie is issued anew.
const REFRESH: u32 = 10;

/// Whether an expiry is so near to a new one that the new one need not be told.
fn is_near(held: SystemTime, next: SystemTime, now: SystemTime) -> bool {
    let life = next.duration_since(now).unwrap_or_default();
    let apart = next.duration_since(held).unwrap_or_else(|e| e.duration());
    apart <= life / REFRESH
}

/// The next whole second: cookies count in seconds, and no session is cut short for it.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.subsec_nanos());
    match nanos {
        0 => time,
        nanos => time + Duration::from_nanos(1_000_000_000 - u64::from(nanos)),
    }
}

/// What a cookie that expires then says of its life: never 0 seconds, which would delete it.
fn life(expires: SystemTime, now: SystemTime) -> Duration {
    let left = expires.duration_since(now).unwrap_or_default();
    Duration::from_secs(left.as_secs().max(1))
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn time(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

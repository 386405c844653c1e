//! When cookies expire, when they are issued anew, and how both are written into them.

use std::time::{Duration, SystemTime};

/// Cookies of one name that are opened: a client has one, or two from paths or domains
/// that overlap. Each costs a decryption, and a client that sends more has invented them.
pub(super) const MAX_COOKIES: usize = 4;

/// A cookie is issued anew once one part in so many of its life has passed.
const REFRESH: u32 = 10;

/// Whether an expiry is so near to a new one that the new one need not be sent.
pub(super) fn is_near(held: SystemTime, next: SystemTime, now: SystemTime) -> bool {
    let life = next.duration_since(now).unwrap_or_default();
    let apart = next.duration_since(held).unwrap_or_else(|e| e.duration());
    apart <= life / REFRESH
}

/// The next whole second: cookies count in seconds, and rounding cuts no session short.
pub(super) fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.subsec_nanos());
    match nanos {
        0 => time,
        nanos => time + Duration::from_nanos(1_000_000_000 - u64::from(nanos)),
    }
}

/// The `Max-Age` of a cookie that expires then: never 0 seconds, which would delete it.
pub(super) fn life(expires: SystemTime, now: SystemTime) -> Duration {
    let left = expires.duration_since(now).unwrap_or_default();
    Duration::from_secs(left.as_secs().max(1))
}

pub(super) fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

pub(super) fn time(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

//! One check: a probe with a deadline, and its verdict.

use std::fmt::Write as _;
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout};

use super::{http_probe, tcp_probe};
use crate::config::{HealthCheck, Probe};
use crate::model::{CheckFailure, CheckResult, HealthReason};

/// Asks a target whether it is well.
pub(super) trait Prober: Clone + Send + Sync + 'static {
    /// Asks once. The caller sets the deadline: the future may be dropped at any time,
    /// and `heard` then says how far it came.
    fn probe(
        &self,
        addr: SocketAddr,
        probe: &Probe,
        heard: &mut Heard,
    ) -> impl Future<Output = Result<(), CheckFailure>> + Send;
}

/// What a target has answered so far.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Whether the connection stands.
    pub(super) connected: bool,
    /// The status, once the head of the answer is in.
    pub(super) status: Option<u16>,
    /// The start of the body.
    pub(super) body: Vec<u8>,
}

/// Probes over real connections, a fresh one for each check.
#[derive(Clone, Copy, Debug)]
pub(super) struct NetworkProber;

impl Prober for NetworkProber {
    async fn probe(
        &self,
        addr: SocketAddr,
        probe: &Probe,
        heard: &mut Heard,
    ) -> Result<(), CheckFailure> {
        match probe {
            Probe::Tcp => tcp_probe::probe(addr).await,
            Probe::Http(http) => http_probe::probe(addr, http, heard).await,
        }
    }
}

/// Asks the target at `addr` and judges what it says within the check's timeout.
pub(super) async fn check(
    prober: &impl Prober,
    addr: SocketAddr,
    check: &HealthCheck,
) -> CheckResult {
    let at = SystemTime::now();
    let started = Instant::now();
    let asked = SocketAddr::new(addr.ip(), check.port.unwrap_or(addr.port()));
    let mut heard = Heard::default();
    let answer = timeout(check.timeout, prober.probe(asked, &check.probe, &mut heard)).await;
    let outcome = match answer {
        Ok(outcome) => outcome,
        Err(_) => Err(too_late(&check.probe, &heard, check.timeout)),
    };
    CheckResult {
        at,
        began: started.into_std(),
        elapsed: started.elapsed(),
        status: heard.status,
        outcome,
    }
}

/// The failure of a check whose time is over. A wrong status is what is wrong, however
/// slowly the body behind it comes.
fn too_late(probe: &Probe, heard: &Heard, limit: Duration) -> CheckFailure {
    let mismatch = match probe {
        Probe::Tcp => None,
        Probe::Http(http) => http_probe::status_mismatch(http, heard),
    };
    mismatch.unwrap_or_else(|| {
        let detail = match (heard.connected, heard.status) {
            (false, _) => format!("no connection within {limit:?}"),
            (true, None) => format!("no answer within {limit:?}"),
            (true, Some(status)) => format!("status {status}, but no whole body within {limit:?}"),
        };
        failure(HealthReason::Timeout, detail)
    })
}

/// A failed check.
pub(super) fn failure(reason: HealthReason, detail: impl Into<String>) -> CheckFailure {
    CheckFailure {
        reason,
        detail: detail.into(),
    }
}

/// Most characters of a target's answer that are shown; one line of a terminal or two.
const EXCERPT: usize = 200;

/// Most bytes of it that are needed for that: a character takes at most four.
pub(super) const EXCERPT_BYTES: usize = 4 * EXCERPT;

/// The start of a body for people to read: characters that could move a cursor or hide
/// text are escaped.
pub(super) fn excerpt(body: &[u8]) -> String {
    let start = &body[..body.len().min(EXCERPT_BYTES)];
    let mut shown = String::new();
    let mut length = 0;
    for c in String::from_utf8_lossy(start).chars() {
        let mut escaped = String::new();
        match c {
            '"' | '\'' => escaped.push(c),
            other => {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "{}", other.escape_debug());
            }
        }
        length += escaped.chars().count();
        if length >= EXCERPT {
            shown.push('…');
            break;
        }
        shown.push_str(&escaped);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_cannot_move_the_cursor() {
        assert_eq!(excerpt(br#"{"status":"down"}"#), r#"{"status":"down"}"#);
        assert_eq!(excerpt(b"a\x1b[2J\r\nb"), r"a\u{1b}[2J\r\nb");
        assert_eq!(excerpt("a\u{202e}b".as_bytes()), r"a\u{202e}b");
        let long = excerpt("é".repeat(70_000).as_bytes());
        assert_eq!(long.chars().count(), 200);
        let escapes = excerpt(&[0x1b; 1000]);
        assert!(escapes.chars().count() <= 200);
        assert!(excerpt(&[0xff; 3]).chars().all(|c| c == '\u{fffd}'));
    }
}

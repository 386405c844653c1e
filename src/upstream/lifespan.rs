//! How old an idle connection may get.
//!
//! A target that closes a connection just as a request is written on it loses that
//! request. So connections are retired before: at 80 percent of the age at which the
//! target says it closes them (`Keep-Alive: timeout=5`), or was seen to. Until either is
//! known, targets are taken to close after five seconds, as Node does.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};

use crate::model::{KeepAlive, Upstream};

/// When connections are retired to a target that nothing is known about: before the
/// shortest keep-alive among common servers, Node's five seconds.
const UNLEARNED: Duration = Duration::from_secs(4);

/// A target that closes sooner than this closes after each response, or might as well: its
/// connections are not kept.
const SHORTEST: Duration = Duration::from_millis(100);

/// For how long it counts that a connection of some age was still open.
const PROOF: Duration = Duration::from_secs(10);

/// How old idle connections to one target may get, as one worker knows it.
#[derive(Debug)]
pub(super) struct Lifespan {
    learned: Arc<KeepAlive>,
    /// By what the target says in `Keep-Alive`, on the connection opened last.
    announced: Cell<Option<Duration>>,
    /// The operator's word, which only shortens.
    cap: Cell<Option<Duration>>,
    /// The longest age at which a connection still served, and when that was.
    proven: Cell<(Duration, Instant)>,
}

impl Lifespan {
    pub(super) fn new(learned: &Arc<KeepAlive>, now: Instant) -> Self {
        Self {
            learned: Arc::clone(learned),
            announced: Cell::new(None),
            cap: Cell::new(None),
            proven: Cell::new((Duration::ZERO, now)),
        }
    }

    /// Takes in what the configuration says now.
    pub(super) fn adapt(&self, policy: &Upstream) {
        self.cap.set(policy.idle_timeout);
    }

    /// The age beyond which a connection is not used; `None` when none is to be kept.
    pub(super) fn limit(&self) -> Option<Duration> {
        let cap = self.cap.get();
        let known = match (self.announced.get(), self.learned.retirement()) {
            (Some(announced), Some(learned)) => announced.min(learned),
            (Some(known), None) | (None, Some(known)) => known,
            (None, None) => return Some(cap.unwrap_or(UNLEARNED)),
        };
        (known >= SHORTEST).then(|| cap.map_or(known, |cap| cap.min(known)))
    }

    /// Takes in the head of the first response on a connection.
    pub(super) fn announced(&self, headers: &HeaderMap) {
        let timeout = timeout(headers);
        self.announced
            .set(timeout.map(KeepAlive::retirement_before));
    }

    /// A connection served after it had been idle for `age`.
    pub(super) fn proved(&self, age: Duration, now: Instant) {
        let (longest, when) = self.proven.get();
        if age >= longest || now.saturating_duration_since(when) > PROOF {
            self.proven.set((age, now));
        }
    }

    /// The target closed a connection after it had been idle for `age`.
    ///
    /// One that closes sooner than others of its connections have lasted is shutting
    /// down, or has crashed: that says nothing about its timeout.
    pub(super) fn closed(&self, age: Duration, now: Instant) {
        let (longest, when) = self.proven.get();
        if age > longest || now.saturating_duration_since(when) > PROOF {
            self.learned.closed(age, now);
        }
    }

    /// Forgets what is too old. Called now and then.
    pub(super) fn forget(&self, now: Instant) {
        self.learned.forget(now);
    }
}

/// The seconds in `Keep-Alive: timeout=5, max=100` (RFC 2068 section 19.7.1.1; HTTP/1.1 as
/// it stands now leaves the field alone, and servers send it all the same).
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    let field = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    let mut parameters = field.split(',').filter_map(|part| part.split_once('='));
    let (_, seconds) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lifespan(now: Instant) -> Lifespan {
        Lifespan::new(&Arc::new(KeepAlive::new(now)), now)
    }

    fn announcing(field: &'static str) -> HeaderMap {
        let field = (
            HeaderName::from_static("keep-alive"),
            field.parse().unwrap(),
        );
        HeaderMap::from_iter([field])
    }

    fn upstream(idle_timeout: Option<Duration>) -> Upstream {
        Upstream {
            connect_timeout: SECOND,
            response_timeout: SECOND,
            body_timeout: SECOND,
            request_timeout: None,
            idle_timeout,
            max_idle: 1,
            tunnel_timeout: SECOND,
        }
    }

    #[test]
    fn what_a_target_says_counts_unless_it_was_seen_to_do_otherwise() {
        let now = Instant::now();
        let lifespan = lifespan(now);
        assert_eq!(lifespan.limit(), Some(4 * SECOND));
        lifespan.announced(&announcing("timeout=60, max=100"));
        assert_eq!(lifespan.limit(), Some(48 * SECOND));
        lifespan.adapt(&upstream(Some(30 * SECOND)));
        assert_eq!(lifespan.limit(), Some(30 * SECOND));
        lifespan.closed(10 * SECOND, now);
        assert_eq!(lifespan.limit(), Some(8 * SECOND));
        lifespan.announced(&announcing("max=5, TIMEOUT = 5"));
        assert_eq!(lifespan.limit(), Some(4 * SECOND));
        lifespan.announced(&announcing("timeout=0"));
        assert_eq!(lifespan.limit(), None, "it closes after each response");
        for nonsense in ["timeout=-1", "timeout", "timeout=5s", "", "=,=,"] {
            lifespan.announced(&announcing(nonsense));
            assert_eq!(lifespan.limit(), Some(8 * SECOND), "{nonsense}");
        }
        lifespan.announced(&announcing("timeout=18446744073709551615"));
        assert_eq!(lifespan.limit(), Some(8 * SECOND));
    }

    #[test]
    fn a_closing_sooner_than_connections_have_lasted_is_no_timeout() {
        let now = Instant::now();
        let lifespan = lifespan(now);
        lifespan.proved(3 * SECOND, now);
        lifespan.proved(SECOND, now + SECOND);
        lifespan.closed(2 * SECOND, now + 2 * SECOND);
        assert_eq!(
            lifespan.limit(),
            Some(4 * SECOND),
            "a target that went down"
        );
        lifespan.closed(2 * SECOND, now + PROOF + SECOND);
        assert_eq!(lifespan.limit(), Some(SECOND * 8 / 5), "a shorter timeout");
    }

    #[test]
    fn a_target_that_closes_after_each_response_keeps_none_until_it_is_forgotten() {
        let now = Instant::now();
        let lifespan = lifespan(now);
        lifespan.closed(SECOND / 1000, now);
        assert_eq!(lifespan.limit(), None);
        lifespan.forget(now + 601 * SECOND);
        assert_eq!(lifespan.limit(), Some(4 * SECOND));
    }
}

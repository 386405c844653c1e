//! How old an idle connection may get.
//!
//! A target that closes a connection just as a request is written on it loses that
//! request. Connections are therefore closed before: at 80 percent of the idle timeout that
//! the target announces (`Keep-Alive: timeout=5`) or was seen to have. Until either is known,
//! a timeout of five seconds is assumed, that of Node.js.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::message::{FieldName, Fields};
use crate::model::UpstreamLimits;
use crate::target::KeepAlive;

/// Age limit of connections to a target of unknown timeout: below the shortest
/// keep-alive among common servers, the five seconds of Node.js.
const DEFAULT_LIMIT: Duration = Duration::from_secs(4);

/// A target with a shorter timeout than this closes after each response, or nearly so: its
/// connections are not kept.
const MIN_LIMIT: Duration = Duration::from_millis(100);

/// How long the observation holds that a connection of some age still served.
const PROOF_LIFETIME: Duration = Duration::from_secs(10);

/// How old idle connections to one target may get, as one worker knows it.
#[derive(Debug)]
pub(super) struct Lifespan {
    /// What all workers have seen of the target.
    learned: Arc<KeepAlive>,
    /// From the `Keep-Alive` field of the connection opened last.
    announced: Cell<Option<Duration>>,
    /// The configured `idle_timeout`, which only shortens.
    configured: Cell<Option<Duration>>,
    proven: Cell<Proven>,
}

/// The longest age at which a connection still served.
#[derive(Clone, Copy, Debug)]
struct Proven {
    age: Duration,
    /// When the observation is too old.
    until: Instant,
}

impl Lifespan {
    pub(super) fn new(learned: &Arc<KeepAlive>, now: Instant) -> Self {
        Self {
            learned: Arc::clone(learned),
            announced: Cell::new(None),
            configured: Cell::new(None),
            proven: Cell::new(Proven {
                age: Duration::ZERO,
                until: now + PROOF_LIFETIME,
            }),
        }
    }

    /// Adopts what the group's configuration says now.
    pub(super) fn adapt(&self, policy: &UpstreamLimits) {
        self.configured.set(policy.idle_timeout);
    }

    /// The age beyond which a connection is not used; `None` if none is to be kept.
    pub(super) fn limit(&self) -> Option<Duration> {
        let configured = self.configured.get();
        let known = match (self.announced.get(), self.learned.retirement()) {
            (Some(announced), Some(learned)) => announced.min(learned),
            (Some(known), None) | (None, Some(known)) => known,
            (None, None) => return Some(configured.unwrap_or(DEFAULT_LIMIT)),
        };
        (known >= MIN_LIMIT).then(|| configured.map_or(known, |limit| limit.min(known)))
    }

    /// Learns from the head of the first response on a connection.
    pub(super) fn announced(&self, fields: &Fields) {
        self.announced
            .set(timeout(fields).map(KeepAlive::retirement_before));
    }

    /// Notes that a connection served after it had been idle for `age`.
    pub(super) fn proved(&self, age: Duration, now: Instant) {
        let proven = self.proven.get();
        if age >= proven.age || proven.is_outdated(now) {
            let until = now + PROOF_LIFETIME;
            self.proven.set(Proven { age, until });
        }
    }

    /// Notes that the target closed a connection after it had been idle for `age`.
    ///
    /// A target that closes sooner than others of its connections have lasted is shutting
    /// down, or has crashed: that says nothing about its timeout.
    pub(super) fn closed(&self, age: Duration, now: Instant) {
        let proven = self.proven.get();
        if age > proven.age || proven.is_outdated(now) {
            self.learned.closed(age, now);
        }
    }

    /// Forgets observations that are too old. To be called about once a second.
    pub(super) fn forget(&self, now: Instant) {
        self.learned.forget(now);
    }
}

impl Proven {
    fn is_outdated(self, now: Instant) -> bool {
        now > self.until
    }
}

/// The seconds in `Keep-Alive: timeout=5, max=100` (RFC 2068 section 19.7.1.1; RFC 9112 does
/// not define the field any more, and servers send it all the same).
fn timeout(fields: &Fields) -> Option<Duration> {
    let field = str::from_utf8(fields.get(FieldName::KeepAlive)?).ok()?;
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

    fn announcing(value: &str) -> Fields {
        let mut fields = Fields::new();
        fields.append("keep-alive", value.as_bytes()).unwrap();
        fields
    }

    fn upstream(idle_timeout: Option<Duration>) -> UpstreamLimits {
        UpstreamLimits {
            idle_timeout,
            ..UpstreamLimits::default()
        }
    }

    #[test]
    fn an_announced_timeout_counts_unless_a_shorter_one_was_seen() {
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
        lifespan.closed(2 * SECOND, now + PROOF_LIFETIME + SECOND);
        assert_eq!(lifespan.limit(), Some(SECOND * 8 / 5), "a shorter timeout");
    }

    #[test]
    fn no_connection_is_kept_to_a_target_that_closes_after_each_response() {
        let now = Instant::now();
        let lifespan = lifespan(now);
        lifespan.closed(SECOND / 1000, now);
        assert_eq!(lifespan.limit(), None);
        lifespan.forget(now + 601 * SECOND);
        assert_eq!(lifespan.limit(), Some(4 * SECOND));
    }
}

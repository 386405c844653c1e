//! Which requests are let in: the token of the admin listener, and the names of its host.
//!
//! Wrong tokens are counted by client: after too many within a minute none of its requests with a
//! token is looked at any more until the minute is over. They are logged once a minute.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::uri::Authority;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tracing::warn;

use super::host;
use super::operation::Access;
use super::problem::{Kind, RefusedRequest};
use crate::state::Snapshot;

/// Wrong tokens that a client may send in a [`WINDOW`].
const MAX_FAILURES: u32 = 20;

/// How long wrong tokens are counted together.
const WINDOW: Duration = Duration::from_secs(60);

/// Most clients whose wrong tokens are counted; all others count as one.
const MAX_CLIENTS: usize = 1024;

/// Why a request to read needs the token.
const FOREIGN_HOST: &str = "this listener answers to addresses and `localhost` only, so that no \
                            foreign page can read it through a name of its own (DNS rebinding); \
                            ask it by its address, or with `Authorization: Bearer` and the token \
                            of the configuration";

/// Counts wrong tokens by client.
#[derive(Debug, Default)]
pub(super) struct Guard {
    wrong: Mutex<WrongTokens>,
}

#[derive(Debug, Default)]
struct WrongTokens {
    /// The digest of the token that they were compared with. Another one begins anew.
    token: Digested,
    failures: HashMap<IpAddr, Failures>,
}

/// A token's digest.
type Digested = [u8; 32];

#[derive(Clone, Copy, Debug)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Guard {
    /// Refuses a request that may not do what it asks for.
    pub(super) fn admit(
        &self,
        access: Access,
        headers: &HeaderMap,
        authority: Option<&Authority>,
        client: IpAddr,
        snapshot: &Snapshot,
    ) -> Result<(), RefusedRequest> {
        match access {
            Access::Probe => Ok(()),
            Access::Read if host::is_own(headers, authority) => Ok(()),
            Access::Read => self.check_token(headers, client, snapshot, Kind::ForeignHost),
            Access::Write => self.check_token(headers, client, snapshot, Kind::WrongToken),
        }
    }

    /// Refuses a request without the token of the configuration.
    fn check_token(
        &self,
        headers: &HeaderMap,
        client: IpAddr,
        snapshot: &Snapshot,
        kind: Kind,
    ) -> Result<(), RefusedRequest> {
        let admin = snapshot.config.admin.as_ref();
        let Some(token) = admin.and_then(|admin| admin.token.as_ref()) else {
            return Err(without_token(kind));
        };
        let Some(given) = bearer(headers) else {
            return Err(missing(kind).asking_for_token());
        };
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.check(given, digest(&token.0), client, Instant::now())
    }
}

impl WrongTokens {
    fn check(
        &mut self,
        given: &str,
        token: Digested,
        client: IpAddr,
        now: Instant,
    ) -> Result<(), RefusedRequest> {
        if self.token != token {
            self.failures.clear();
            self.token = token;
        }
        if let Some(left) = self.locked(client, now) {
            return Err(too_many(left));
        }
        // In a time that reveals nothing about the token: neither how much of it is right, nor how
        // long it is.
        if digest(given).ct_eq(&token).into() {
            return Ok(());
        }
        self.count_failure(client, now);
        let detail = "this is not the token of the configuration";
        Err(Kind::WrongToken.because(detail).asking_for_token())
    }

    /// How long the tokens of a client are not looked at; `None` if they are.
    fn locked(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let known = self.failures.get(&client)?;
        let left = WINDOW.checked_sub(now.saturating_duration_since(known.since))?;
        (known.count >= MAX_FAILURES).then_some(left)
    }

    /// Counts a wrong token, and logs the first of a window, and how many there were in the one
    /// before.
    fn count_failure(&mut self, client: IpAddr, now: Instant) {
        let failures = &mut self.failures;
        let is_over = |known: &Failures| now.saturating_duration_since(known.since) >= WINDOW;
        let client = if failures.len() >= MAX_CLIENTS && !failures.contains_key(&client) {
            failures.retain(|_, known| !is_over(known));
            IpAddr::from([0, 0, 0, 0])
        } else {
            client
        };
        let fresh = Failures {
            since: now,
            count: 0,
        };
        let known = failures.entry(client).or_insert(fresh);
        if known.count == 0 || is_over(known) {
            let earlier = known.count;
            *known = fresh;
            warn!(
                %client, earlier,
                "request to the admin listener refused: wrong token; more of this client within a \
                 minute are not logged"
            );
        }
        known.count += 1;
    }
}

fn too_many(left: Duration) -> RefusedRequest {
    let seconds = left.as_secs() + 1;
    let detail = format!(
        "this client has sent {MAX_FAILURES} wrong tokens within a minute; its tokens are looked \
         at again in {seconds} s"
    );
    let refused = Kind::TooManyFailures.because(detail);
    refused.retry_after(seconds)
}

fn without_token(kind: Kind) -> RefusedRequest {
    let detail = match kind {
        Kind::ForeignHost => FOREIGN_HOST,
        _ => {
            "changes are possible once the configuration has a token: set `token` or `token_file` \
             in its `admin` table"
        }
    };
    Kind::NoToken.because(detail)
}

fn missing(kind: Kind) -> RefusedRequest {
    kind.because(match kind {
        Kind::ForeignHost => FOREIGN_HOST,
        _ => "this needs the token of the configuration: `Authorization: Bearer …`",
    })
}

/// The token of the request (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn digest(token: &str) -> Digested {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_with_many_wrong_tokens_waits_for_the_end_of_the_minute() {
        let mut guard = WrongTokens::default();
        let [one, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let now = Instant::now();
        for _ in 0..MAX_FAILURES {
            assert_eq!(guard.locked(one, now), None);
            guard.count_failure(one, now);
        }
        assert_eq!(guard.locked(one, now), Some(WINDOW));
        assert_eq!(guard.locked(other, now), None);
        let later = now + WINDOW + Duration::from_millis(1);
        assert_eq!(guard.locked(one, later), None);
        guard.count_failure(one, later);
        assert_eq!(guard.locked(one, later), None);
        for _ in 0..MAX_FAILURES {
            guard.count_failure(one, later);
        }
        let another = digest("another");
        assert!(guard.check("another", another, one, later).is_ok());
    }

    #[test]
    fn the_memory_of_wrong_tokens_is_bounded() {
        let mut guard = WrongTokens::default();
        for n in 0..3 * MAX_CLIENTS as u32 {
            guard.count_failure(IpAddr::from(n.to_be_bytes()), Instant::now());
        }
        assert_eq!(guard.failures.len(), MAX_CLIENTS);
    }
}

//! When a request that failed on one target is sent to another (RFC 9110 section 9.2.2).
//!
//! | the attempt                                | who is retried                        |
//! |--------------------------------------------|---------------------------------------|
//! | nothing was written                        | everyone                              |
//! | written, closed without a byte in return   | idempotent methods; others if they    |
//! |                                            | say that they can be repeated         |
//! | closed inside the head, or nonsense        | idempotent methods                    |
//! | no head in time                            | idempotent methods, if 504 is listed  |
//! | 502, 503 or 504 from the target            | idempotent methods, if it is listed   |
//!
//! A broken or senseless head is retried as well, because nothing of it went to the client
//! and an idempotent request may be repeated whatever became of it; but a target that got
//! as far as answering has executed the request, which rules out all others.

use http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::model::{Blame, Failure, Retry, Stage};
use crate::relay::Reached;

/// How one request may be retried, and how often it still may.
#[derive(Debug)]
pub(super) struct Retries<'a> {
    policy: &'a Retry,
    safety: Safety,
    /// Attempts left in which the request may be executed.
    left: u32,
}

/// After what a request can be repeated without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Safety {
    /// Only if it was never written.
    Unwritten,
    /// Unless its target has answered: whoever sent it says that repeating it does no harm
    /// (draft-ietf-httpapi-idempotency-key-header), or the operator does.
    Unanswered,
    /// Whatever happened: the method is idempotent.
    Always,
}

/// What is to be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Another target, whatever that costs: this one did no work.
    Free,
    /// Another target or, if there is none, this one on a new connection: what failed was
    /// the connection. So few can fail that way that no budget is needed: one for each
    /// request that was served before.
    Reconnect,
    /// Another target, if the budget allows.
    Budgeted,
}

impl<'a> Retries<'a> {
    pub(super) fn new(policy: &'a Retry, method: &Method, fields: &HeaderMap) -> Self {
        Self {
            policy,
            safety: Safety::of(policy, method, fields),
            left: policy.attempts,
        }
    }

    /// Whether the request may be written once more after it is written now.
    pub(super) fn may_rewrite(&self) -> bool {
        self.left > 1 && self.safety != Safety::Unwritten
    }

    /// What to do after an attempt without a response.
    pub(super) fn after_loss(&mut self, failure: Failure, reached: Reached) -> Option<Again> {
        if failure.blame() != Blame::Target || failure.is_out_of_time() {
            return None;
        }
        if reached == Reached::Nothing {
            return Some(Again::Free);
        }
        self.left = self.left.saturating_sub(1);
        let (needed, again) = match (failure, reached) {
            (Failure::TargetTimeout(Stage::ResponseHead), _) if !self.lists(504) => return None,
            (Failure::TargetClosed, Reached::Silence { reused: true }) => {
                (Safety::Unanswered, Again::Reconnect)
            }
            (Failure::TargetClosed, Reached::Silence { reused: false }) => {
                (Safety::Unanswered, Again::Budgeted)
            }
            _ => (Safety::Always, Again::Budgeted),
        };
        self.allows(needed).then_some(again)
    }

    /// What to do after a response with this status.
    pub(super) fn after_response(&mut self, status: StatusCode) -> Option<Again> {
        self.left = self.left.saturating_sub(1);
        let wanted = self.lists(status.as_u16()) && self.allows(Safety::Always);
        wanted.then_some(Again::Budgeted)
    }

    fn allows(&self, needed: Safety) -> bool {
        let safe = match needed {
            Safety::Unwritten => true,
            Safety::Unanswered => self.safety != Safety::Unwritten,
            Safety::Always => self.safety == Safety::Always,
        };
        safe && self.left > 0
    }

    fn lists(&self, status: u16) -> bool {
        self.policy.statuses.contains(&status)
    }
}

impl Safety {
    fn of(policy: &Retry, method: &Method, fields: &HeaderMap) -> Self {
        const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
        if method.is_idempotent() {
            Self::Always
        } else if policy.non_idempotent || fields.contains_key(IDEMPOTENCY_KEY) {
            Self::Unanswered
        } else {
            Self::Unwritten
        }
    }
}

/// What a retry after this status is counted and logged as.
pub(super) fn reason(status: StatusCode) -> &'static str {
    match status.as_u16() {
        502 => "status_502",
        503 => "status_503",
        504 => "status_504",
        _ => "status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Reached = Reached::Silence { reused: false };
    const STALE: Reached = Reached::Silence { reused: true };

    fn policy(attempts: u32, statuses: &[u16]) -> Retry {
        Retry {
            attempts,
            statuses: statuses.to_vec(),
            non_idempotent: false,
            max_body: 0,
            budget: 20,
            min_concurrency: 3,
        }
    }

    fn after(policy: &Retry, method: &Method, failure: Failure, reached: Reached) -> Option<Again> {
        Retries::new(policy, method, &HeaderMap::new()).after_loss(failure, reached)
    }

    #[test]
    fn what_was_never_written_is_always_sent_again() {
        let never = policy(1, &[]);
        for failure in [Failure::ConnectError, Failure::TargetClosed] {
            let again = after(&never, &Method::POST, failure, Reached::Nothing);
            assert_eq!(again, Some(Again::Free));
        }
    }

    #[test]
    fn nobody_is_retried_for_the_clients_fault_or_after_the_deadline() {
        let policy = policy(8, &[502, 503, 504]);
        for failure in [
            Failure::RequestBodyBroken,
            Failure::RequestBodyTimeout,
            Failure::Internal,
            Failure::OutOfResources,
            Failure::TargetTimeout(Stage::Request),
        ] {
            for reached in [Reached::Nothing, SILENCE, STALE, Reached::Response] {
                assert_eq!(after(&policy, &Method::GET, failure, reached), None);
            }
        }
    }

    #[test]
    fn silence_is_retried_by_method_and_an_answer_is_more_than_silence() {
        let policy = policy(3, &[]);
        let closed = Failure::TargetClosed;
        let cases = [
            (Method::GET, SILENCE, Some(Again::Budgeted)),
            (Method::GET, STALE, Some(Again::Reconnect)),
            (Method::GET, Reached::Response, Some(Again::Budgeted)),
            (Method::POST, SILENCE, None),
            (Method::POST, STALE, None),
            (Method::POST, Reached::Response, None),
        ];
        for (method, reached, expected) in cases {
            let found = after(&policy, &method, closed, reached);
            assert_eq!(found, expected, "{method} {reached:?}");
        }
    }

    #[test]
    fn attempts_are_those_that_were_written() {
        let policy = policy(3, &[503]);
        let mut retries = Retries::new(&policy, &Method::GET, &HeaderMap::new());
        for _ in 0..5 {
            let again = retries.after_loss(Failure::ConnectError, Reached::Nothing);
            assert_eq!(again, Some(Again::Free));
        }
        let busy = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(retries.after_response(busy), Some(Again::Budgeted));
        assert!(retries.may_rewrite());
        assert!(retries.after_loss(Failure::TargetClosed, SILENCE).is_some());
        assert!(!retries.may_rewrite(), "the third is the last");
        assert_eq!(retries.after_response(busy), None);
    }
}

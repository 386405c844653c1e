//! When a request that failed on one target is sent to another (RFC 9110 section 9.2.2).
//!
//! | the attempt                                | which requests are retried            |
//! |--------------------------------------------|---------------------------------------|
//! | nothing was written                        | all                                   |
//! | refused by GOAWAY or `REFUSED_STREAM`      | all                                   |
//! | written, closed without a byte in return   | idempotent methods; others with an    |
//! |                                            | `Idempotency-Key`, or if configured   |
//! | closed inside the head, or malformed       | idempotent methods                    |
//! | no head in time                            | idempotent methods, if 504 is listed  |
//! | 502, 503 or 504 from the target            | idempotent methods, if it is listed   |
//! | UNAVAILABLE of gRPC, without a message     | all, if 503 is listed                 |
//!
//! A broken or malformed head is retried as well, because nothing of it went to the client
//! and an idempotent request may be repeated whatever became of it; but a target that has
//! begun to answer has executed the request, which rules out all other methods.

use super::attempt::Progress;
use crate::message::RequestHead;
use crate::model::{self, Blame, Failure, Stage};

/// Whether one request may be retried, and how often it still may.
#[derive(Debug)]
pub(super) struct Retries<'a> {
    policy: &'a model::Retry,
    safety: Safety,
    /// Attempts left in which the request may be executed.
    left: u32,
    /// Attempts in which a target has refused it.
    refusals: u32,
}

/// How often a request that was refused is sent again.
const MAX_REFUSALS: u32 = 4;

/// When a request can be repeated without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Safety {
    /// Only if it was never written.
    Unwritten,
    /// Unless its target has begun to answer: the client declares that repeating it does no
    /// harm (draft-ietf-httpapi-idempotency-key-header), or the configuration does.
    Unanswered,
    /// Always: the method is idempotent.
    Always,
}

/// How a failed attempt is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// On another target, without a budget: the failed attempt cost its target no work.
    Free,
    /// On another target or, if there is none, on the same one over a new connection: only the
    /// connection failed. No budget is needed, because at most one request per connection that
    /// served before can fail in this way.
    Reconnect,
    /// On another target, if the retry budget permits.
    Budgeted,
}

impl<'a> Retries<'a> {
    pub(super) fn new(policy: &'a model::Retry, head: &RequestHead) -> Self {
        Self {
            policy,
            safety: Safety::of(policy, head),
            left: policy.attempts,
            refusals: 0,
        }
    }

    /// Whether the request may be written once more after the attempt that begins now.
    pub(super) fn may_rewrite(&self) -> bool {
        self.left > 1 && self.safety != Safety::Unwritten
    }

    /// How to retry after an attempt without a response; `None` if the error stands.
    pub(super) fn after_error(&mut self, failure: Failure, progress: Progress) -> Option<Retry> {
        if failure.blame() != Blame::Target || failure.is_out_of_time() {
            return None;
        }
        match progress {
            Progress::Unwritten => return Some(Retry::Free),
            Progress::Refused => return self.after_refusal(),
            Progress::NoResponse { .. } | Progress::ResponseBegun => {}
        }
        self.left = self.left.saturating_sub(1);
        let (needed, retry) = match (failure, progress) {
            (Failure::TargetTimeout(Stage::ResponseHead), _) if !self.lists(504) => return None,
            (Failure::TargetClosed, Progress::NoResponse { reused: true }) => {
                (Safety::Unanswered, Retry::Reconnect)
            }
            (Failure::TargetClosed, Progress::NoResponse { reused: false }) => {
                (Safety::Unanswered, Retry::Budgeted)
            }
            _ => (Safety::Always, Retry::Budgeted),
        };
        self.allows(needed).then_some(retry)
    }

    /// Not executed, and so without a budget; but a target that refuses everything must not be asked
    /// for ever.
    fn after_refusal(&mut self) -> Option<Retry> {
        self.refusals += 1;
        (self.refusals <= MAX_REFUSALS).then_some(Retry::Reconnect)
    }

    /// How to retry after a response with this status; `None` if the response stands. `is_call` says
    /// that it stands for the status of a call of gRPC that ended with its head.
    pub(super) fn after_response(&mut self, status: u16, is_call: bool) -> Option<Retry> {
        self.left = self.left.saturating_sub(1);
        // UNAVAILABLE: "most likely a transient condition, which can be corrected by retrying".
        let needed = if is_call && status == 503 {
            Safety::Unwritten
        } else {
            Safety::Always
        };
        let is_retried = self.lists(status) && self.allows(needed);
        is_retried.then_some(Retry::Budgeted)
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
    fn of(policy: &model::Retry, head: &RequestHead) -> Self {
        if head.method().is_idempotent() {
            Self::Always
        } else if policy.non_idempotent || head.fields.get_by_name("idempotency-key").is_some() {
            Self::Unanswered
        } else {
            Self::Unwritten
        }
    }
}

/// The name under which a retry after this status is counted and logged.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        502 => "status_502",
        503 => "status_503",
        504 => "status_504",
        _ => "status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: Progress = Progress::NoResponse { reused: false };
    const STALE: Progress = Progress::NoResponse { reused: true };

    fn policy(attempts: u32, statuses: &[u16]) -> model::Retry {
        model::Retry {
            attempts,
            statuses: statuses.to_vec(),
            non_idempotent: false,
            max_body: 0,
            budget: 20,
            min_concurrency: 3,
        }
    }

    fn head(method: &str) -> RequestHead {
        let mut head = RequestHead::new();
        head.set_method(method.as_bytes()).unwrap();
        head
    }

    fn after(
        policy: &model::Retry,
        method: &str,
        failure: Failure,
        progress: Progress,
    ) -> Option<Retry> {
        Retries::new(policy, &head(method)).after_error(failure, progress)
    }

    #[test]
    fn a_request_that_was_never_written_is_always_sent_again() {
        let never = policy(1, &[]);
        for failure in [Failure::ConnectError, Failure::TargetClosed] {
            let retry = after(&never, "POST", failure, Progress::Unwritten);
            assert_eq!(retry, Some(Retry::Free));
        }
    }

    #[test]
    fn a_fault_of_the_client_or_a_passed_deadline_is_not_retried() {
        let policy = policy(8, &[502, 503, 504]);
        for failure in [
            Failure::RequestBodyBroken,
            Failure::RequestBodyTimeout,
            Failure::Internal,
            Failure::OutOfResources,
            Failure::TargetTimeout(Stage::Request),
        ] {
            for progress in [Progress::Unwritten, SILENT, STALE, Progress::ResponseBegun] {
                assert_eq!(after(&policy, "GET", failure, progress), None);
            }
        }
    }

    #[test]
    fn an_unanswered_request_is_retried_by_method() {
        let policy = policy(3, &[]);
        let closed = Failure::TargetClosed;
        let cases = [
            ("GET", SILENT, Some(Retry::Budgeted)),
            ("GET", STALE, Some(Retry::Reconnect)),
            ("GET", Progress::ResponseBegun, Some(Retry::Budgeted)),
            ("POST", SILENT, None),
            ("POST", STALE, None),
            ("POST", Progress::ResponseBegun, None),
        ];
        for (method, progress, expected) in cases {
            let found = after(&policy, method, closed, progress);
            assert_eq!(found, expected, "{method} {progress:?}");
        }
    }

    #[test]
    fn only_attempts_that_were_written_count() {
        let policy = policy(3, &[503]);
        let mut retries = Retries::new(&policy, &head("GET"));
        for _ in 0..5 {
            let retry = retries.after_error(Failure::ConnectError, Progress::Unwritten);
            assert_eq!(retry, Some(Retry::Free));
        }
        let busy = 503;
        assert_eq!(retries.after_response(busy, false), Some(Retry::Budgeted));
        assert!(retries.may_rewrite());
        assert!(retries.after_error(Failure::TargetClosed, SILENT).is_some());
        assert!(!retries.may_rewrite(), "the third is the last");
        assert_eq!(retries.after_response(busy, false), None);
    }
}

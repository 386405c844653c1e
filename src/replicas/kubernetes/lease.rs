//! The right to scale: a Lease object, taken and renewed as Kubernetes' own controllers do it.
//!
//! <https://kubernetes.io/docs/concepts/architecture/leases/>
//!
//! Two instances that write at the same time differ in the resource version that they have read,
//! and the server refuses one.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use tokio::time::Instant;

use crate::replicas::scaler_lease::{RENEW_INTERVAL, ScalerLease};

/// How long a lease lasts without a renewal, as with Kubernetes' own controllers.
const TERM: Duration = Duration::from_secs(15);

const _: () = assert!(4 * RENEW_INTERVAL.as_secs() < TERM.as_secs());

/// Longest part of a group's name in the name of its lease. A name may have 253 characters;
/// shorter ones are easier to read.
const LONGEST_NAME: usize = 100;

/// What to do about the lease.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// There is none: create this.
    Create(Box<Lease>),
    /// This instance holds it, or it is free: replace it by this.
    Replace(Box<Lease>),
    /// Another instance holds it.
    Follow,
}

/// What to do about the lease that was just read; `None` if there is none.
pub(super) fn step(
    scaler: &mut ScalerLease<Lease>,
    name: &str,
    lease: Option<Lease>,
    now: Instant,
) -> Step {
    let Some(lease) = lease else {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        return Step::Create(Box::new(held_by(scaler.identity(), metadata, None)));
    };
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
    let term = Duration::from_secs(seconds.unwrap_or_default().try_into().unwrap_or(0));
    if scaler.may_take(lease.clone(), holder, term, now) {
        let renewed = held_by(scaler.identity(), lease.metadata, lease.spec);
        Step::Replace(Box::new(renewed))
    } else {
        scaler.lose();
        Step::Follow
    }
}

/// The lease as the instance with this identity writes it. Keeps fields that others wrote, and
/// the resource version.
fn held_by(identity: &str, metadata: ObjectMeta, spec: Option<LeaseSpec>) -> Lease {
    let spec = spec.unwrap_or_default();
    let is_renewal = spec.holder_identity.as_deref() == Some(identity);
    let now = MicroTime(Timestamp::now());
    let transitions = spec.lease_transitions.unwrap_or(0);
    Lease {
        metadata,
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: i32::try_from(TERM.as_secs()).ok(),
            acquire_time: if is_renewal {
                spec.acquire_time
            } else {
                Some(now.clone())
            },
            renew_time: Some(now),
            lease_transitions: Some(if is_renewal {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..spec
        }),
    }
}

/// The name of a group's lease: that of the group, where Kubernetes allows it in names, and else
/// with a hash that keeps two groups apart.
pub(super) fn name(group: &str) -> String {
    let is_letter_or_digit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_allowed = group.chars().all(|c| is_letter_or_digit(c) || c == '-')
        && (1..=LONGEST_NAME).contains(&group.len())
        && !group.ends_with('-');
    if is_allowed {
        return format!("weir-{group}");
    }
    let similar: String = group
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if is_letter_or_digit(c) { c } else { '-' })
        .take(LONGEST_NAME)
        .collect();
    let hash = xxhash_rust::xxh3::xxh3_64(group.as_bytes());
    format!("weir-{similar}-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaler(identity: &str) -> ScalerLease<Lease> {
        ScalerLease::new(identity.to_owned())
    }

    fn replaced(step: Step) -> Lease {
        match step {
            Step::Create(lease) | Step::Replace(lease) => *lease,
            Step::Follow => panic!("another instance holds it"),
        }
    }

    fn holder(lease: &Lease) -> &str {
        let spec = lease.spec.as_ref().unwrap();
        spec.holder_identity.as_deref().unwrap()
    }

    #[test]
    fn a_lease_changes_hands_only_when_it_stays_unchanged_for_its_term() {
        let start = Instant::now();
        let mut first = scaler("first");
        let mut second = scaler("second");
        let held = replaced(step(&mut first, "weir-todo", None, start));
        first.hold(start);
        assert_eq!(holder(&held), "first");
        assert_eq!(held.metadata.name.as_deref(), Some("weir-todo"));

        // What counts is when the other instance reads it first, not the times in it.
        let next = step(
            &mut second,
            "weir-todo",
            Some(held.clone()),
            start + 10 * TERM,
        );
        assert_eq!(next, Step::Follow);
        let almost = start + 10 * TERM + TERM.mul_f64(0.99);
        let next = step(&mut second, "weir-todo", Some(held.clone()), almost);
        assert_eq!(next, Step::Follow);

        // A renewal starts the time again.
        let renewed = replaced(step(&mut first, "weir-todo", Some(held.clone()), almost));
        let next = step(
            &mut second,
            "weir-todo",
            Some(renewed.clone()),
            start + 11 * TERM,
        );
        assert_eq!(next, Step::Follow);
        let over = start + 12 * TERM;
        let taken = replaced(step(&mut second, "weir-todo", Some(renewed), over));
        assert_eq!(holder(&taken), "second");
        let spec = taken.spec.clone().unwrap();
        assert_eq!(spec.lease_transitions, Some(2));
        assert_eq!(
            step(&mut first, "weir-todo", Some(taken), over),
            Step::Follow
        );
        assert!(
            !first.is_fresh(start),
            "an instance that has lost the lease has to ask"
        );
    }

    #[test]
    fn a_renewal_keeps_the_time_of_acquisition_and_what_others_wrote() {
        let start = Instant::now();
        let mut own = scaler("me");
        let mut lease = replaced(step(&mut own, "weir-a", None, start));
        lease.metadata.resource_version = Some("7".to_owned());
        lease.metadata.labels = Some([("team".to_owned(), "shop".to_owned())].into());
        let renewed = replaced(step(&mut own, "weir-a", Some(lease.clone()), start));
        assert_eq!(renewed.metadata, lease.metadata);
        let (before, after) = (lease.spec.unwrap(), renewed.spec.unwrap());
        assert_eq!(after.acquire_time, before.acquire_time);
        assert_eq!(after.lease_transitions, before.lease_transitions);
        assert!(after.renew_time >= before.renew_time);
    }

    #[test]
    fn a_lease_without_holder_is_free_at_once() {
        let now = Instant::now();
        let mut own = scaler("me");
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1000),
            ..LeaseSpec::default()
        };
        let released = Lease {
            spec: Some(spec),
            ..Lease::default()
        };
        assert_eq!(
            holder(&replaced(step(&mut own, "a", Some(released), now))),
            "me"
        );
        let empty = Lease::default();
        assert_eq!(
            holder(&replaced(step(&mut own, "a", Some(empty), now))),
            "me"
        );
    }

    #[test]
    fn the_name_of_a_lease_is_valid_and_differs_between_groups() {
        assert_eq!(name("todo-2"), "weir-todo-2");
        let odd = [
            "To_do",
            "to_do",
            "to-do-",
            "tö",
            "",
            "a.b",
            &"x".repeat(300),
        ];
        let mut names: Vec<String> = odd.iter().map(|group| name(group)).collect();
        for name in &names {
            let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.chars().all(is_allowed) && name.len() <= 253, "{name}");
            assert!(!name.ends_with('-'), "{name}");
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), odd.len());
    }
}

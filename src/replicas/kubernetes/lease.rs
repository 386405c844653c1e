//! Which of several Weirs scales: a Lease, taken and renewed as Kubernetes' own controllers
//! do it.
//!
//! <https://kubernetes.io/docs/concepts/architecture/leases/>
//!
//! Whether somebody else's lease has ended is judged by how long *this* Weir has seen it
//! unchanged, never by the times written in it: clocks of two machines may differ. Two that
//! write at once differ in the resource version they read, and the server refuses one.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

/// How long a lease holds without being renewed, as Kubernetes' own controllers have it.
const DURATION: Duration = Duration::from_secs(15);

/// Between two renewals; leaves room for a few that fail.
const RENEW: Duration = Duration::from_secs(3);

/// This Weir's view of one lease.
#[derive(Debug)]
pub(super) struct Claim {
    /// Who this Weir is, among all that may want the lease.
    identity: String,
    /// The lease as read last, and since when it has been like that.
    seen: Option<(Lease, Instant)>,
    /// When this Weir wrote it last and has held it since.
    renewed: Option<Instant>,
}

/// What to do about the lease.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// There is none: create this.
    Create(Box<Lease>),
    /// Ours, or free: replace it by this.
    Replace(Box<Lease>),
    /// Somebody else's.
    Follow,
}

impl Claim {
    pub(super) fn new(identity: String) -> Self {
        Self {
            identity,
            seen: None,
            renewed: None,
        }
    }

    /// Held, and renewed so lately that nobody need be asked.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        let renewed = self.renewed;
        renewed.is_some_and(|renewed| now.saturating_duration_since(renewed) < RENEW)
    }

    /// What to do about the lease that was just read; `None` if there is none.
    pub(super) fn step(&mut self, name: &str, lease: Option<Lease>, now: Instant) -> Step {
        let Some(lease) = lease else {
            let metadata = ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            };
            return Step::Create(Box::new(self.claimed(metadata, None)));
        };
        let since = match &self.seen {
            Some((seen, since)) if *seen == lease => *since,
            Some(_) | None => now,
        };
        self.seen = Some((lease.clone(), since));
        if self.is_free(&lease, since, now) {
            Step::Replace(Box::new(self.claimed(lease.metadata, lease.spec)))
        } else {
            self.renewed = None;
            Step::Follow
        }
    }

    /// The server took what [`Claim::step`] said.
    pub(super) fn taken(&mut self, now: Instant) {
        self.renewed = Some(now);
    }

    /// Somebody else was faster.
    pub(super) fn lost(&mut self) {
        self.renewed = None;
    }

    fn is_free(&self, lease: &Lease, since: Instant, now: Instant) -> bool {
        let Some(spec) = &lease.spec else {
            return true;
        };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return true;
        }
        let seconds = spec.lease_duration_seconds.unwrap_or_default();
        let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        now.saturating_duration_since(since) >= duration
    }

    /// Keeps what others wrote to it, and its resource version.
    fn claimed(&self, metadata: ObjectMeta, spec: Option<LeaseSpec>) -> Lease {
        let spec = spec.unwrap_or_default();
        let is_renewal = spec.holder_identity.as_ref() == Some(&self.identity);
        let now = MicroTime(Timestamp::now());
        let transitions = spec.lease_transitions.unwrap_or(0);
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
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
}

/// The lease of a group: its name as far as Kubernetes allows it in names, and else with a
/// hash that keeps two groups apart.
pub(super) fn name(group: &str) -> String {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_legal = group.chars().all(|c| legal(c) || c == '-')
        && (1..=LONGEST).contains(&group.len())
        && !group.ends_with('-');
    if is_legal {
        return format!("weir-{group}");
    }
    let lower = group.chars().map(|c| c.to_ascii_lowercase());
    let cut: String = lower
        .map(|c| if legal(c) { c } else { '-' })
        .take(LONGEST)
        .collect();
    let hash = xxhash_rust::xxh3::xxh3_64(group.as_bytes());
    format!("weir-{cut}-{hash:016x}")
}

/// Names may have 253 characters; nobody wants to read so many.
const LONGEST: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(step: Step) -> Lease {
        match step {
            Step::Create(lease) | Step::Replace(lease) => *lease,
            Step::Follow => panic!("somebody else holds it"),
        }
    }

    fn holder(lease: &Lease) -> &str {
        let spec = lease.spec.as_ref().unwrap();
        spec.holder_identity.as_deref().unwrap()
    }

    #[test]
    fn a_lease_changes_hands_only_when_it_has_stood_still_for_its_duration() {
        let start = Instant::now();
        let mut first = Claim::new("first".to_owned());
        let mut second = Claim::new("second".to_owned());
        let held = replaced(first.step("weir-todo", None, start));
        first.taken(start);
        assert_eq!(holder(&held), "first");
        assert_eq!(held.metadata.name.as_deref(), Some("weir-todo"));

        // The first time that the other one sees it counts, not what it says.
        let step = second.step("weir-todo", Some(held.clone()), start + 10 * DURATION);
        assert_eq!(step, Step::Follow);
        let almost = start + 10 * DURATION + DURATION.mul_f64(0.99);
        let step = second.step("weir-todo", Some(held.clone()), almost);
        assert_eq!(step, Step::Follow);

        // A renewal starts the time again.
        let renewed = replaced(first.step("weir-todo", Some(held.clone()), almost));
        let step = second.step("weir-todo", Some(renewed.clone()), start + 11 * DURATION);
        assert_eq!(step, Step::Follow);
        let over = start + 12 * DURATION;
        let taken = replaced(second.step("weir-todo", Some(renewed), over));
        assert_eq!(holder(&taken), "second");
        let spec = taken.spec.clone().unwrap();
        assert_eq!(spec.lease_transitions, Some(2));
        assert_eq!(first.step("weir-todo", Some(taken), over), Step::Follow);
        assert!(!first.is_fresh(start), "whoever has lost it has to ask");
    }

    #[test]
    fn a_renewal_keeps_the_time_of_acquisition_and_what_others_wrote() {
        let start = Instant::now();
        let mut claim = Claim::new("me".to_owned());
        let mut lease = replaced(claim.step("weir-a", None, start));
        lease.metadata.resource_version = Some("7".to_owned());
        lease.metadata.labels = Some([("team".to_owned(), "shop".to_owned())].into());
        let renewed = replaced(claim.step("weir-a", Some(lease.clone()), start));
        assert_eq!(renewed.metadata, lease.metadata);
        let (before, after) = (lease.spec.unwrap(), renewed.spec.unwrap());
        assert_eq!(after.acquire_time, before.acquire_time);
        assert_eq!(after.lease_transitions, before.lease_transitions);
        assert!(after.renew_time >= before.renew_time);
    }

    #[test]
    fn a_lease_that_was_given_back_is_free_at_once() {
        let now = Instant::now();
        let mut claim = Claim::new("me".to_owned());
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
            holder(&replaced(claim.step("a", Some(released), now))),
            "me"
        );
        let empty = Lease::default();
        assert_eq!(holder(&replaced(claim.step("a", Some(empty), now))), "me");
    }

    #[test]
    fn a_fresh_lease_asks_nobody_until_it_is_time_to_renew() {
        let start = Instant::now();
        let mut claim = Claim::new("me".to_owned());
        assert!(!claim.is_fresh(start));
        claim.taken(start);
        assert!(claim.is_fresh(start + RENEW / 2));
        assert!(!claim.is_fresh(start + RENEW));
        assert!(RENEW * 4 < DURATION, "a few renewals may fail");
        claim.taken(start);
        claim.lost();
        assert!(!claim.is_fresh(start));
    }

    #[test]
    fn the_name_of_a_lease_is_legal_and_differs_between_groups() {
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
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.chars().all(legal) && name.len() <= 253, "{name}");
            assert!(!name.ends_with('-'), "{name}");
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), odd.len());
    }
}

//! The right to scale a service: the tag of the service names the instance that has it.
//!
//! ECS cannot compare and swap a tag, so an instance writes its identity, reads the tag back
//! after a random pause that is longer than a write takes, and holds the lease if the tag still
//! names it. Two that write at the same time both read the later write. The holder writes a
//! later expiry while more than half of the term is left; after that it has to take the lease
//! anew. The expiry is a time of the machines' clocks, which must agree within a few seconds, as
//! signed requests need anyway. Should two instances hold the lease for a moment, both set the
//! count that follows from the same load.

use std::time::{Duration, SystemTime};

/// The key of the tag.
pub(super) const KEY: &str = "weir:scaler";

/// How long a lease lasts without a renewal.
pub(super) const TERM: Duration = Duration::from_secs(60);

/// The holder renews the lease when less than this is left.
const RENEW_BELOW: Duration = Duration::from_secs(45);

/// The holder has to take the lease anew when less than this is left.
const RETAKE_BELOW: Duration = Duration::from_secs(30);

/// The value of the tag: `HOLDER/SECONDS`, with the expiry in seconds since 1970. Tags may hold
/// few other characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    holder: String,
    expires: SystemTime,
}

/// What to do about the tag as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This instance holds it for long enough.
    Hold,
    /// This instance holds it: write it again.
    Renew,
    /// It is free: write it, and read it back after a pause.
    Take,
    /// Another instance holds it.
    Follow,
}

impl Tag {
    /// A lease that begins now.
    pub(super) fn new(holder: &str, now: SystemTime) -> Self {
        Self {
            holder: holder.to_owned(),
            expires: now + TERM,
        }
    }

    /// Returns `None` for a value that Weir has not written.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let (holder, seconds) = value.rsplit_once('/')?;
        let since_1970 = Duration::from_secs(seconds.parse().ok()?);
        Some(Self {
            holder: holder.to_owned(),
            expires: SystemTime::UNIX_EPOCH.checked_add(since_1970)?,
        })
    }

    pub(super) fn value(&self) -> String {
        let since_1970 = self.expires.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since_1970.unwrap_or_default().as_secs();
        format!("{}/{seconds}", self.holder)
    }

    pub(super) fn is_held_by(&self, holder: &str) -> bool {
        self.holder == holder
    }
}

/// What the instance with this identity does about the tag.
pub(super) fn step(tag: Option<&Tag>, identity: &str, now: SystemTime) -> Step {
    let Some(tag) = tag else {
        return Step::Take;
    };
    let left = tag.expires.duration_since(now).unwrap_or_default();
    match tag.is_held_by(identity) {
        true if left > RENEW_BELOW => Step::Hold,
        true if left > RETAKE_BELOW => Step::Renew,
        true => Step::Take,
        // An expiry in the far future was written by a machine with a wrong clock.
        false if left.is_zero() || left > 10 * TERM => Step::Take,
        false => Step::Follow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_held_renewed_lost_and_taken() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let tag = Tag::new("a_1_ff", start);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(step(None, "b", start), Step::Take);
        assert_eq!(step(Some(&tag), "a_1_ff", after(14)), Step::Hold);
        assert_eq!(step(Some(&tag), "a_1_ff", after(15)), Step::Renew);
        assert_eq!(step(Some(&tag), "a_1_ff", after(29)), Step::Renew);
        assert_eq!(step(Some(&tag), "a_1_ff", after(30)), Step::Take);
        assert_eq!(step(Some(&tag), "b", after(59)), Step::Follow);
        assert_eq!(step(Some(&tag), "b", after(60)), Step::Take);
        assert_eq!(step(Some(&tag), "b", start - 20 * TERM), Step::Take);
    }

    #[test]
    fn a_tag_reads_as_it_was_written_and_other_values_are_none() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let tag = Tag::new("ip-10-0-0-1.ec2.internal_1_00ff", start);
        assert_eq!(tag.value(), "ip-10-0-0-1.ec2.internal_1_00ff/1800000060");
        assert_eq!(Tag::parse(&tag.value()), Some(tag));
        for odd in ["", "a", "a/", "a/x", "a/-1", "a/18446744073709551616"] {
            assert_eq!(Tag::parse(odd), None, "{odd:?}");
        }
        // The largest number of seconds must not panic.
        let _ = Tag::parse("a/18446744073709551615");
    }

    #[test]
    fn a_tag_has_only_characters_that_tags_may_have() {
        let value = Tag::new(&crate::replicas::identity::identity(), SystemTime::now()).value();
        let legal = |c: char| c.is_ascii_alphanumeric() || " +-=._:/@".contains(c);
        assert!(value.chars().all(legal) && value.len() <= 256, "{value}");
    }
}

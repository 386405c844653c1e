//! Which of several Weirs scales: whoever stands in a tag of the service.
//!
//! ECS cannot compare and swap a tag, so this is the rule: write your name, read it back after
//! a random pause that is longer than a write takes, and whoever stands there then has it. Two
//! that write at once both read the later one. Whoever has it writes a later expiry while the
//! lease has more than half of its time left, and has to start from the beginning after that.
//! Expiry is a time of the machines' clocks, so these must agree within a few seconds, as
//! signed requests need anyway. Should two believe in it for a moment, both set the count that
//! the same load gives.

use std::time::{Duration, SystemTime};

/// The key of the tag.
pub(super) const KEY: &str = "weir:scaler";

/// How long a lease holds without being renewed.
pub(super) const DURATION: Duration = Duration::from_secs(60);

/// Left of it when it is renewed.
const RENEW: Duration = Duration::from_secs(45);

/// Left of it when it is as good as lost.
const LATE: Duration = Duration::from_secs(30);

/// What stands in the tag: `HOLDER/SECONDS`, the second since 1970 in which it expires. Tags
/// may not hold many other characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    holder: String,
    expires: SystemTime,
}

/// What to do about the tag as it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is ours for long enough.
    Hold,
    /// It is ours: write it again.
    Renew,
    /// It is free: write it, and read it back after a while.
    Take,
    /// Somebody else's.
    Follow,
}

impl Tag {
    /// Our name in it from now on.
    pub(super) fn of(holder: &str, now: SystemTime) -> Self {
        Self {
            holder: holder.to_owned(),
            expires: now + DURATION,
        }
    }

    /// `None` for what Weir has not written.
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

    pub(super) fn is_of(&self, holder: &str) -> bool {
        self.holder == holder
    }
}

/// What `me` does about the tag.
pub(super) fn step(tag: Option<&Tag>, me: &str, now: SystemTime) -> Step {
    let Some(tag) = tag else {
        return Step::Take;
    };
    let left = tag.expires.duration_since(now).unwrap_or_default();
    match tag.is_of(me) {
        true if left > RENEW => Step::Hold,
        true if left > LATE => Step::Renew,
        true => Step::Take,
        // One from the far future was written by a clock that is wrong.
        false if left.is_zero() || left > 10 * DURATION => Step::Take,
        false => Step::Follow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_held_renewed_lost_and_taken() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let tag = Tag::of("a_1_ff", start);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(step(None, "b", start), Step::Take);
        assert_eq!(step(Some(&tag), "a_1_ff", after(14)), Step::Hold);
        assert_eq!(step(Some(&tag), "a_1_ff", after(15)), Step::Renew);
        assert_eq!(step(Some(&tag), "a_1_ff", after(29)), Step::Renew);
        assert_eq!(step(Some(&tag), "a_1_ff", after(30)), Step::Take);
        assert_eq!(step(Some(&tag), "b", after(59)), Step::Follow);
        assert_eq!(step(Some(&tag), "b", after(60)), Step::Take);
        assert_eq!(step(Some(&tag), "b", start - 20 * DURATION), Step::Take);
    }

    #[test]
    fn a_tag_reads_as_it_was_written_and_anything_else_is_none() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let tag = Tag::of("ip-10-0-0-1.ec2.internal_1_00ff", start);
        assert_eq!(tag.value(), "ip-10-0-0-1.ec2.internal_1_00ff/1800000060");
        assert_eq!(Tag::parse(&tag.value()), Some(tag));
        for odd in ["", "a", "a/", "a/x", "a/-1", "a/18446744073709551616"] {
            assert_eq!(Tag::parse(odd), None, "{odd:?}");
        }
        // Written by a machine that knows no bounds.
        let _ = Tag::parse("a/18446744073709551615");
    }

    #[test]
    fn a_tag_has_only_characters_that_tags_may_have() {
        let value = Tag::of(&crate::replicas::identity::identity(), SystemTime::now()).value();
        let legal = |c: char| c.is_ascii_alphanumeric() || " +-=._:/@".contains(c);
        assert!(value.chars().all(legal) && value.len() <= 256, "{value}");
    }
}

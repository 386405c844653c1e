//! `--since` of the commands that list what has happened.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Since {
    /// After this number.
    Number(u64),
    Ago(SignedDuration),
    Time(Timestamp),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        if let Ok(ago) = text.parse::<SignedDuration>() {
            return Ok(Self::Ago(ago.abs()));
        }
        text.parse().map(Self::Time).map_err(|_| {
            "neither a time as 2026-11-30T09:00:00Z, nor a duration as 10m, nor a number".to_owned()
        })
    }
}

impl Since {
    /// Whether what has this number and time comes after it.
    pub(super) fn precedes(self, sequence: u64, at: Timestamp, now: Timestamp) -> bool {
        match self {
            Self::Number(number) => sequence > number,
            Self::Ago(ago) => now.duration_since(at) <= ago,
            Self::Time(time) => at >= time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_number_a_duration_or_a_time() {
        let now: Timestamp = "2026-11-30T09:00:00Z".parse().unwrap();
        let cases = [
            ("7", 8, "2026-11-30T08:00:00Z", true),
            ("7", 7, "2026-11-30T08:00:00Z", false),
            ("10m", 1, "2026-11-30T08:51:00Z", true),
            ("10m", 1, "2026-11-30T08:49:00Z", false),
            ("1h30m", 1, "2026-11-30T07:31:00Z", true),
            ("2026-11-30T08:00:00Z", 1, "2026-11-30T08:00:00Z", true),
            ("2026-11-30T08:00:00Z", 1, "2026-11-30T07:59:59Z", false),
        ];
        for (since, sequence, at, expected) in cases {
            let since: Since = since.parse().unwrap();
            let precedes = since.precedes(sequence, at.parse().unwrap(), now);
            assert_eq!(precedes, expected, "{since:?} {at}");
        }
        assert!("yesterday".parse::<Since>().is_err());
    }
}

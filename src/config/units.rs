//! Durations and sizes: numbers with a unit.
//!
//! A bare number is refused: some tools count in seconds and others in milliseconds. `m` is a
//! minute; sizes distinguish 1000 (`KB`) from 1024 (`KiB`).

use std::fmt::Write;
use std::time::Duration;

/// Units of a duration and their nanoseconds. The longest first, for display.
const DURATION_UNITS: [(&str, u128); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

/// Units of a size and their bytes. The largest first, for display.
const SIZE_UNITS: [(&str, u128); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Units of a duration, and what people write instead of each.
const DURATION_SLIPS: [(&str, &str); 5] = [
    ("s", "sec secs second seconds S"),
    ("m", "min mins minute minutes"),
    ("h", "hr hrs hour hours H"),
    ("d", "day days D"),
    ("ms", "msec millis milliseconds MS"),
];

/// Units of a size, and what people write instead of each.
const SIZE_SLIPS: [(&str, &str); 6] = [
    ("KiB", "k K kib"),
    ("KB", "kb"),
    ("MiB", "m M mib"),
    ("MB", "mb"),
    ("GiB", "g G"),
    ("B", "b bytes"),
];

/// Why a text is not a quantity, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnitError {
    pub(super) message: String,
    pub(super) help: String,
}

/// A kind of quantity.
struct Kind {
    noun: &'static str,
    units: &'static [(&'static str, u128)],
    slips: &'static [(&'static str, &'static str)],
    /// What a bare number most likely means.
    likely: fn(&str) -> String,
    example: &'static str,
}

const DURATION: Kind = Kind {
    noun: "duration",
    units: &DURATION_UNITS,
    slips: &DURATION_SLIPS,
    likely: likely_duration,
    example: "write a number and a unit: \"500ms\", \"5s\", \"1m30s\", \"2h\", \"1d\"",
};

const SIZE: Kind = Kind {
    noun: "size",
    units: &SIZE_UNITS,
    slips: &SIZE_SLIPS,
    likely: likely_size,
    example: "write a number and a unit: \"512B\", \"64KiB\", \"10MB\", \"1GiB\"",
};

/// Reads `"1m30s"`.
pub(super) fn duration(text: &str) -> Result<Duration, UnitError> {
    let nanos = DURATION.read(text)?;
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| DURATION.error(format!("`{text}` is longer than Weir can count")))
}

/// Reads `"64KiB"` as bytes.
pub(super) fn size(text: &str) -> Result<u64, UnitError> {
    u64::try_from(SIZE.read(text)?)
        .map_err(|_| SIZE.error(format!("`{text}` is larger than Weir can count")))
}

/// The error for a duration without quotes and unit.
pub(super) fn bare_duration(number: &str) -> UnitError {
    DURATION.bare(number)
}

/// The error for a size without quotes and unit.
pub(super) fn bare_size(number: &str) -> UnitError {
    SIZE.bare(number)
}

/// A duration as the configuration writes it: `1m30s`.
pub fn display_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (unit, nanos) in DURATION_UNITS {
        if rest >= nanos {
            let _ = write!(text, "{}{unit}", rest / nanos);
            rest %= nanos;
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// A size as the configuration writes it: in the largest unit that leaves no rest.
pub fn display_size(bytes: u64) -> String {
    let bytes = u128::from(bytes);
    let (unit, factor) = SIZE_UNITS
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

impl Kind {
    /// The sum of all parts of a text, in the smallest unit.
    fn read(&self, text: &str) -> Result<u128, UnitError> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(self.error(format!("an empty string is not a {}", self.noun)));
        }
        if rest.starts_with('-') {
            return Err(self.error(format!("a {} cannot be negative", self.noun)));
        }
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let (number, after) = split(rest, |c| c.is_ascii_digit() || matches!(c, '.' | '_'));
            let (unit, after) = split(after.trim_start(), |c| {
                !c.is_ascii_digit() && !matches!(c, '.' | ' ')
            });
            let part = self.part(text, number, unit)?;
            total = total
                .checked_add(part)
                .ok_or_else(|| self.error(format!("`{text}` is too large")))?;
            rest = after.trim_start();
        }
        Ok(total)
    }

    fn part(&self, text: &str, number: &str, unit: &str) -> Result<u128, UnitError> {
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || !digits(whole) || !digits(fraction) {
            return Err(self.error(format!("`{text}` is not a {}", self.noun)));
        }
        if unit.is_empty() {
            return Err(self.bare(number));
        }
        let Some((_, factor)) = self.units.iter().find(|(name, _)| *name == unit) else {
            return Err(self.unknown_unit(number, unit));
        };
        let too_large = || self.error(format!("`{text}` is too large"));
        let whole: u128 = whole.parse().map_err(|_| too_large())?;
        let whole = whole.checked_mul(*factor).ok_or_else(too_large)?;
        // Nine digits are a nanosecond; what lies below is cut.
        let fraction: String = fraction.chars().take(9).collect();
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        let fraction: u128 = fraction.parse().unwrap_or(0);
        whole
            .checked_add(fraction * factor / scale)
            .ok_or_else(too_large)
    }

    fn error(&self, message: String) -> UnitError {
        UnitError {
            message,
            help: self.example.to_owned(),
        }
    }

    fn bare(&self, number: &str) -> UnitError {
        UnitError {
            message: format!("a {} needs a unit", self.noun),
            help: format!("write {}", (self.likely)(number)),
        }
    }

    fn unknown_unit(&self, number: &str, unit: &str) -> UnitError {
        let message = format!("`{unit}` is not a unit of a {}", self.noun);
        match self
            .slips
            .iter()
            .find(|(_, slips)| slips.split(' ').any(|slip| slip == unit))
        {
            Some((meant, _)) => UnitError {
                message,
                help: format!("write \"{number}{meant}\""),
            },
            None => self.error(message),
        }
    }
}

/// Small numbers are seconds; larger ones may be milliseconds.
fn likely_duration(number: &str) -> String {
    match number.parse::<u64>() {
        Ok(100..) => format!("\"{number}ms\" or \"{number}s\""),
        _ => format!("\"{number}s\""),
    }
}

fn likely_size(number: &str) -> String {
    let bytes = number.parse().map(display_size);
    format!("\"{}\"", bytes.unwrap_or_else(|_| format!("{number}B")))
}

/// The longest start of a text made of such characters, and the rest.
fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_carry_units() {
        let cases = [
            ("5s", 5_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5s", 1_500),
            ("1 h", 3_600_000),
            ("1d 2h", 93_600_000),
            ("0s", 0),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "5 parsecs",
            "-5s",
            "1..5s",
            "5s6",
            "1e3s",
            "64KiB",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("99999999999999999999d").is_err());
        assert_eq!(duration("5sec").unwrap_err().help, "write \"5s\"");
        assert_eq!(duration("5").unwrap_err().help, "write \"5s\"");
    }

    #[test]
    fn sizes_tell_1000_from_1024() {
        let cases = [
            ("64KiB", 65_536),
            ("64KB", 64_000),
            ("1.5MiB", 1_572_864),
            ("7B", 7),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["64", "64k", "5s", "99999999999999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(size("65536").unwrap_err().help, "write \"64KiB\"");
        assert_eq!(size("64k").unwrap_err().help, "write \"64KiB\"");
    }

    proptest! {
        #[test]
        fn what_is_displayed_reads_back(millis in 0_u64..10_000_000_000, bytes: u64) {
            let value = Duration::from_millis(millis);
            prop_assert_eq!(duration(&display_duration(value)), Ok(value));
            prop_assert_eq!(size(&display_size(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = (duration(&text), size(&text));
        }
    }
}

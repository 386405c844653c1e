//! What gRPC says in fields of HTTP: its statuses and its deadlines
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::fmt::Write as _;
use std::time::Duration;

use crate::message::{FieldName, Fields};
use crate::model::Failure;

/// The statuses that Weir itself answers with, or that mean something to it.
mod code {
    pub(super) const OK: u16 = 0;
    pub(super) const DEADLINE_EXCEEDED: u16 = 4;
    pub(super) const PERMISSION_DENIED: u16 = 7;
    pub(super) const RESOURCE_EXHAUSTED: u16 = 8;
    pub(super) const UNIMPLEMENTED: u16 = 12;
    pub(super) const INTERNAL: u16 = 13;
    pub(super) const UNAVAILABLE: u16 = 14;
    pub(super) const UNAUTHENTICATED: u16 = 16;
    pub(super) const UNKNOWN: u16 = 2;
    pub(super) const DATA_LOSS: u16 = 15;
}

const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";
const TIMEOUT: &str = "grpc-timeout";

/// Most digits of a timeout.
const TIMEOUT_DIGITS: usize = 8;

/// Whether a message is one of gRPC. Not gRPC-Web, which browsers read as any other response.
pub(super) fn is_spoken(fields: &Fields) -> bool {
    let kind = fields.get(FieldName::ContentType).unwrap_or_default();
    let rest = strip_prefix(kind, b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

fn strip_prefix<'t>(text: &'t [u8], prefix: &[u8]) -> Option<&'t [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The status of a call: in the trailers, or in the head of a response without a message.
pub(super) fn status(fields: &Fields) -> Option<u16> {
    let text = fields.get_by_name(STATUS)?;
    let is_number = (1..=3).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

/// The status of HTTP that means the same, where that says something about the target; else 200. A
/// method that is not there is the client's fault.
pub(super) fn http_status(status: u16) -> u16 {
    match status {
        code::UNAVAILABLE => 503,
        code::DEADLINE_EXCEEDED => 504,
        code::UNKNOWN | code::INTERNAL | code::DATA_LOSS => 500,
        _ => 200,
    }
}

/// The status of a call that failed.
pub(super) fn status_of(failure: Failure) -> u16 {
    match failure.status().as_u16() {
        401 => code::UNAUTHENTICATED,
        403 => code::PERMISSION_DENIED,
        404 | 405 | 501 => code::UNIMPLEMENTED,
        413 | 429 | 431 => code::RESOURCE_EXHAUSTED,
        502 | 503 => code::UNAVAILABLE,
        408 | 504 => code::DEADLINE_EXCEEDED,
        _ => code::INTERNAL,
    }
}

/// The trailers of a call that failed behind its head, and its status.
pub(super) fn failed(failure: Failure, message: &str) -> (Fields, u16) {
    let (mut fields, status) = (Fields::new(), status_of(failure));
    append_status(&mut fields, status, message);
    (fields, status)
}

/// Makes a head that of a call that failed: it has the status, and no message follows.
pub(super) fn fail(fields: &mut Fields, status: u16, message: &str) {
    debug_assert_ne!(status, code::OK, "nothing failed");
    fields.put(FieldName::ContentType, b"application/grpc");
    append_status(fields, status, message);
}

fn append_status(fields: &mut Fields, status: u16, message: &str) {
    // Digits and percent-encoded text may stand in a value.
    let _ = fields.append(STATUS, status.to_string().as_bytes());
    let _ = fields.append(MESSAGE, percent_encoded(message).as_bytes());
}

/// As `grpc-message` is written: visible ASCII without the percent sign, and space.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(byte.into());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// How long the client waits for the whole call; `None` if it does not say, or says it wrongly.
pub(super) fn timeout(fields: &Fields) -> Option<Duration> {
    let (unit, digits) = fields.get_by_name(TIMEOUT)?.split_last()?;
    let is_number = (1..=TIMEOUT_DIGITS).contains(&digits.len());
    if !is_number || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 60 * 60),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Tells the target how long the client still waits, in the smallest unit that has room for it.
pub(super) fn set_timeout(fields: &mut Fields, left: Duration) {
    let (micros, millis) = (left.as_micros(), left.as_millis());
    let most = 10_u128.pow(TIMEOUT_DIGITS as u32);
    let text = if micros < most {
        format!("{micros}u")
    } else if millis < most {
        format!("{millis}m")
    } else {
        format!("{}S", left.as_secs().min(most as u64 - 1))
    };
    // Digits and a letter may stand in a value.
    let _ = fields.set_by_name(TIMEOUT, text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &str, value: &str) -> Fields {
        let mut fields = Fields::new();
        fields.append(name, value.as_bytes()).unwrap();
        fields
    }

    #[test]
    fn grpc_is_told_from_grpc_web() {
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC;x=1",
        ] {
            assert!(is_spoken(&fields("content-type", kind)), "{kind}");
        }
        for kind in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "text/plain",
            "",
        ] {
            assert!(!is_spoken(&fields("content-type", kind)), "{kind}");
        }
        assert!(!is_spoken(&Fields::new()));
    }

    #[test]
    fn a_timeout_has_up_to_eight_digits_and_a_unit() {
        let of = |text| timeout(&fields("grpc-timeout", text));
        assert_eq!(of("5S"), Some(Duration::from_secs(5)));
        assert_eq!(of("2M"), Some(Duration::from_secs(120)));
        assert_eq!(
            of("99999999H").map(|time| time.as_secs()),
            Some(359_999_996_400)
        );
        assert_eq!(of("100m"), Some(Duration::from_millis(100)));
        assert_eq!(of("7u"), Some(Duration::from_micros(7)));
        assert_eq!(of("1n"), Some(Duration::from_nanos(1)));
        for wrong in ["", "S", "5", "5s", "-1S", "123456789S", "1.5S", "+1S"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_timeout_that_is_passed_on_is_never_longer() {
        for (left, text) in [
            (Duration::from_micros(1500), "1500u"),
            (Duration::from_secs(99), "99000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(359_999_996_400), "99999999S"),
            (Duration::ZERO, "0u"),
        ] {
            let mut fields = fields("grpc-timeout", "1H");
            set_timeout(&mut fields, left);
            assert_eq!(fields.get_by_name("grpc-timeout"), Some(text.as_bytes()));
            assert!(timeout(&fields).unwrap() <= left);
        }
    }

    #[test]
    fn a_failure_has_a_status_and_a_readable_message() {
        let mut fields = Fields::new();
        fail(
            &mut fields,
            status_of(Failure::NoTarget),
            "no 100% \u{e9}\n",
        );
        assert_eq!(status(&fields), Some(14));
        let message = fields.get_by_name("grpc-message").unwrap();
        assert_eq!(message, b"no 100%25 %C3%A9%0A");
    }

    #[test]
    fn a_status_is_a_number() {
        for wrong in ["", "x", "1234", "-1", "+1", "1 "] {
            let mut text = Fields::new();
            if text.append("grpc-status", wrong.as_bytes()).is_ok() {
                assert!(status(&text).is_none_or(|code| code == 1), "{wrong}");
            }
        }
    }
}

//! What tells the services on the way of a request that it is one: `traceparent` and `tracestate` of
//! the W3C (Trace Context, level 1), and `X-Amzn-Trace-Id` as ALB writes it.

use std::fmt::Write;
use std::time::SystemTime;

use crate::message::{FieldName, Fields};
use crate::model::{Share, TraceContext, Traceparent};
use crate::observe::{SpanContext, Trace};

/// `00-` and the digits of the trace, of its parent and of its flags.
const LENGTH: usize = 55;

/// Longest `X-Amzn-Trace-Id` of a client that is continued.
const MAX_AMAZON: usize = 1024;

/// A trace as a client has begun it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Begun<'a> {
    trace: &'a str,
    parent: &'a str,
    is_sampled: bool,
}

/// Adds to a request which trace it belongs to, and returns it. A trace that a client has begun goes
/// on if that is believed; else Weir begins one. `random` gives bits of any kind.
pub(super) fn describe(
    settings: TraceContext,
    is_trusted: bool,
    fields: &mut Fields,
    mut random: impl FnMut() -> u64,
) -> Trace {
    let mut trace = Trace::default();
    if settings.traceparent != Traceparent::Off {
        let is_believed = is_trusted || settings.traceparent == Traceparent::Any;
        let (id, span) = continue_w3c(fields, is_believed, settings.exported, &mut random);
        trace.id = Some(id);
        trace.span = span;
    }
    if settings.amazon {
        trace.amazon = Some(continue_amazon(fields, &mut random));
    }
    trace
}

/// Puts the request's own span into `traceparent`; returns the id of the trace, and the span if it is
/// exported.
fn continue_w3c(
    fields: &mut Fields,
    is_believed: bool,
    exported: Option<Share>,
    random: &mut impl FnMut() -> u64,
) -> (Box<str>, Option<SpanContext>) {
    // Zero is no id.
    let span = random() | 1;
    let begun = only(fields, FieldName::Traceparent)
        .filter(|_| is_believed)
        .and_then(parse);
    let (id, parent, is_sampled): (Box<str>, _, _) = if let Some(begun) = begun {
        let parent = u64::from_str_radix(begun.parent, 16).ok();
        (begun.trace.into(), parent, begun.is_sampled)
    } else {
        let low = random() | 1;
        let id = format!("{:016x}{low:016x}", random());
        // What others say of a trace belongs to the one that they have begun.
        fields.remove(FieldName::Tracestate);
        // The lower half of the id: every Weir that sees it chooses alike.
        let is_sampled = exported.is_none_or(|share| share.has((low >> 1) as u32));
        (id.into(), None, is_sampled)
    };
    let flags = u8::from(is_sampled);
    let text = format!("00-{id}-{span:016x}-{flags:02x}");
    fields.put(FieldName::Traceparent, text.as_bytes());
    let trace = u128::from_str_radix(&id, 16).ok();
    let is_exported = is_sampled && exported.is_some();
    let context = trace.filter(|_| is_exported).map(|trace| SpanContext {
        trace,
        id: span,
        parent,
    });
    (id, context)
}

/// The value of a field that is there once.
fn only(fields: &Fields, name: FieldName) -> Option<&[u8]> {
    let mut values = fields.get_all(name);
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// A `traceparent` of any version but `ff`; what a later one adds is left out.
fn parse(value: &[u8]) -> Option<Begun<'_>> {
    let text = std::str::from_utf8(value).ok()?;
    let (known, more) = (text.get(..LENGTH)?, text.get(LENGTH..)?);
    let mut parts = known.split('-');
    let mut part = |length| parts.next().filter(|part| is_hex(part, length));
    let (version, trace, parent, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let is_ended = more.is_empty() || (version != "00" && more.starts_with('-'));
    let is_zero = |id: &str| id.bytes().all(|digit| digit == b'0');
    let is_valid = is_ended && version != "ff" && !is_zero(trace) && !is_zero(parent);
    // Of version 00 one flag has a meaning, whatever the others are.
    let is_sampled = flags.ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f']);
    is_valid.then_some(Begun {
        trace,
        parent,
        is_sampled,
    })
}

/// Digits in lower case, so many.
fn is_hex(text: &str, length: usize) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == length && text.bytes().all(is_digit)
}

/// Adds `Root` to `X-Amzn-Trace-Id` if it has none, and else `Self`; keeps what else is in it.
/// Returns its root.
fn continue_amazon(fields: &mut Fields, random: &mut impl FnMut() -> u64) -> Box<str> {
    let given = only(fields, FieldName::XAmznTraceId).filter(|value| value.len() <= MAX_AMAZON);
    let given = given.and_then(|value| std::str::from_utf8(value).ok());
    let mut parts = Vec::new();
    let mut root = None;
    for part in given.unwrap_or_default().split(';').map(str::trim) {
        match part.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("root") && root.is_none() => {
                root = Some(value.to_owned());
                parts.push(part);
            }
            Some((name, _)) if name.eq_ignore_ascii_case("self") => {}
            Some(_) => parts.push(part),
            None => {}
        }
    }
    let own = amazon_id(random);
    let name = if root.is_some() { "Self" } else { "Root" };
    let mut text = format!("{name}={own}");
    for part in parts {
        // Writing to a string does not fail.
        let _ = write!(text, ";{part}");
    }
    let root = root.unwrap_or(own);
    fields.put(FieldName::XAmznTraceId, text.as_bytes());
    root.into()
}

/// The version, the time in seconds, and 96 bits.
fn amazon_id(random: &mut impl FnMut() -> u64) -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs() as u32;
    let (high, low) = (random() as u32, random());
    format!("1-{seconds:08x}-{high:08x}{low:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn settings(traceparent: Traceparent, amazon: bool) -> TraceContext {
        TraceContext {
            traceparent,
            amazon,
            exported: None,
        }
    }

    /// What a target gets, and the trace.
    fn described(given: &[(&str, &str)], settings: TraceContext, trusted: bool) -> (Fields, Trace) {
        let mut fields = Fields::new();
        for (name, value) in given {
            fields.append(name, value.as_bytes()).unwrap();
        }
        let mut next = 0x1111_1111_1111_1110;
        let trace = describe(settings, trusted, &mut fields, || {
            next += 1;
            next
        });
        (fields, trace)
    }

    fn text(fields: &Fields, name: FieldName) -> Option<String> {
        let value = fields.get(name)?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    #[test]
    fn a_trace_that_is_believed_goes_on_with_a_span_of_its_own() {
        let given = [
            ("traceparent", GIVEN),
            ("tracestate", "rojo=00f067aa0ba902b7"),
        ];
        let (fields, trace) = described(&given, settings(Traceparent::Trusted, false), true);
        assert_eq!(trace.id.as_deref(), Some(TRACE));
        let expected = format!("00-{TRACE}-1111111111111111-01");
        assert_eq!(text(&fields, FieldName::Traceparent), Some(expected));
        let state = text(&fields, FieldName::Tracestate);
        assert_eq!(state.as_deref(), Some("rojo=00f067aa0ba902b7"));
        assert_eq!(text(&fields, FieldName::XAmznTraceId), None);
    }

    #[test]
    fn a_trace_of_a_stranger_is_another_one() {
        let given = [("traceparent", GIVEN), ("tracestate", "rojo=1")];
        let (fields, trace) = described(&given, settings(Traceparent::Trusted, false), false);
        assert_ne!(trace.id.as_deref(), Some(TRACE));
        let value = text(&fields, FieldName::Traceparent).unwrap();
        assert!(
            parse(value.as_bytes()).is_some() && !value.contains(TRACE),
            "{value}"
        );
        assert_eq!(text(&fields, FieldName::Tracestate), None);
        let (_, trace) = described(&given, settings(Traceparent::Any, false), false);
        assert_eq!(trace.id.as_deref(), Some(TRACE));
    }

    #[test]
    fn spans_are_exported_as_the_client_says_or_by_their_share() {
        let exported = |given: &[(&str, &str)], share: f64| {
            let settings = TraceContext {
                exported: Some(Share::of_one(share)),
                ..settings(Traceparent::Any, false)
            };
            let (fields, trace) = described(given, settings, false);
            let flags = text(&fields, FieldName::Traceparent).unwrap();
            assert_eq!(flags.ends_with("-01"), trace.span.is_some(), "{flags}");
            trace.span
        };
        let span = exported(&[("traceparent", GIVEN)], 0.0).unwrap();
        assert_eq!(format!("{:032x}", span.trace), TRACE);
        assert_eq!(
            (span.id, span.parent),
            (0x1111_1111_1111_1111, Some(0xb7ad_6b71_6920_3331))
        );
        let unwanted = GIVEN.replace("-01", "-00");
        assert_eq!(exported(&[("traceparent", &unwanted)], 1.0), None);
        assert_eq!(exported(&[], 1.0).map(|span| span.parent), Some(None));
        assert_eq!(exported(&[], 0.0), None);
        let (_, trace) = described(&[], settings(Traceparent::Any, false), false);
        assert_eq!(trace.span, None, "nothing is exported");
    }

    #[test]
    fn values_are_read_as_the_w3c_has_it() {
        let parent = "b7ad6b7169203331";
        let good = [
            (format!("00-{TRACE}-{parent}-00"), false),
            (format!("00-{TRACE}-{parent}-01"), true),
            (format!("00-{TRACE}-{parent}-ff"), true),
            (format!("cc-{TRACE}-{parent}-01"), true),
            (
                format!("cc-{TRACE}-{parent}-01-what-the-future-will-be-like"),
                true,
            ),
        ];
        for (value, is_sampled) in good {
            let begun = Begun {
                trace: TRACE,
                parent,
                is_sampled,
            };
            assert_eq!(parse(value.as_bytes()), Some(begun), "{value}");
        }
        let zeros = "0".repeat(32);
        let bad = [
            String::new(),
            "00".to_owned(),
            format!("ff-{TRACE}-{parent}-01"),
            format!("00-{TRACE}-{parent}-01-what"),
            format!("00-{TRACE}-{parent}-01."),
            format!("cc-{TRACE}-{parent}-01.what"),
            format!("00-{zeros}-{parent}-01"),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{parent}-01", TRACE.to_uppercase()),
            format!("00-{}x-{parent}-01", &TRACE[1..]),
            format!("0-{TRACE}-{parent}-01"),
            format!("00-{TRACE}-{parent}-1"),
            format!("00-{TRACE}{parent}-01-00"),
            format!(" 0-{TRACE}-{parent}-01"),
            format!("00_{TRACE}_{parent}_01"),
            format!("00-{}é-{parent}-01", &TRACE[2..]),
            format!("00-{TRACE}-{parent}-0é"),
        ];
        for value in bad {
            assert_eq!(parse(value.as_bytes()), None, "{value}");
        }
        assert_eq!(parse(b"\xff\xfe"), None);
        let twice = [("traceparent", GIVEN), ("Traceparent", GIVEN)];
        let (fields, trace) = described(&twice, settings(Traceparent::Any, false), true);
        assert_ne!(trace.id.as_deref(), Some(TRACE));
        assert_eq!(fields.get_all(FieldName::Traceparent).count(), 1);
    }

    #[test]
    fn amazons_field_gets_a_root_or_a_self() {
        fn given(value: &str) -> [(&str, &str); 1] {
            [("X-Amzn-Trace-Id", value)]
        }
        let amazon = settings(Traceparent::Off, true);
        let value = |fields: &Fields| text(fields, FieldName::XAmznTraceId).unwrap();
        let (fields, trace) = described(&[], amazon, false);
        let new = value(&fields);
        let root = new.strip_prefix("Root=1-").unwrap();
        assert!(
            is_hex(&root[..8], 8) && is_hex(&root[9..], 24) && root.len() == 33,
            "{new}"
        );
        assert_eq!(trace.amazon.as_deref(), new.strip_prefix("Root="));
        assert_eq!(
            (trace.id, text(&fields, FieldName::Traceparent)),
            (None, None)
        );

        let root = "1-67891233-abcdef012345678912345678";
        let (fields, trace) = described(
            &given(&format!("Root={root};CalledFrom=app")),
            amazon,
            false,
        );
        assert_eq!(trace.amazon.as_deref(), Some(root));
        let forwarded = value(&fields);
        assert!(forwarded.starts_with("Self=1-"), "{forwarded}");
        assert!(
            forwarded.ends_with(&format!(";Root={root};CalledFrom=app")),
            "{forwarded}"
        );

        let (again, _) = described(&given(&forwarded), amazon, false);
        assert_eq!(value(&again).matches("Self=").count(), 1);
        let (fields, _) = described(&given("CalledFrom=app;; x"), amazon, false);
        let forwarded = value(&fields);
        assert!(
            forwarded.starts_with("Root=1-") && forwarded.ends_with(";CalledFrom=app"),
            "{forwarded}"
        );
        let huge = format!("Root={}", "1".repeat(2 * MAX_AMAZON));
        let (fields, _) = described(&given(&huge), amazon, false);
        assert!(value(&fields).len() < 100);
    }
}

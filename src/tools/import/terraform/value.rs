//! Terraform's values, with marks for those that only AWS knows.
//!
//! A value that cannot be resolved is a marked text with the reference in it. Of most of them only
//! the resource that they name matters, which the mark has: `aws_lb.main.arn`.

use serde_json::{Number, Value};

/// Marks around an unresolved reference; both are private use characters of Unicode.
const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';

/// Largest value, bytes. Without a bound a few lines that double each other's values would fill the
/// memory; the largest maps of rules in practice are a tenth of it.
pub(super) const MAX_SIZE: usize = 256 * 1024;

/// An error that Terraform would also report: a missing attribute, an index beyond the end. A value
/// that is only unknown here is no error but a marked value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mistake;

pub(super) type Evaluated<T = Value> = Result<T, Mistake>;

/// A marked text for a reference that cannot be resolved.
pub(super) fn unresolved(reference: &str) -> Value {
    let clean = reference.replace([OPEN, CLOSE], "");
    Value::String(format!("{OPEN}{}{CLOSE}", clean.trim()))
}

/// The first unresolved reference in a value.
pub(super) fn reference_in(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => {
            let (_, rest) = text.split_once(OPEN)?;
            Some(rest.split_once(CLOSE).map_or(rest, |(inner, _)| inner))
        }
        Value::Array(items) => items.iter().find_map(reference_in),
        Value::Object(map) => map.values().find_map(reference_in),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// The reference if the value is nothing else.
pub(super) fn whole_reference(value: &Value) -> Option<&str> {
    let inner = value.as_str()?.strip_prefix(OPEN)?.strip_suffix(CLOSE)?;
    (!inner.contains(OPEN)).then_some(inner)
}

/// The value as a text for messages: references without their marks.
pub(super) fn plain(value: &Value) -> String {
    text(value).replace([OPEN, CLOSE], "")
}

/// Makes JSON valid in which marks stand in the place of values: they become strings.
pub(super) fn json_with_marks(text: &str) -> String {
    let mut json = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != OPEN {
            in_string ^= c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            json.push(c);
            continue;
        }
        let (inner, after) = rest.split_once(CLOSE).unwrap_or((rest, ""));
        rest = after;
        let quoted = Value::String(format!("{OPEN}{inner}{CLOSE}")).to_string();
        json.push_str(if in_string {
            quoted.trim_matches('"')
        } else {
            &quoted
        });
    }
    json
}

/// The value as Terraform inserts it into a text.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
            _ => number.to_string(),
        },
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A number, or a text that is one: Terraform converts them.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => {
            let number: f64 = text.trim().parse().ok()?;
            number.is_finite().then_some(number)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A boolean, or a text that is one.
pub(super) fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) if text == "true" => Some(true),
        Value::String(text) if text == "false" => Some(false),
        _ => None,
    }
}

/// A whole number that is not negative.
pub(super) fn index(value: &Value) -> Option<usize> {
    let number = number(value)?;
    (number.fract() == 0.0 && (0.0..1e9).contains(&number)).then_some(number as usize)
}

pub(super) fn from_float(float: f64) -> Option<Value> {
    let whole = float.fract() == 0.0 && float.abs() < 1e15;
    if whole {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is whole and below 2^53"
        )]
        return Some(Value::from(float as i64));
    }
    Number::from_f64(float).map(Value::Number)
}

/// The approximate size in bytes.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 8,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 8,
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| key.len() + size(value));
            entries.sum::<usize>() + 8
        }
    }
}

/// A list as Terraform's sets are: without repetitions, texts sorted.
pub(super) fn set(items: Vec<Value>) -> Value {
    let mut kept: Vec<Value> = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    if kept.iter().all(Value::is_string) {
        kept.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    Value::Array(kept)
}

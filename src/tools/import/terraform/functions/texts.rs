//! Functions on texts.

use std::fmt::Write;

use regex::Regex;
use serde_json::Value;

use crate::tools::import::terraform::value::{Evaluated, MAX_SIZE, index, number, text};

/// Calls a function on texts; `None` if there is no such function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Option<Evaluated<Option<Value>>> {
    if let Some(result) = inspect(name, arguments) {
        return Some(Ok(Some(result)));
    }
    let changed = match (name, arguments) {
        ("lower", [value]) => text(value).to_lowercase(),
        ("upper", [value]) => text(value).to_uppercase(),
        ("title", [value]) => title(&text(value)),
        ("trimspace", [value]) => text(value).trim().to_owned(),
        ("chomp", [value]) => text(value).trim_end_matches(['\n', '\r']).to_owned(),
        ("trim", [value, cut]) => text(value)
            .trim_matches(|c| text(cut).contains(c))
            .to_owned(),
        ("trimprefix", [value, prefix]) => {
            let value = text(value);
            value
                .strip_prefix(&text(prefix))
                .unwrap_or(&value)
                .to_owned()
        }
        ("trimsuffix", [value, suffix]) => {
            let value = text(value);
            value
                .strip_suffix(&text(suffix))
                .unwrap_or(&value)
                .to_owned()
        }
        ("strrev", [value]) => text(value).chars().rev().collect(),
        ("substr", [value, from, length]) => substr(&text(value), from, length)?,
        ("replace", [value, what, with]) => return Some(Ok(replace(value, what, with))),
        ("join", [separator, Value::Array(items)]) => {
            let (items, separator): (Vec<_>, _) =
                (items.iter().map(text).collect(), text(separator));
            if separator.len().saturating_mul(items.len()) > MAX_SIZE {
                return Some(Ok(None));
            }
            items.join(&separator)
        }
        ("format", [format, arguments @ ..]) => self::format(&text(format), arguments)?,
        ("basename", [path]) => text(path).rsplit('/').next().unwrap_or_default().to_owned(),
        ("dirname", [path]) => text(path)
            .rsplit_once('/')
            .map_or(".", |(folder, _)| folder)
            .to_owned(),
        ("abspath" | "pathexpand", [path]) => text(path),
        _ => return None,
    };
    Some(Ok(Some(Value::String(changed))))
}

/// Functions that return something else than a text.
fn inspect(name: &str, arguments: &[Value]) -> Option<Value> {
    Some(match (name, arguments) {
        ("split", [separator, whole]) => {
            let (separator, whole) = (text(separator), text(whole));
            whole.split(separator.as_str()).map(Value::from).collect()
        }
        ("startswith", [value, prefix]) => Value::Bool(text(value).starts_with(&text(prefix))),
        ("endswith", [value, suffix]) => Value::Bool(text(value).ends_with(&text(suffix))),
        ("strcontains", [value, part]) => Value::Bool(text(value).contains(&text(part))),
        ("length", [Value::String(value)]) => Value::from(value.chars().count()),
        _ => return None,
    })
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|c| {
            let changed = if start { c.to_ascii_uppercase() } else { c };
            start = c.is_whitespace();
            changed
        })
        .collect()
}

fn substr(text: &str, from: &Value, length: &Value) -> Option<String> {
    let rest = text.chars().skip(index(from)?);
    Some(match index(length) {
        Some(length) => rest.take(length).collect(),
        None => rest.collect(),
    })
}

/// Replaces a text, or the matches of a regular expression between slashes.
fn replace(value: &Value, what: &Value, with: &Value) -> Option<Value> {
    let (value, what, with) = (text(value), text(what), text(with));
    let inner = what
        .strip_prefix('/')
        .and_then(|what| what.strip_suffix('/'));
    let is_small = |count: usize| count.saturating_mul(with.len()) <= MAX_SIZE;
    let changed = if let Some(inner) = inner.filter(|inner| !inner.is_empty()) {
        let expression = Regex::new(inner).ok()?;
        let many = expression.find_iter(&value).count();
        is_small(many).then(|| expression.replace_all(&value, with.as_str()).into_owned())?
    } else {
        is_small(value.matches(&what).count()).then(|| value.replace(&what, &with))?
    };
    Some(Value::String(changed))
}

/// Formats with the verbs of Go that are common: `%s`, `%d`, `%v`, `%q` and widths of `%d`.
pub(super) fn format(format: &str, arguments: &[Value]) -> Option<String> {
    let mut arguments = arguments.iter();
    let mut out = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let verb = after.find(|c: char| c.is_ascii_alphabetic() || c == '%')?;
        let flags = &after[..verb];
        match after.as_bytes().get(verb)? {
            b'%' => out.push('%'),
            b's' | b'v' if flags.is_empty() || flags == "#" => {
                out.push_str(&text(arguments.next()?));
            }
            b'q' => out.push_str(&Value::String(text(arguments.next()?)).to_string()),
            b'd' => {
                let argument = arguments.next()?;
                let digits = text(argument);
                let zeros = flags
                    .strip_prefix('0')
                    .and_then(|width| width.parse::<usize>().ok());
                match zeros {
                    Some(width) if width < 64 && number(argument).is_some() => {
                        let _ = write!(out, "{digits:0>width$}");
                    }
                    _ => out.push_str(&digits),
                }
            }
            _ => return None,
        }
        rest = &after[verb + 1..];
    }
    out.push_str(rest);
    Some(out)
}

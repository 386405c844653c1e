//! The rows of the table of keys in words, as `config/full.toml` and the reference have them.

use weir::config::keys::{DefaultValue, Key, Kind};
use weir::config::{display_duration, display_size};

/// `1ms to 1d`; `None` for values without bounds.
pub(crate) fn bounds(kind: &Kind) -> Option<String> {
    let (low, high) = match kind {
        Kind::Duration(bounds) => (
            display_duration(*bounds.start()),
            display_duration(*bounds.end()),
        ),
        Kind::Size(bounds) => (display_size(*bounds.start()), display_size(*bounds.end())),
        Kind::Count(bounds) => (bounds.start().to_string(), bounds.end().to_string()),
        Kind::Number(bounds) => (bounds.start().to_string(), bounds.end().to_string()),
        Kind::Percent(bounds) => (format!("{}%", bounds.start()), format!("{}%", bounds.end())),
        Kind::Secret(lengths) => {
            let end = format!("{} characters", lengths.end());
            (lengths.start().to_string(), end)
        }
        Kind::Flag
        | Kind::Word(_)
        | Kind::Value(_)
        | Kind::Table(_)
        | Kind::Tables(..)
        | Kind::Either(..) => return None,
    };
    Some(format!("{low} to {high}"))
}

/// The words that a value may be; empty for other values.
pub(crate) fn words(kind: &Kind) -> Vec<String> {
    match kind {
        Kind::Word(words) => words().iter().map(|word| format!("\"{word}\"")).collect(),
        _ => Vec::new(),
    }
}

/// What a value is, with its bounds.
pub(crate) fn kind(kind: &Kind) -> String {
    let noun = match kind {
        Kind::Duration(_) => "duration",
        Kind::Size(_) => "size",
        Kind::Count(_) => "whole number",
        Kind::Number(_) => "number",
        Kind::Percent(_) => "share",
        Kind::Secret(_) => "secret",
        Kind::Flag => "`true` or `false`",
        Kind::Word(_) => {
            let words: Vec<_> = words(kind).iter().map(|word| format!("`{word}`")).collect();
            return words.join(", ");
        }
        Kind::Value(shape) => shape,
        Kind::Table(table) => return format!("table {}", link(table.path)),
        Kind::Tables(table, most) => {
            let most = match *most {
                usize::MAX => String::new(),
                most => format!(", at most {most}"),
            };
            return format!("list of tables {}{most}", link(table.path));
        }
        Kind::Either(shape, table) => {
            return format!("{shape}, or a table {}", link(table.path));
        }
    };
    match bounds(kind) {
        Some(bounds) => format!("{noun}, {bounds}"),
        None => noun.to_owned(),
    }
}

/// A link to the section of a table.
fn link(path: &str) -> String {
    let anchor: String = path.chars().filter(|c| !"[].*".contains(*c)).collect();
    format!("[`{path}`](#{anchor})")
}

/// The default as the file writes it; `None` if the key has to be there or the default has no
/// value of its own.
pub(crate) fn value(key: &Key) -> Option<String> {
    Some(match &key.default {
        DefaultValue::Required | DefaultValue::Described(_) => return None,
        DefaultValue::Duration(duration) => display_duration(*duration),
        DefaultValue::Size(bytes) => display_size(*bytes),
        DefaultValue::Count(count) => count.to_string(),
        DefaultValue::Percent(percent) => format!("{percent}%"),
        DefaultValue::Flag(flag) => flag.to_string(),
        DefaultValue::Text(text) => format!("\"{text}\""),
    })
}

/// The default for people.
pub(crate) fn default(key: &Key) -> String {
    match (&key.default, value(key)) {
        (DefaultValue::Required, _) => "required".to_owned(),
        (DefaultValue::Described(text), _) => (*text).to_owned(),
        (_, value) => format!("`{}`", value.unwrap_or_default()),
    }
}

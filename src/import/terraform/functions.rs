//! Those of Terraform's functions that settings of a load balancer are written with.

use serde_json::{Map, Value};

use super::scope::{number, reference_in, text};

/// The result of a function; `None` if it is not known here or does not take these arguments.
pub(super) fn call(name: &str, arguments: &[Value]) -> Option<Value> {
    match (name, arguments) {
        // What cannot be resolved may stay within what they build.
        ("jsonencode", [value]) => Some(Value::String(value.to_string())),
        ("concat", lists) => concat(lists),
        ("merge", maps) => merge(maps),
        ("tolist" | "toset" | "tomap" | "nonsensitive" | "sensitive", [value]) => {
            Some(value.clone())
        }
        // How modules name a resource that `count` makes one of or none.
        ("one" | "try" | "element", [value, ..]) | ("join", [_, value]) if is_resource(value) => {
            Some(value.clone())
        }
        _ if arguments.iter().any(|value| reference_in(value).is_some()) => None,
        ("tostring", [value]) => Some(Value::String(text(value))),
        ("tonumber", [value]) => number(value).map(Value::from),
        ("lower", [value]) => Some(Value::String(text(value).to_lowercase())),
        ("upper", [value]) => Some(Value::String(text(value).to_uppercase())),
        ("trimspace", [value]) => Some(Value::String(text(value).trim().to_owned())),
        ("join", [separator, Value::Array(items)]) => {
            let items: Vec<_> = items.iter().map(text).collect();
            Some(Value::String(items.join(&text(separator))))
        }
        ("length", [Value::Array(items)]) => Some(Value::from(items.len())),
        ("element", [Value::Array(items), index]) => {
            let index = usize::try_from(index.as_u64()?).ok()?;
            items.get(index.checked_rem(items.len())?).cloned()
        }
        ("lookup", [Value::Object(map), key, default @ ..]) => {
            map.get(&text(key)).or(default.first()).cloned()
        }
        ("coalesce", values) => {
            let empty = |value: &&Value| value.is_null() || value.as_str() == Some("");
            values.iter().find(|value| !empty(value)).cloned()
        }
        ("max", values) => extreme(values, f64::max),
        ("min", values) => extreme(values, f64::min),
        _ => None,
    }
}

/// Whether it is an attribute of a resource, which only AWS knows.
fn is_resource(value: &Value) -> bool {
    value.is_string() && reference_in(value).is_some_and(|written| written.starts_with("aws_"))
}

fn concat(lists: &[Value]) -> Option<Value> {
    let lists: Option<Vec<_>> = lists.iter().map(Value::as_array).collect();
    Some(lists?.into_iter().flatten().cloned().collect())
}

fn merge(maps: &[Value]) -> Option<Value> {
    let mut merged = Map::new();
    for map in maps {
        merged.extend(map.as_object()?.clone());
    }
    Some(Value::Object(merged))
}

fn extreme(values: &[Value], choose: fn(f64, f64) -> f64) -> Option<Value> {
    let values: Option<Vec<f64>> = values.iter().map(number).collect();
    values?.into_iter().reduce(choose).map(Value::from)
}

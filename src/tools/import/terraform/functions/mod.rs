//! Terraform's functions, as far as configurations of load balancers use them.
//!
//! `Ok(None)` is an unknown function or result. A [`Mistake`] is an error in Terraform too, after
//! which `try` continues.

mod collections;
mod texts;

use serde_json::Value;

use super::value::{
    Evaluated, Mistake, boolean, from_float, json_with_marks, number, reference_in, text,
    whole_reference,
};

/// The result of a function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Evaluated<Option<Value>> {
    if let Some(result) = lenient(name, arguments) {
        return result;
    }
    if arguments.iter().any(|value| reference_in(value).is_some()) {
        return collections::partly_known(name, arguments);
    }
    if let Some(result) = collections::call(name, arguments) {
        return result;
    }
    if let Some(result) = texts::call(name, arguments) {
        return result;
    }
    Ok(match (name, arguments) {
        ("tostring" | "tonumber" | "tobool", [Value::Null]) => Some(Value::Null),
        ("tostring", [value]) => Some(Value::String(text(value))),
        ("tonumber", [value]) | ("parseint", [value, _]) => {
            Some(number(value).and_then(from_float).ok_or(Mistake)?)
        }
        ("tobool", [value]) => Some(Value::Bool(boolean(value).ok_or(Mistake)?)),
        ("abs", [value]) => number(value).and_then(|number| from_float(number.abs())),
        ("ceil", [value]) => number(value).and_then(|number| from_float(number.ceil())),
        ("floor", [value]) => number(value).and_then(|number| from_float(number.floor())),
        ("max", values) => extreme(values, f64::max),
        ("min", values) => extreme(values, f64::min),
        ("sum", [Value::Array(values)]) => extreme(values, |a, b| a + b),
        _ => None,
    })
}

/// Functions that accept unknown arguments, or return one argument.
fn lenient(name: &str, arguments: &[Value]) -> Option<Evaluated<Option<Value>>> {
    Some(Ok(match (name, arguments) {
        ("jsonencode", [value]) => Some(Value::String(value.to_string())),
        ("jsondecode", [written @ Value::String(text)]) if whole_reference(written).is_none() => {
            return Some(
                serde_json::from_str(text)
                    .or_else(|_| serde_json::from_str(&json_with_marks(text)))
                    .map(Some)
                    .map_err(|_| Mistake),
            );
        }
        ("tomap" | "nonsensitive" | "sensitive" | "ephemeralasnull", [value]) => {
            Some(value.clone())
        }
        // Modules name a resource with a `count` of 0 or 1 so.
        ("one" | "element", [value, ..]) | ("join" | "coalesce", [_, value])
            if is_resource(value) =>
        {
            Some(value.clone())
        }
        ("coalesce", [value, ..]) if is_resource(value) => Some(value.clone()),
        _ => return None,
    }))
}

/// Whether it is an attribute of a resource, which only AWS knows.
fn is_resource(value: &Value) -> bool {
    whole_reference(value).is_some_and(|written| {
        let last = written.rsplit_once("aws_").map(|(before, _)| before);
        last.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            && !written.starts_with("data.")
            && !written.contains([' ', '('])
    })
}

fn extreme(values: &[Value], choose: fn(f64, f64) -> f64) -> Option<Value> {
    let values = match values {
        [Value::Array(values)] => values,
        values => values,
    };
    let values: Option<Vec<f64>> = values.iter().map(number).collect();
    values?.into_iter().reduce(choose).and_then(from_float)
}

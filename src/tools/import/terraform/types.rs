//! Converts values to the types of variables: defaults of optional attributes, texts to numbers.

use hcl::edit::expr::{Expression, FuncCall, Object, ObjectKey};
use serde_json::{Map, Value};

use super::translation::Scope;
use super::value::{boolean, from_float, number, reference_in, set, text};

/// Converts a value to a type. A value that does not fit stays, and the error shows where it is
/// used.
pub(super) fn convert(value: Value, kind: &Expression, scope: &Scope<'_>) -> Value {
    match kind {
        Expression::Variable(name) => primitive(value, name.as_str()),
        // The syntax of Terraform before 0.12.
        Expression::String(name) if name.as_str() == "string" => primitive(value, "string"),
        Expression::FuncCall(call) => constructed(parsed(value, scope), call, scope),
        _ => value,
    }
}

/// Parses a list or object that is a text, as on the command line and in the environment.
fn parsed(value: Value, scope: &Scope<'_>) -> Value {
    let written = value
        .as_str()
        .filter(|text| text.trim_start().starts_with(['[', '{']));
    let expression = written.and_then(|text| hcl::edit::parser::parse_expr(text.trim()).ok());
    expression.map_or(value, |expression| scope.value(&expression))
}

fn primitive(value: Value, name: &str) -> Value {
    if reference_in(&value).is_some() {
        return value;
    }
    let converted = match (name, &value) {
        ("string", Value::Number(_) | Value::Bool(_)) => Some(Value::String(text(&value))),
        ("number", Value::String(_)) => number(&value).and_then(from_float),
        ("bool", Value::String(_)) => boolean(&value).map(Value::Bool),
        _ => None,
    };
    converted.unwrap_or(value)
}

fn constructed(value: Value, call: &FuncCall, scope: &Scope<'_>) -> Value {
    let inner = call.args.iter().next();
    match (call.name.name.as_str(), inner, value) {
        ("optional", Some(kind), value) => convert(value, kind, scope),
        ("list" | "set" | "map", Some(kind), Value::Array(items)) => {
            let items = items
                .into_iter()
                .map(|item| convert(item, kind, scope))
                .collect();
            if call.name.name.as_str() == "set" {
                set(items)
            } else {
                Value::Array(items)
            }
        }
        ("map", Some(kind), Value::Object(map)) => {
            let entries = map
                .into_iter()
                .map(|(key, value)| (key, convert(value, kind, scope)));
            Value::Object(entries.collect())
        }
        ("object", Some(Expression::Object(kinds)), Value::Object(map)) => {
            Value::Object(object(map, kinds, scope))
        }
        (_, _, value) => value,
    }
}

fn object(mut map: Map<String, Value>, kinds: &Object, scope: &Scope<'_>) -> Map<String, Value> {
    for (key, kind) in kinds {
        let name = match key {
            ObjectKey::Ident(name) | ObjectKey::Expression(Expression::Variable(name)) => {
                name.to_string()
            }
            ObjectKey::Expression(expression) => text(&scope.value(expression)),
        };
        let kind = kind.expr();
        let given = map.remove(&name).filter(|value| !value.is_null());
        let value = given.unwrap_or_else(|| default(kind, scope));
        map.insert(name, convert(value, kind, scope));
    }
    map
}

/// The default of `optional(type, default)`.
fn default(kind: &Expression, scope: &Scope<'_>) -> Value {
    match kind {
        Expression::FuncCall(call) if call.name.name.as_str() == "optional" => {
            let default = call.args.iter().nth(1);
            default.map_or(Value::Null, |default| scope.value(default))
        }
        _ => Value::Null,
    }
}

//! Functions on lists and maps.

use serde_json::{Map, Value};

use crate::tools::import::terraform::value::{
    Evaluated, Mistake, boolean, from_float, index, number, reference_in, set, text,
};

/// Most entries that a function creates from small arguments.
const MOST: usize = 1024;

type CallResult = Evaluated<Option<Value>>;

/// Calls a function on lists and maps; `None` if there is no such function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Option<CallResult> {
    if let Some(known) = shaped(name, arguments) {
        return Some(known);
    }
    let result = match (name, arguments) {
        ("contains", [Value::Array(items), value]) => Value::Bool(has(items, value)),
        ("index", [Value::Array(items), value]) => {
            let at = items.iter().position(|item| item == value);
            return Some(at.map(|at| Some(Value::from(at))).ok_or(Mistake));
        }
        ("alltrue", [Value::Array(items)]) => {
            Value::Bool(items.iter().all(|item| boolean(item) == Some(true)))
        }
        ("anytrue", [Value::Array(items)]) => {
            Value::Bool(items.iter().any(|item| boolean(item) == Some(true)))
        }
        ("sort", [Value::Array(items)]) => {
            let mut texts: Vec<String> = items.iter().map(text).collect();
            texts.sort();
            Value::from(texts)
        }
        ("setintersection", [Value::Array(first), rest @ ..]) => set(kept(first, rest, true)),
        ("setsubtract", [Value::Array(first), rest @ ..]) => set(kept(first, rest, false)),
        ("setproduct", lists) => return Some(Ok(product(lists))),
        ("range", arguments) => return Some(Ok(range(arguments))),
        ("coalesce", values) => {
            let first = values
                .iter()
                .find(|value| !value.is_null() && value.as_str() != Some(""));
            return Some(first.cloned().map(Some).ok_or(Mistake));
        }
        ("one", [Value::Array(items)]) => match items.as_slice() {
            [] => Value::Null,
            [only] => only.clone(),
            _ => return Some(Err(Mistake)),
        },
        _ => return None,
    };
    Some(Ok(Some(result)))
}

/// Functions that only depend on the shape of their arguments; parts of those may be unknown.
fn shaped(name: &str, arguments: &[Value]) -> Option<CallResult> {
    let result = match (name, arguments) {
        ("tolist", [Value::Array(items)]) => Value::Array(items.clone()),
        ("list", items) => Value::Array(items.to_vec()),
        ("toset", [Value::Array(items)]) => set(items.clone()),
        ("setunion", lists) => set(concat(lists)?),
        ("concat", lists) => Value::Array(concat(lists)?),
        ("flatten", [Value::Array(items)]) => {
            let mut flat = Vec::new();
            flatten(items, &mut flat);
            Value::Array(flat)
        }
        ("compact", [Value::Array(items)]) => Value::Array(
            items
                .iter()
                .filter(|item| !item.is_null() && item.as_str() != Some(""))
                .cloned()
                .collect(),
        ),
        ("distinct", [Value::Array(items)]) => distinct(items),
        ("reverse", [Value::Array(items)]) => Value::Array(items.iter().rev().cloned().collect()),
        ("slice", [Value::Array(items), from, to]) => {
            let bounds = index(from).zip(index(to));
            let slice = bounds.and_then(|(from, to)| items.get(from..to));
            return Some(
                slice
                    .map(|slice| Some(Value::from(slice.to_vec())))
                    .ok_or(Mistake),
            );
        }
        ("length", [Value::Array(items)]) => Value::from(items.len()),
        ("length", [Value::Object(map)]) => Value::from(map.len()),
        ("keys", [Value::Object(map)]) => map.keys().cloned().map(Value::String).collect(),
        ("values", [Value::Object(map)]) => map.values().cloned().collect(),
        ("merge", maps) => merge(maps)?,
        ("zipmap", [Value::Array(keys), Value::Array(values)]) => {
            let pairs = keys.iter().map(text).zip(values.iter().cloned());
            Value::Object(pairs.collect())
        }
        ("map", pairs) if pairs.len() % 2 == 0 => {
            let pairs = pairs
                .chunks_exact(2)
                .map(|pair| (text(&pair[0]), pair[1].clone()));
            Value::Object(pairs.collect())
        }
        ("element", [Value::Array(items), at]) => {
            let at = index(at).and_then(|at| at.checked_rem(items.len()));
            let item = at.and_then(|at| items.get(at));
            return Some(item.cloned().map(Some).ok_or(Mistake));
        }
        ("lookup", [Value::Object(map), key, default @ ..]) if reference_in(key).is_none() => {
            let found = map.get(&text(key)).or(default.first());
            return Some(found.cloned().map(Some).ok_or(Mistake));
        }
        _ => return None,
    };
    Some(Ok(Some(result)))
}

/// Calls a function with arguments that are partly unknown.
pub(super) fn partly_known(name: &str, arguments: &[Value]) -> CallResult {
    if let Some(result) = shaped(name, arguments) {
        return result;
    }
    Ok(match (name, arguments) {
        ("contains", [Value::Array(items), value]) if reference_in(value).is_none() => {
            has(items, value).then_some(Value::Bool(true))
        }
        ("one", [Value::Array(items)]) if items.len() == 1 => items.first().cloned(),
        ("coalesce", values) => {
            let is_set = |value: &&Value| !value.is_null() && value.as_str() != Some("");
            // A list or map is set, even if parts of it are unknown.
            let is_known = |value: &&Value| {
                value.is_array() || value.is_object() || reference_in(value).is_none()
            };
            values.iter().find(is_set).filter(is_known).cloned()
        }
        // The texts around an unknown value are kept for the note about it.
        ("join", [separator, Value::Array(items)]) if reference_in(separator).is_none() => {
            let items: Vec<_> = items.iter().map(text).collect();
            Some(Value::String(items.join(&text(separator))))
        }
        ("format", [format, arguments @ ..]) if reference_in(format).is_none() => {
            super::texts::format(&text(format), arguments).map(Value::String)
        }
        _ => None,
    })
}

fn has(items: &[Value], value: &Value) -> bool {
    items
        .iter()
        .any(|item| item == value || number(item).is_some() && text(item) == text(value))
}

fn distinct(items: &[Value]) -> Value {
    let mut kept: Vec<Value> = Vec::new();
    for item in items {
        if !kept.contains(item) {
            kept.push(item.clone());
        }
    }
    Value::Array(kept)
}

/// Merges maps; null is ignored, as in Terraform.
fn merge(maps: &[Value]) -> Option<Value> {
    let mut merged = Map::new();
    for map in maps.iter().filter(|map| !map.is_null()) {
        merged.extend(map.as_object()?.clone());
    }
    Some(Value::Object(merged))
}

fn concat(lists: &[Value]) -> Option<Vec<Value>> {
    let lists: Option<Vec<_>> = lists.iter().map(Value::as_array).collect();
    Some(lists?.into_iter().flatten().cloned().collect())
}

// The recursion is as deep as the value, which the parser limits.
fn flatten(items: &[Value], flat: &mut Vec<Value>) {
    for item in items {
        match item {
            Value::Array(inner) => flatten(inner, flat),
            item => flat.push(item.clone()),
        }
    }
}

/// The items of the first list that are in all others (`wanted`), or in none of them.
fn kept(first: &[Value], others: &[Value], wanted: bool) -> Vec<Value> {
    first
        .iter()
        .filter(|item| {
            others.iter().all(|other| {
                let has = other.as_array().is_some_and(|other| other.contains(item));
                has == wanted
            })
        })
        .cloned()
        .collect()
}

fn product(lists: &[Value]) -> Option<Value> {
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for list in lists {
        let list = list.as_array()?;
        if rows.len().saturating_mul(list.len()) > MOST {
            return None;
        }
        let with =
            |row: &Vec<Value>, item: &Value| [row.as_slice(), std::slice::from_ref(item)].concat();
        rows = rows
            .iter()
            .flat_map(|row| list.iter().map(move |item| with(row, item)))
            .collect();
    }
    Some(Value::Array(rows.into_iter().map(Value::Array).collect()))
}

fn range(arguments: &[Value]) -> Option<Value> {
    let numbers: Option<Vec<f64>> = arguments.iter().map(number).collect();
    let (start, limit, step) = match numbers?.as_slice() {
        [limit] => (0.0, *limit, 1.0),
        [start, limit] => (*start, *limit, 1.0),
        [start, limit, step] => (*start, *limit, *step),
        _ => return None,
    };
    let count = ((limit - start) / step).ceil();
    if !(0.0..=MOST as f64).contains(&count) {
        return None;
    }
    (0..count as usize)
        .map(|n| from_float(start + step * n as f64))
        .collect::<Option<Vec<_>>>()
        .map(Value::Array)
}

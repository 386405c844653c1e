//! `count` and `for_each`: the instances of a block.

use serde_json::{Value, json};

use super::source::Block;
use super::translation::{Instance, Scope};
use super::value::{index, plain, reference_in};

/// Most instances of a block: those of rules of a load balancer on AWS.
const MOST: usize = 200;

enum Repeat {
    Once,
    Count(usize),
    Each(Vec<(String, Value)>),
    Unknown(String),
}

/// All instances of a block, in the order of their keys.
pub(super) fn instances<'a>(scope: &Scope<'a>, base: &str, block: &Block) -> Vec<Instance<'a>> {
    let keyed = |key: Value, scope: Scope<'a>| Instance {
        address: format!("{base}[{key}]"),
        key: Some(key),
        scope,
        assumed: None,
    };
    let once = |assumed| Instance {
        address: base.to_owned(),
        key: None,
        scope: scope.clone(),
        assumed,
    };
    match repeat(scope, block) {
        Repeat::Once => vec![once(None)],
        Repeat::Unknown(reason) => vec![once(Some(reason))],
        Repeat::Count(count) => (0..count)
            .map(|n| keyed(Value::from(n), scope.with("count", json!({ "index": n }))))
            .collect(),
        Repeat::Each(pairs) => pairs
            .into_iter()
            .map(|(key, value)| {
                let each = json!({ "key": key, "value": value });
                keyed(Value::from(key), scope.with("each", each))
            })
            .collect(),
    }
}

fn repeat(scope: &Scope<'_>, block: &Block) -> Repeat {
    if let Some(each) = block.attribute("for_each") {
        let value = scope.value(&each.expression);
        let several = each_of(&value).filter(|pairs| pairs.len() <= MOST);
        return several.map_or_else(|| unknown("for_each", &value), Repeat::Each);
    }
    let Some(count) = block.attribute("count") else {
        return Repeat::Once;
    };
    let value = scope.value(&count.expression);
    let count = index(&value).filter(|count| *count <= MOST);
    count.map_or_else(|| unknown("count", &value), Repeat::Count)
}

/// Keys and values of a map or a set of texts; `None` if a key is unknown.
fn each_of(value: &Value) -> Option<Vec<(String, Value)>> {
    let pairs: Vec<(String, Value)> = match value {
        Value::Object(map) => map.clone().into_iter().collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| Some((item.as_str()?.to_owned(), item.clone())))
            .collect::<Option<_>>()?,
        _ => return None,
    };
    let is_known = |(key, _): &(String, Value)| reference_in(&Value::from(key.as_str())).is_none();
    pairs.iter().all(is_known).then_some(pairs)
}

fn unknown(key: &str, value: &Value) -> Repeat {
    let written = reference_in(value).map_or_else(|| plain(value), str::to_owned);
    Repeat::Unknown(format!(
        "its `{key}` is `{written}`, which is not known here: taken as one"
    ))
}

//! The keys of a configuration file as a JSON Schema, for editors.
//!
//! It follows from the table of [`keys`], so that it has every key with its help, default and bounds.
//! It says less than `weir check`: what depends on several keys, and the grammar of addresses and
//! patterns, is not in it. Every text may have variables, so a number may be a text with one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::keys::{self, DefaultValue, Key, Kind, Table};
use super::units::{display_duration, display_size};

/// `${VAR}` stands for any value.
const VARIABLE: &str = r"\$\{";

/// A JSON Schema of draft 7, which all editors understand.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    for table in keys::tables() {
        definitions.insert(name(table).to_owned(), object(table));
    }
    let mut schema = object(file());
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("Weir");
    schema["description"] = json!("The configuration file of the load balancer Weir");
    definitions.remove("");
    schema["definitions"] = Value::Object(definitions);
    schema
}

/// The top level of the file, of which the tables are walked.
fn file() -> &'static Table {
    keys::tables().next().expect("the first table is the file")
}

fn name(table: &Table) -> &'static str {
    table.path
}

/// A reference to a table. A slash and a tilde would be written in another way.
fn reference(table: &Table) -> Value {
    json!({ "$ref": format!("#/definitions/{}", name(table)) })
}

fn object(table: &Table) -> Value {
    let properties: Map<String, Value> = table
        .keys
        .iter()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let required: BTreeSet<&str> = table
        .keys
        .iter()
        .filter(|key| matches!(key.default, DefaultValue::Required))
        .map(|key| key.name)
        .collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": required,
    })
}

fn property(key: &Key) -> Value {
    let mut schema = value(key);
    schema["description"] = json!(description(key));
    if let Some(default) = default(&key.default) {
        schema["default"] = default;
    }
    schema
}

/// The help, the bounds that a schema cannot say, and what holds without the key.
fn description(key: &Key) -> String {
    let mut text = key.help.to_owned();
    let bounds = match &key.kind {
        Kind::Duration(bounds) => Some(format!(
            "{} to {}",
            display_duration(*bounds.start()),
            display_duration(*bounds.end())
        )),
        Kind::Size(bounds) => Some(format!(
            "{} to {}",
            display_size(*bounds.start()),
            display_size(*bounds.end())
        )),
        Kind::Percent(bounds) => Some(format!("{}% to {}%", bounds.start(), bounds.end())),
        Kind::Value(what) | Kind::Either(what, _) => Some((*what).to_owned()),
        Kind::Count(_)
        | Kind::Number(_)
        | Kind::Flag
        | Kind::Word(_)
        | Kind::Secret(_)
        | Kind::Table(_)
        | Kind::Tables(..) => None,
    };
    if let Some(bounds) = bounds {
        text.push_str("\n\n");
        text.push_str(&bounds);
    }
    if let DefaultValue::Described(default) = key.default {
        text.push_str("\n\nDefault: ");
        text.push_str(default);
    }
    text
}

fn default(value: &DefaultValue) -> Option<Value> {
    Some(match value {
        DefaultValue::Required | DefaultValue::Described(_) => return None,
        DefaultValue::Duration(Duration::ZERO) => json!("0s"),
        DefaultValue::Duration(duration) => json!(display_duration(*duration)),
        DefaultValue::Size(bytes) => json!(display_size(*bytes)),
        DefaultValue::Count(count) => json!(count),
        DefaultValue::Percent(percent) => json!(format!("{percent}%")),
        DefaultValue::Flag(flag) => json!(flag),
        DefaultValue::Text(text) => json!(text),
    })
}

/// A text with a variable in it.
fn variable() -> Value {
    json!({ "type": "string", "pattern": VARIABLE })
}

fn or_variable(schema: &Value) -> Value {
    json!({ "anyOf": [schema, variable()] })
}

fn value(key: &Key) -> Value {
    match &key.kind {
        Kind::Duration(_) => text_of(r"^\s*([0-9.]+\s*(d|h|m|s|ms|us)\s*)+$"),
        Kind::Size(_) => text_of(r"^\s*[0-9.]+\s*(B|KB|KiB|MB|MiB|GB|GiB)\s*$"),
        Kind::Percent(_) => text_of(r"^\s*[0-9.]+\s*%\s*$"),
        Kind::Count(bounds) => {
            let number =
                json!({ "type": "integer", "minimum": bounds.start(), "maximum": bounds.end() });
            // The one count that may be a share, too.
            let share = json!({ "type": "string", "pattern": r"^\s*[0-9.]+\s*%\s*$" });
            if key.name == "min_healthy" {
                json!({ "anyOf": [number, share, variable()] })
            } else {
                or_variable(&number)
            }
        }
        Kind::Number(bounds) => or_variable(
            &json!({ "type": "number", "minimum": bounds.start(), "maximum": bounds.end() }),
        ),
        Kind::Flag => or_variable(&json!({ "type": "boolean" })),
        Kind::Word(words) => or_variable(&json!({ "enum": words() })),
        Kind::Secret(length) => or_variable(
            &json!({ "type": "string", "minLength": length.start(), "maxLength": length.end() }),
        ),
        Kind::Value(what) => described(what),
        Kind::Table(table) if table.path.ends_with(".*") => {
            json!({ "type": "object", "additionalProperties": reference(table) })
        }
        Kind::Table(table) => json!({ "allOf": [reference(table)] }),
        Kind::Tables(table, most) => {
            let mut list = json!({ "type": "array", "items": reference(table) });
            if *most < usize::MAX {
                list["maxItems"] = json!(most);
            }
            // One entry needs no list.
            json!({ "anyOf": [list, reference(table)] })
        }
        Kind::Either(what, table) => either(what, table),
    }
}

fn text_of(pattern: &str) -> Value {
    or_variable(&json!({ "type": "string", "pattern": pattern }))
}

/// What a description says about the type: a list may be a single value.
fn described(what: &str) -> Value {
    let scalar = json!(["string", "integer", "number", "boolean"]);
    let list = json!({ "type": "array", "items": { "type": scalar } });
    let table = json!({ "type": "object" });
    match what {
        what if what.contains("or a table") => {
            json!({ "anyOf": [{ "type": scalar }, list, table] })
        }
        what if what.starts_with("table of") => table,
        what if what.starts_with("list of a program") => list,
        what if what.starts_with("list of") || what.starts_with("statuses") => {
            json!({ "anyOf": [{ "type": scalar }, list] })
        }
        _ => json!({ "type": scalar }),
    }
}

fn either(what: &str, table: &Table) -> Value {
    let table = reference(table);
    if what == keys::SWITCH {
        return json!({ "anyOf": [{ "type": "boolean" }, table, variable()] });
    }
    if !what.contains("list of") {
        return json!({ "anyOf": [described(what), table] });
    }
    let one = json!({ "anyOf": [{ "type": "string" }, table] });
    json!({ "anyOf": [one, { "type": "array", "items": one }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_the_schema_with_its_help() {
        let schema = schema();
        for table in keys::tables() {
            let object = match table.path {
                "" => &schema,
                path => &schema["definitions"][path],
            };
            for key in table.keys {
                let description = object["properties"][key.name]["description"].as_str();
                let has_help = description.is_some_and(|text| text.starts_with(key.help));
                assert!(has_help, "{}", table.path_of(key));
            }
            assert_eq!(object["additionalProperties"], false, "{}", table.path);
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value, root: &Value, count: &mut usize) {
            match value {
                Value::Object(map) => {
                    if let Some(path) = map.get("$ref").and_then(Value::as_str) {
                        let name = path
                            .strip_prefix("#/definitions/")
                            .expect("within the schema");
                        assert!(root["definitions"][name].is_object(), "{path}");
                        *count += 1;
                    }
                    map.values().for_each(|inside| check(inside, root, count));
                }
                Value::Array(all) => all.iter().for_each(|inside| check(inside, root, count)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let (schema, mut count) = (schema(), 0);
        check(&schema, &schema, &mut count);
        assert!(count > 35, "{count}");
    }

    #[test]
    fn defaults_bounds_and_words_are_told() {
        let schema = schema();
        let listener = &schema["definitions"]["listener"];
        let most = &listener["properties"]["max_connections"];
        assert_eq!(most["default"], 10_000);
        assert_eq!(most["anyOf"][0]["maximum"], 10_000_000);
        let words = &listener["properties"]["protocol"]["anyOf"][0]["enum"];
        assert_eq!(words, &json!(["http1", "tcp"]));
        assert_eq!(listener["required"], json!(["bind"]));
    }
}

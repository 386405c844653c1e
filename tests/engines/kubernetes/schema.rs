//! Checks JSON values by the published schema of the API.

use std::sync::LazyLock;

use serde_json::{Map, Value};

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("schema.json")).expect("it is JSON"));

/// Checks a value by a definition. Fails with the path of the first mismatch.
pub(super) fn check(definition: &str, value: &Value) -> Result<(), String> {
    let schema = named(definition)?;
    Check { path: Vec::new() }.value(schema, value)
}

fn named(definition: &str) -> Result<&'static Value, String> {
    let found = SCHEMA["$defs"].get(definition);
    found.ok_or_else(|| format!("no schema of {definition}"))
}

struct Check {
    path: Vec<String>,
}

impl Check {
    fn value(&mut self, schema: &Value, value: &Value) -> Result<(), String> {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default();
            return self.value(named(name)?, value);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let fits = choices
                .iter()
                .filter(|each| self.value(each, value).is_ok());
            return match fits.count() {
                1 => Ok(()),
                count => self.wrong(&format!("fits {count} of the choices")),
            };
        }
        self.kind(&schema["type"], value)?;
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            return self.wrong(&format!("{value} is none of {allowed:?}"));
        }
        match value {
            Value::Object(object) => self.object(schema, object),
            Value::Array(items) => self.items(&schema["items"], items),
            Value::String(text) => self.format(&schema["format"], text),
            Value::Number(number) if schema["format"] == "int32" => {
                let fits = number.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
                if fits { Ok(()) } else { self.wrong("no int32") }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    fn object(&mut self, schema: &Value, object: &Map<String, Value>) -> Result<(), String> {
        for required in schema["required"].as_array().into_iter().flatten() {
            if !object.contains_key(required.as_str().unwrap_or_default()) {
                return self.wrong(&format!("{required} is missing"));
            }
        }
        for (key, value) in object {
            self.path.push(key.clone());
            match (
                schema["properties"].get(key),
                &schema["additionalProperties"],
            ) {
                (Some(property), _) => self.value(property, value)?,
                (None, Value::Bool(false)) => return self.wrong("no such field"),
                (None, Value::Null | Value::Bool(true)) => {}
                (None, other) => self.value(other, value)?,
            }
            self.path.pop();
        }
        Ok(())
    }

    fn items(&mut self, schema: &Value, items: &[Value]) -> Result<(), String> {
        for (index, item) in items.iter().enumerate() {
            self.path.push(index.to_string());
            self.value(schema, item)?;
            self.path.pop();
        }
        Ok(())
    }

    fn kind(&self, allowed: &Value, value: &Value) -> Result<(), String> {
        let is = |kind: &Value| match kind.as_str() {
            Some("null") => value.is_null(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some("string") => value.is_string(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            _ => false,
        };
        let fits = match allowed {
            Value::Null => true,
            Value::Array(kinds) => kinds.iter().any(is),
            kind => is(kind),
        };
        if fits {
            Ok(())
        } else {
            self.wrong(&format!("{value} is no {allowed}"))
        }
    }

    fn format(&self, format: &Value, text: &str) -> Result<(), String> {
        if format == "date-time" && text.parse::<jiff::Timestamp>().is_err() {
            return self.wrong(&format!("{text:?} is no time"));
        }
        Ok(())
    }

    fn wrong<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("{}: {what}", self.path.join(".")))
    }
}

#[test]
fn the_schema_refuses_what_the_api_would() {
    use serde_json::json;
    let scale = "io.k8s.api.autoscaling.v1.Scale";
    let lease = "io.k8s.api.coordination.v1.Lease";
    let fine = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 3}});
    assert_eq!(check(scale, &fine), Ok(()));
    let wrong = [
        (scale, json!({"kind": "Deployment"})),
        (scale, json!({"spec": {"replicas": "3"}})),
        (scale, json!({"spec": {"replicas": 3_000_000_000_u64}})),
        (scale, json!({"spec": {"replica": 3}})),
        (scale, json!([])),
        (lease, json!({"spec": {"renewTime": "yesterday"}})),
        (lease, json!({"metadata": {"annotations": {"a": 1}}})),
        ("io.k8s.api.core.v1.PodList", json!({})),
        ("io.k8s.api.core.v1.Nothing", json!({})),
    ];
    for (definition, value) in wrong {
        assert!(check(definition, &value).is_err(), "{definition}: {value}");
    }
}

//! The `OpenAPI` document is made here, from the table of operations and the types of the answers.
//! The binary has only the text: `UPDATE_GOLDEN=1` writes it anew.

use std::path::Path;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::fixture::Fixture;
use crate::admin::operation::{Access, Content, Operation, Parameter, ParameterKind};
use crate::admin::routes::OPERATIONS;
use crate::admin::{
    AutoscalingStatus, DesiredChanged, DesiredRequest, EventList, GroupList, GroupStatus,
    HistoryStatus, LineList, ListenerList, ListenerStatus, LogLevel, MaintenanceChanged,
    MaintenanceRequest, Problem, ReloadAsked, RestartAsked, Status, TargetChanged, TargetPatch,
    TargetStatus, paths,
};
use crate::explain::{Explanation, Question};

/// The types that the table names.
fn schemas() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    add::<Problem>(&mut generator);
    add::<Status>(&mut generator);
    add::<HistoryStatus>(&mut generator);
    add::<ListenerList>(&mut generator);
    add::<ListenerStatus>(&mut generator);
    add::<GroupList>(&mut generator);
    add::<GroupStatus>(&mut generator);
    add::<TargetStatus>(&mut generator);
    add::<TargetPatch>(&mut generator);
    add::<TargetChanged>(&mut generator);
    add::<AutoscalingStatus>(&mut generator);
    add::<EventList>(&mut generator);
    add::<LineList>(&mut generator);
    add::<Question>(&mut generator);
    add::<Explanation>(&mut generator);
    add::<DesiredRequest>(&mut generator);
    add::<DesiredChanged>(&mut generator);
    add::<RestartAsked>(&mut generator);
    add::<MaintenanceRequest>(&mut generator);
    add::<MaintenanceChanged>(&mut generator);
    add::<ReloadAsked>(&mut generator);
    add::<LogLevel>(&mut generator);
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Document".to_owned(), json!({ "type": "object" }));
    schemas
}

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = described(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Weir",
            "version": "1",
            "description": "What a running Weir knows, and what may be changed at run time.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn described(operation: &Operation) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters(operation),
        "responses": responses(operation.answers),
    });
    if let Some(body) = operation.body {
        described["requestBody"] = json!({
            "content": { "application/json": { "schema": reference(body) } },
        });
    }
    if operation.access == Access::Write {
        described["security"] = json!([{ "token": [] }]);
    }
    described
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let parts = operation.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({
            "name": name, "in": "path", "required": true, "schema": { "type": "string" },
        }))
    });
    let asked = operation.query.iter().map(|parameter| {
        let Parameter { name, help, kind } = parameter;
        let schema = match kind {
            ParameterKind::Text => json!({ "type": "string" }),
            ParameterKind::Number => json!({ "type": "integer", "minimum": 0 }),
            ParameterKind::Boolean => json!({ "type": "boolean" }),
        };
        json!({ "name": name, "in": "query", "description": help, "schema": schema })
    });
    parts.chain(asked).collect()
}

fn responses(answers: &[Content]) -> Value {
    let mut responses = json!({
        "default": {
            "description": "why the request was refused",
            "content": { "application/problem+json": { "schema": reference("Problem") } },
        },
    });
    for answer in answers {
        let schema = match answer.schema {
            Some(schema) => reference(schema),
            None => json!({ "type": "string" }),
        };
        let response = &mut responses[answer.status.to_string()];
        response["description"] = json!("the answer");
        response["content"][answer.media_type] = json!({ "schema": schema });
    }
    responses
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

#[test]
fn the_document_is_that_of_the_types_and_routes() {
    let document = document();
    let made = serde_json::to_string(&document).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/openapi.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(
        kept == made,
        "out of date: run this test with UPDATE_GOLDEN=1"
    );
    for operation in OPERATIONS {
        let named = operation.answers.iter().filter_map(|answer| answer.schema);
        for schema in named.chain(operation.body) {
            let known = &document["components"]["schemas"][schema];
            assert!(known.is_object(), "{schema} of {}", operation.id);
        }
    }
}

/// What a value has that its schema does not allow, or lacks.
fn faults(value: &Value, schema: &Value, document: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let beside = schema;
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        return faults(value, &together(schema.clone(), beside), document, at);
    }
    if let Some(any) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let fits = |schema| faults(value, schema, document, at).is_empty();
        let fault = || format!("{at}: {value} is none of {any:?}");
        return if any.iter().any(fits) {
            vec![]
        } else {
            vec![fault()]
        };
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return vec![],
    };
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !(types.contains(&name) || name == "integer" && types.contains(&"number")) {
        return vec![format!("{at}: {name} is none of {types:?}")];
    }
    match value {
        Value::Array(items) => {
            let each = items.iter();
            let each = each.flat_map(|item| faults(item, &schema["items"], document, at));
            each.collect()
        }
        Value::Object(fields) => fields_faults(fields, schema, document, at),
        _ => vec![],
    }
}

/// A schema with the properties that stand beside a reference to it: the tag of an enum.
fn together(mut schema: Value, beside: &Value) -> Value {
    for (name, known) in beside["properties"].as_object().into_iter().flatten() {
        schema["properties"][name] = known.clone();
    }
    schema
}

fn fields_faults(
    fields: &Map<String, Value>,
    schema: &Value,
    document: &Value,
    at: &str,
) -> Vec<String> {
    let mut found = Vec::new();
    for required in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(required.as_str().unwrap()) {
            found.push(format!("{at}: {required} is missing"));
        }
    }
    for (name, value) in fields {
        let at = format!("{at}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (known @ Value::Object(_), _) => found.extend(faults(value, known, document, &at)),
            (_, Value::Object(_)) => {}
            _ if name.is_empty() => {}
            _ if schema["properties"].is_object() => found.push(format!("{at} is not documented")),
            _ => {}
        }
    }
    found
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    let fixture = Fixture::configured().await;
    fixture.pass(0);
    fixture.fail(1, "no");
    let document = document();
    let mut checked = 0;
    for operation in OPERATIONS {
        let [
            Content {
                schema: Some(schema),
                ..
            },
            ..,
        ] = operation.answers
        else {
            continue;
        };
        // A process of tests has no log.
        let is_left_out = *schema == "Document" || operation.path == paths::LOG_LEVEL;
        if operation.access != Access::Read || is_left_out {
            continue;
        }
        let status = fixture.status().await;
        let group = &status.target_groups[0];
        let path = operation
            .path
            .replace("{listener}", &status.listeners[0].name)
            .replace("{group}", &group.name)
            .replace("{address}", &group.targets[0].address.to_string());
        let body = operation
            .body
            .map_or("", |_| r#"{"url": "/", "listener": "http"}"#);
        let (code, value) = fixture.tell(operation.method.as_str(), &path, body).await;
        assert_eq!(code, 200, "{path}: {value}");
        let faults = faults(&value, &reference(schema), &document, "");
        assert!(faults.is_empty(), "{path}: {faults:#?}");
        checked += 1;
    }
    assert!(checked > 5);
    let refused: Value = serde_json::from_str(&fixture.get("/nope").await.1).unwrap();
    assert_eq!(
        faults(&refused, &reference("Problem"), &document, ""),
        [""; 0]
    );
    let (code, served) = fixture.get(paths::OPENAPI).await;
    assert_eq!(code, 200);
    let served: Value = serde_json::from_str(&served).unwrap();
    assert!(
        served == document,
        "the document that is built in is an old one"
    );
}

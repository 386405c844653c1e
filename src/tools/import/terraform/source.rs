//! Parses Terraform files into blocks with locations.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use hcl::edit::Span;
use hcl::edit::expr::{Expression, Object, ObjectKey, ObjectValue};
use hcl::edit::parser::{Error, parse_body, parse_template};
use hcl::edit::structure::{Body, Structure};
use hcl::edit::template::StringTemplate;
use serde_json::Value;

use crate::tools::import::note::{Location, NoteKind, Notes};

/// Largest file of HCL, bytes: files written by hand are a thousandth of it.
const MAX_FILE: usize = 1024 * 1024;

/// Largest file of JSON, bytes: a state of a thousand resources has a few MiB.
const MAX_JSON: usize = 64 * 1024 * 1024;

/// Most repeated keys of one file.
const MAX_REPEATED: usize = 200;

/// `kind "label" "label" { … }`.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) kind: String,
    pub(super) labels: Vec<String>,
    pub(super) location: Location,
    pub(super) attributes: Vec<Attribute>,
    pub(super) blocks: Vec<Block>,
}

/// `key = expression`.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    pub(super) key: String,
    pub(super) location: Location,
    pub(super) expression: Rc<Expression>,
}

impl Block {
    fn new(kind: &str, labels: Vec<String>, location: Location) -> Self {
        Self {
            kind: kind.to_owned(),
            labels,
            location,
            attributes: Vec::new(),
            blocks: Vec::new(),
        }
    }

    pub(super) fn attribute(&self, key: &str) -> Option<&Attribute> {
        self.attributes
            .iter()
            .find(|attribute| attribute.key == key)
    }
}

/// Parses one file; attributes outside of its blocks are those of the result.
pub(super) fn read(name: &str, text: &str, notes: &Notes) -> Option<Block> {
    let file: Arc<str> = Arc::from(name);
    let at = |line| Location {
        file: Arc::clone(&file),
        line,
    };
    let refuse = |line, message: String| {
        notes.add(NoteKind::NotMapped, &at(line), "the whole file", message);
        None
    };
    let is_json = is_json(name, text);
    let most = if is_json { MAX_JSON } else { MAX_FILE };
    if text.len() > most {
        return refuse(1, format!("it has more than {most} bytes"));
    }
    if is_json {
        return match serde_json::from_str(text) {
            Ok(value) => Some(json(&value, name.ends_with("vars.json"), &at(1))),
            Err(error) => refuse(error.line(), format!("not JSON: {error}")),
        };
    }
    // HCL has no byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match parse(text) {
        Ok((body, text)) => {
            let lines = Lines::of(Arc::clone(&file), &text);
            let mut top = Block::new("", Vec::new(), at(1));
            fill(&mut top, &body, &lines);
            Some(top)
        }
        Err(error) => {
            let message = format!("not HCL: {}", error.message());
            refuse(error.location().line(), message)
        }
    }
}

/// Whether a file is JSON, by its name or its start: HCL does not start with a brace.
pub(super) fn is_json(name: &str, text: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "json")
        || text.trim_start().starts_with('{')
}

/// Parses HCL. Terraform accepts a repeated key in an object and the parser does not, so such a key
/// is rewritten in a form with the same meaning.
fn parse(text: &str) -> Result<(Body, String), Error> {
    let mut text = text.to_owned();
    for _ in 0..MAX_REPEATED {
        let error = match parse_body(&text) {
            Ok(body) => return Ok((body, text)),
            Err(error) => error,
        };
        let is_repeated = error.message().contains("redefined object key");
        match rewritten(&text, error.location().line(), error.location().column()) {
            Some(changed) if is_repeated => text = changed,
            _ => return Err(error),
        }
    }
    parse_body(&text).map(|body| (body, text))
}

/// The text with the key at this position in quotes or, if it has some, in parentheses.
fn rewritten(text: &str, line: usize, column: usize) -> Option<String> {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.checked_sub(1)?)
        .map(str::len)
        .sum();
    let at = start + column.checked_sub(1)?;
    let rest = text.get(at..)?;
    let (length, marks) = match rest.chars().next()? {
        '"' => (rest[1..].find('"')? + 2, ('(', ')')),
        '(' => (rest.find(')')? + 1, ('(', ')')),
        _ => {
            let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
            (rest.find(|c| !is_part(c))?, ('"', '"'))
        }
    };
    let (before, after) = (&text[..at], rest.get(length..)?);
    Some(format!(
        "{before}{}{}{}{after}",
        marks.0,
        &rest[..length],
        marks.1
    ))
}

// The parser limits the depth to 64.
fn fill(block: &mut Block, body: &Body, lines: &Lines) {
    for structure in body {
        let location = lines.location(structure.span().map(|span| span.start));
        match structure {
            Structure::Attribute(attribute) => block.attributes.push(Attribute {
                key: attribute.key.to_string(),
                location,
                expression: Rc::new(attribute.value.clone()),
            }),
            Structure::Block(inner) => {
                let labels = inner.labels.iter().map(|label| label.as_str().to_owned());
                let mut read = Block::new(&inner.ident, labels.collect(), location);
                fill(&mut read, &inner.body, lines);
                block.blocks.push(read);
            }
        }
    }
}

/// Reads Terraform's JSON syntax: a property for the kind, then one for each label.
fn json(value: &Value, is_values: bool, location: &Location) -> Block {
    let mut top = Block::new("", Vec::new(), location.clone());
    if is_values {
        fill_json(&mut top, value, location);
        return top;
    }
    for (kind, value) in entries(value).into_iter().filter(|(key, _)| *key != "//") {
        let labels = match kind {
            "resource" | "data" => 2,
            "variable" | "module" | "output" | "provider" => 1,
            _ => 0,
        };
        labelled(&mut top.blocks, kind, &[], labels, value, location);
    }
    top
}

fn labelled(
    blocks: &mut Vec<Block>,
    kind: &str,
    labels: &[String],
    missing: usize,
    value: &Value,
    location: &Location,
) {
    if missing > 0 {
        for (label, value) in entries(value) {
            let labels = [labels, &[label.to_owned()]].concat();
            labelled(blocks, kind, &labels, missing - 1, value, location);
        }
        return;
    }
    let bodies = match value {
        Value::Array(bodies) => bodies.as_slice(),
        body => std::slice::from_ref(body),
    };
    for body in bodies {
        let mut block = Block::new(kind, labels.to_vec(), location.clone());
        fill_json(&mut block, body, location);
        if kind == "dynamic" {
            block
                .attributes
                .retain(|attribute| attribute.key != "content");
            let inner = body.get("content").unwrap_or(&Value::Null);
            labelled(&mut block.blocks, "content", &[], 0, inner, location);
        }
        blocks.push(block);
    }
}

/// The properties of an object, or of all objects in a list.
fn entries(value: &Value) -> Vec<(&str, &Value)> {
    let objects = match value {
        Value::Array(objects) => objects.as_slice(),
        object => std::slice::from_ref(object),
    };
    let maps = objects.iter().filter_map(Value::as_object).flatten();
    maps.map(|(key, value)| (key.as_str(), value)).collect()
}

fn fill_json(block: &mut Block, body: &Value, location: &Location) {
    for (key, value) in body.as_object().into_iter().flatten() {
        if key == "//" {
            continue;
        }
        if key == "dynamic" {
            labelled(&mut block.blocks, key, &[], 1, value, location);
            continue;
        }
        block.attributes.push(Attribute {
            key: key.clone(),
            location: location.clone(),
            expression: Rc::new(expression(value)),
        });
    }
}

// serde_json limits the depth to 128.
fn expression(value: &Value) -> Expression {
    match value {
        Value::Null => Expression::null(),
        Value::Bool(value) => Expression::from(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Expression::from(whole),
            (None, float) => Expression::from(float.unwrap_or_default()),
        },
        Value::String(text) => expression_of(text),
        Value::Array(items) => {
            let items: Vec<Expression> = items.iter().map(expression).collect();
            Expression::Array(items.into())
        }
        Value::Object(map) => {
            let mut object = Object::new();
            for (key, value) in map {
                let key = ObjectKey::Expression(expression_of(key));
                object.insert(key, ObjectValue::new(expression(value)));
            }
            Expression::Object(object)
        }
    }
}

/// A text of the JSON syntax, which may be a template.
fn expression_of(text: &str) -> Expression {
    match parse_template(text) {
        Ok(template) if text.contains("${") || text.contains("%{") => {
            Expression::from(StringTemplate::from(template))
        }
        _ => Expression::from(text),
    }
}

/// The offsets at which the lines of a file start.
struct Lines {
    file: Arc<str>,
    starts: Vec<usize>,
}

impl Lines {
    fn of(file: Arc<str>, text: &str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(breaks).collect();
        Self { file, starts }
    }

    fn location(&self, at: Option<usize>) -> Location {
        let at = at.unwrap_or_default();
        Location {
            file: Arc::clone(&self.file),
            line: self.starts.partition_point(|start| *start <= at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_key_is_rewritten() {
        let (body, text) = parse("a = {\n  x = 1\n  x = 2\n  \"x\" = 3\n  x = 4\n}\n").unwrap();
        assert_eq!(body.len(), 1);
        assert_eq!(text.lines().count(), 6);
    }
}

//! A block with its values, from HCL or JSON.

use std::rc::Rc;

use hcl::edit::expr::Expression;
use serde_json::{Value, json};

use super::eval::pairs;
use super::source::Block;
use super::translation::Scope;
use super::value::{reference_in, unresolved};
use crate::tools::import::note::Location;

/// The key of a block in place of a dynamic block with unknown content.
pub(super) const DYNAMIC: &str = "dynamic";

/// A key with its value.
#[derive(Debug)]
pub(super) struct NodeAttribute {
    pub(super) key: String,
    pub(super) location: Location,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) location: Location,
    pub(super) attributes: Vec<NodeAttribute>,
    pub(super) blocks: Vec<(String, Rc<Node>)>,
}

impl Node {
    pub(super) fn of_block(block: &Block, scope: &Scope<'_>) -> Self {
        let attributes = block.attributes.iter().map(|attribute| {
            let value = scope.value(&attribute.expression);
            scope.module.translation.keep(&value);
            NodeAttribute {
                key: attribute.key.clone(),
                location: attribute.location.clone(),
                value,
            }
        });
        let mut blocks = Vec::new();
        for inner in &block.blocks {
            if inner.kind == "dynamic" {
                unroll(inner, scope, &mut blocks);
            } else {
                blocks.push((inner.kind.clone(), Rc::new(Self::of_block(inner, scope))));
            }
        }
        Self {
            location: block.location.clone(),
            attributes: attributes.collect(),
            blocks,
        }
    }

    pub(super) fn of_json(value: &Value, location: &Location) -> Self {
        let attributes =
            value
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, value)| NodeAttribute {
                    key: key.clone(),
                    location: location.clone(),
                    value: value.clone(),
                });
        Self {
            location: location.clone(),
            attributes: attributes.collect(),
            blocks: Vec::new(),
        }
    }

    pub(super) fn attribute(&self, key: &str) -> Option<&Value> {
        self.attributes
            .iter()
            .find(|attribute| attribute.key == key)
            .map(|attribute| &attribute.value)
    }

    /// The inner blocks of a kind, including objects, which are blocks in JSON.
    pub(super) fn blocks(&self, kind: &str) -> Vec<Rc<Node>> {
        let mut found: Vec<Rc<Node>> = self
            .blocks
            .iter()
            .filter(|(name, _)| name == kind)
            .map(|(_, block)| Rc::clone(block))
            .collect();
        let objects = match self.attribute(kind) {
            Some(Value::Array(objects)) => objects.as_slice(),
            Some(object @ Value::Object(_)) => std::slice::from_ref(object),
            _ => &[],
        };
        for object in objects.iter().filter(|object| object.is_object()) {
            found.push(Rc::new(Self::of_json(object, &self.location)));
        }
        found
    }
}

fn unroll(dynamic: &Block, scope: &Scope<'_>, blocks: &mut Vec<(String, Rc<Node>)>) {
    let Some(kind) = dynamic.labels.first() else {
        return;
    };
    let content = dynamic.blocks.iter().find(|block| block.kind == "content");
    let (Some(each), Some(content)) = (dynamic.attribute("for_each"), content) else {
        return;
    };
    let iterator = match dynamic.attribute("iterator").map(|it| &*it.expression) {
        Some(Expression::Variable(name)) => name.to_string(),
        Some(Expression::String(name)) => name.as_str().to_owned(),
        _ => kind.clone(),
    };
    let collection = scope.value(&each.expression);
    let Some(pairs) = pairs(&collection) else {
        if collection.is_null() {
            return;
        }
        let reference = reference_in(&collection).unwrap_or("something else than a list");
        let unknown = NodeAttribute {
            key: DYNAMIC.to_owned(),
            location: dynamic.location.clone(),
            value: unresolved(reference),
        };
        let node = Node {
            location: dynamic.location.clone(),
            attributes: vec![unknown],
            blocks: Vec::new(),
        };
        blocks.push((kind.clone(), Rc::new(node)));
        return;
    };
    for (key, value) in pairs {
        let scope = scope.with(&iterator, json!({ "key": key, "value": value }));
        blocks.push((kind.clone(), Rc::new(Node::of_block(content, &scope))));
    }
}

//! A block with its values, whatever it was written in.

use std::rc::Rc;

use hcl::edit::expr::Expression;
use serde_json::{Value, json};

use super::eval::{Scope, pairs};
use super::source::Block;
use super::value::{reference_in, unresolved};
use crate::tools::import::note::Place;

/// The key of a block that stands for a dynamic one of which it is not known what it makes.
pub(super) const DYNAMIC: &str = "dynamic";

#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) attributes: Vec<(String, Place, Value)>,
    pub(super) blocks: Vec<(String, Rc<Node>)>,
}

impl Node {
    pub(super) fn of_block(block: &Block, scope: &Scope<'_>) -> Self {
        let attributes = block.attributes.iter().map(|attribute| {
            let value = scope.value(&attribute.expression);
            scope.module.world.keep(&value);
            (attribute.key.clone(), attribute.place.clone(), value)
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
            place: block.place.clone(),
            attributes: attributes.collect(),
            blocks,
        }
    }

    pub(super) fn of_json(value: &Value, place: &Place) -> Self {
        let entries = value.as_object().into_iter().flatten();
        let attribute =
            |(key, value): (&String, &Value)| (key.clone(), place.clone(), value.clone());
        Self {
            place: place.clone(),
            attributes: entries.map(attribute).collect(),
            blocks: Vec::new(),
        }
    }

    pub(super) fn attribute(&self, key: &str) -> Option<&Value> {
        let found = self.attributes.iter().find(|(name, _, _)| name == key);
        found.map(|(_, _, value)| value)
    }

    /// The blocks of a kind. Objects count as such: JSON writes blocks so.
    pub(super) fn blocks(&self, kind: &str) -> Vec<Rc<Node>> {
        let blocks = self.blocks.iter().filter(|(name, _)| name == kind);
        let mut found: Vec<Rc<Node>> = blocks.map(|(_, block)| Rc::clone(block)).collect();
        let attribute = self.attributes.iter().find(|(name, _, _)| name == kind);
        let objects = match attribute.map(|(_, _, value)| value) {
            Some(Value::Array(objects)) => objects.as_slice(),
            Some(object @ Value::Object(_)) => std::slice::from_ref(object),
            _ => &[],
        };
        for object in objects.iter().filter(|object| object.is_object()) {
            found.push(Rc::new(Self::of_json(object, &self.place)));
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
        let unknown = (
            DYNAMIC.to_owned(),
            dynamic.place.clone(),
            unresolved(reference),
        );
        let node = Node {
            place: dynamic.place.clone(),
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

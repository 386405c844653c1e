//! Reads one block: every key of it is read, known to be useless, or becomes a note.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::Value;

use super::node::{DYNAMIC, Node};
use super::value::{self, boolean, plain, reference_in, whole_reference};
use crate::tools::import::note::{Location, NoteKind, Notes};

/// Keys of any block that mean nothing to a load balancer.
const META: &[&str] = &[
    "account_id",
    "arn",
    "arn_suffix",
    "count",
    "depends_on",
    "dns_name",
    "for_each",
    "id",
    "lifecycle",
    "name",
    "name_prefix",
    "owner_id",
    "provider",
    "region",
    "tags",
    "tags_all",
    "timeouts",
    "vpc_id",
    "zone_id",
];

/// The type, address and other names of a resource.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) kind: String,
    pub(super) address: String,
    /// Its ARN and id, if a state has them.
    pub(super) ids: Vec<String>,
}

/// A block that is being read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    node: Rc<Node>,
    notes: &'a Notes,
    named: Rc<Vec<Named>>,
    /// Its name in notes: `aws_lb_listener.http default_action`.
    subject: String,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        node: Rc<Node>,
        notes: &'a Notes,
        named: Rc<Vec<Named>>,
        subject: String,
    ) -> Self {
        Self {
            node,
            notes,
            named,
            subject,
            read: RefCell::default(),
        }
    }

    pub(super) fn location(&self) -> &Location {
        &self.node.location
    }

    /// The value of a key; `None` if it is missing or `null`.
    pub(super) fn value(&self, key: &str) -> Option<Value> {
        self.read.borrow_mut().insert(key.to_owned());
        let value = self.node.attribute(key)?;
        Some(value.clone()).filter(|value| !value.is_null())
    }

    /// The value of a key; an unresolved reference becomes a note.
    fn known(&self, key: &str) -> Option<Value> {
        let value = self.value(key)?;
        if let Some(reference) = reference_in(&value) {
            self.not_mapped(
                key,
                format!("`{key}` is `{reference}`, which is not known here"),
            );
            return None;
        }
        Some(value)
    }

    /// A text; `None` if it is missing or empty, as JSON writes missing texts.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let value = self.known(key)?;
        if value.is_array() || value.is_object() {
            return self.wrong(key, "text");
        }
        Some(value::text(&value)).filter(|text| !text.is_empty())
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        let value = self.known(key)?;
        if value.as_str() == Some("") {
            return None;
        }
        let number = value::number(&value);
        number.or_else(|| self.wrong(key, "a number"))
    }

    /// A whole number that is not negative.
    pub(super) fn count(&self, key: &str) -> Option<u32> {
        let number = self.number(key)?;
        if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
            return Some(number as u32);
        }
        self.wrong(key, "a whole number")
    }

    /// A whole number; one outside of the bounds is moved to the next bound with a note.
    pub(super) fn bounded(&self, key: &str, least: u32, most: u32) -> Option<u32> {
        let count = self.count(key)?;
        let bounded = count.clamp(least, most);
        if bounded != count {
            let message = format!("`{key}` is {count}, {bounded} instead");
            self.not_mapped(key, message);
        }
        Some(bounded)
    }

    pub(super) fn port(&self, key: &str) -> Option<u16> {
        let count = self.count(key)?;
        let port = u16::try_from(count).ok().filter(|port| *port > 0);
        port.or_else(|| self.wrong(key, "a port"))
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        let value = self.known(key)?;
        boolean(&value).or_else(|| self.wrong(key, "true or false"))
    }

    /// The texts of a list; unresolved ones become notes.
    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for item in self.items(key) {
            match reference_in(&item) {
                Some(reference) => {
                    let message = format!("`{key}` has `{reference}`, which is not known here");
                    self.not_mapped(key, message);
                }
                None => texts.push(value::text(&item)),
            }
        }
        texts
    }

    /// The addresses of the resources of a type that a key names; other items become notes.
    pub(super) fn references(&self, key: &str, kind: &str) -> Vec<String> {
        let mut names = Vec::new();
        for item in self.items(key) {
            if let Some(address) = self.address_of(&item, kind) {
                names.push(address);
                continue;
            }
            let written = reference_in(&item).map_or_else(|| plain(&item), str::to_owned);
            let message = format!("`{key}` is `{written}`, and that is no {kind} of these files");
            self.not_mapped(key, message);
        }
        names
    }

    pub(super) fn reference(&self, key: &str, kind: &str) -> Option<String> {
        self.references(key, kind).into_iter().next()
    }

    /// The address of the resource of a type that a value names.
    pub(super) fn address_of(&self, value: &Value, kind: &str) -> Option<String> {
        let of_kind = || self.named.iter().filter(|named| named.kind == kind);
        let found = if let Some(reference) = whole_reference(value) {
            let written = canonical(reference);
            let is_exact = |named: &&Named| {
                let rest = written.strip_prefix(&*canonical(&named.address));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            // If a block makes several resources, a reference without a key names all of them.
            let is_instance = |named: &&Named| {
                let address = canonical(&named.address);
                let base = address.rsplit_once('[').map_or(&*address, |(base, _)| base);
                written
                    .strip_prefix(base)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            of_kind()
                .find(is_exact)
                .or_else(|| of_kind().find(is_instance))
        } else {
            let text = value.as_str()?;
            of_kind().find(|named| named.ids.iter().any(|id| id == text))
        };
        found.map(|named| named.address.clone())
    }

    pub(super) fn items(&self, key: &str) -> Vec<Value> {
        let mut items = Vec::new();
        flatten(self.value(key).unwrap_or_default(), &mut items);
        items
    }

    /// The inner blocks of a kind.
    pub(super) fn blocks(&self, kind: &str) -> Vec<Section<'a>> {
        self.read.borrow_mut().insert(kind.to_owned());
        let blocks = self.node.blocks(kind).into_iter();
        blocks
            .map(|node| {
                let subject = format!("{} {kind}", self.subject);
                Section::new(node, self.notes, Rc::clone(&self.named), subject)
            })
            .collect()
    }

    /// The first inner block of a kind; further ones become notes.
    pub(super) fn block(&self, kind: &str) -> Option<Section<'a>> {
        let mut blocks = self.blocks(kind).into_iter();
        let first = blocks.next();
        for more in blocks {
            more.drop_whole("only the first of them is taken over");
        }
        first
    }

    /// Adds a note that a key is not taken over.
    pub(super) fn not_mapped(&self, key: &str, message: impl Into<String>) {
        let location = self.location_of(key);
        self.notes
            .add(NoteKind::NotMapped, location, &self.subject, message);
    }

    /// Adds a note that the whole block is not taken over, and none about its keys.
    pub(super) fn drop_whole(self, message: impl Into<String>) {
        self.notes.add(
            NoteKind::NotMapped,
            &self.node.location,
            &self.subject,
            message,
        );
    }

    /// Adds a note that the whole block is not needed.
    pub(super) fn not_needed(self, message: impl Into<String>) {
        self.notes.add(
            NoteKind::NotNeeded,
            &self.node.location,
            &self.subject,
            message,
        );
    }

    /// Adds a note that Weir does not need a key.
    pub(super) fn useless(&self, key: &str, message: impl Into<String>) {
        let location = self.location_of(key);
        self.notes
            .add(NoteKind::NotNeeded, location, &self.subject, message);
    }

    /// Adds notes about every key that was not read; those in `useless` are not needed. Returns
    /// whether there were no others.
    pub(super) fn finish(self, useless: &[&str]) -> bool {
        let read = self.read.borrow();
        let attributes = self
            .node
            .attributes
            .iter()
            .filter(|attribute| !is_nothing(&attribute.value))
            .map(|attribute| (&attribute.key, &attribute.location, Some(&attribute.value)));
        let blocks = self
            .node
            .blocks
            .iter()
            .map(|(kind, block)| (kind, &block.location, None));
        let mut skipped: Vec<&str> = Vec::new();
        let mut complete = true;
        for (key, location, value) in attributes.chain(blocks) {
            let is_known = read.contains(key) || META.contains(&key.as_str());
            if is_known || skipped.contains(&key.as_str()) {
                continue;
            }
            if useless.contains(&key.as_str()) {
                skipped.push(key);
                continue;
            }
            let message = match (key.as_str(), value.and_then(reference_in)) {
                (DYNAMIC, Some(each)) => {
                    format!("a dynamic block of `{each}`, which is not known here")
                }
                (key, _) => format!("`{key}` has no counterpart"),
            };
            self.notes
                .add(NoteKind::NotMapped, location, &self.subject, message);
            complete = false;
        }
        if !skipped.is_empty() {
            let message = format!("no use for `{}`", skipped.join("`, `"));
            self.notes.add(
                NoteKind::NotNeeded,
                &self.node.location,
                &self.subject,
                message,
            );
        }
        complete
    }

    fn wrong<T>(&self, key: &str, expected: &str) -> Option<T> {
        let written = self.node.attribute(key).map(plain).unwrap_or_default();
        self.not_mapped(key, format!("`{key}` is `{written}`, not {expected}"));
        None
    }

    fn location_of(&self, key: &str) -> &Location {
        let attribute = self.node.attributes.iter().find(|own| own.key == key);
        let block = self.node.blocks.iter().find(|(kind, _)| kind == key);
        attribute
            .map(|attribute| &attribute.location)
            .or(block.map(|(_, block)| &block.location))
            .unwrap_or(&self.node.location)
    }
}

/// Whether JSON writes a missing key so.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

fn flatten(value: Value, items: &mut Vec<Value>) {
    match value {
        Value::Null => {}
        Value::Array(inner) => inner.into_iter().for_each(|value| flatten(value, items)),
        value => items.push(value),
    }
}

/// Replaces `aws_alb…`, an older name of `aws_lb…`.
pub(super) fn canonical(written: &str) -> String {
    match written.rsplit_once("aws_alb") {
        Some((before, rest))
            if (before.is_empty() || before.ends_with('.'))
                && (rest.is_empty() || rest.starts_with(['_', '.'])) =>
        {
            format!("{before}aws_lb{rest}")
        }
        _ => written.to_owned(),
    }
}

//! Reading one block: every key of it is read, known to be of no use, or listed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::Value;

use super::node::{DYNAMIC, Node};
use super::value::{self, boolean, plain, reference_in, whole_reference};
use crate::tools::import::note::{NoteKind, Notes, Place};

/// What any block of Terraform may have and no load balancer cares about.
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

/// The address of a resource, its type and what else names it.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) kind: String,
    pub(super) address: String,
    /// Its ARN and the like, which a state knows.
    pub(super) ids: Vec<String>,
}

/// A block that is being read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    node: Rc<Node>,
    notes: &'a Notes,
    named: Rc<Vec<Named>>,
    /// How people find it: `aws_lb_listener.http`, ` default_action`.
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

    pub(super) fn place(&self) -> &Place {
        &self.node.place
    }

    /// The value of a key; `None` if it is not there or `null`.
    pub(super) fn value(&self, key: &str) -> Option<Value> {
        self.read.borrow_mut().insert(key.to_owned());
        let value = self.node.attribute(key)?;
        Some(value.clone()).filter(|value| !value.is_null())
    }

    /// The same without references that cannot be resolved, which are listed.
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

    /// A text; `None` too if it is empty, as JSON has it for what is not there.
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

    /// A whole number that is moved to within bounds, which is listed.
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

    /// The texts of a list; those that cannot be resolved are listed.
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

    /// The addresses of the resources of a type that a key names; others are listed.
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
            let is_it = |named: &&Named| {
                let rest = written.strip_prefix(&*canonical(&named.address));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            // Where the files make several, a reference without a key is one to all of them.
            let is_one = |named: &&Named| {
                let address = canonical(&named.address);
                let base = address.rsplit_once('[').map_or(&*address, |(base, _)| base);
                written
                    .strip_prefix(base)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            of_kind().find(is_it).or_else(|| of_kind().find(is_one))
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

    /// The blocks of a kind in this one.
    pub(super) fn blocks(&self, kind: &str) -> Vec<Section<'a>> {
        self.read.borrow_mut().insert(kind.to_owned());
        let blocks = self.node.blocks(kind).into_iter();
        let section = |node| {
            let subject = format!("{} {kind}", self.subject);
            Section::new(node, self.notes, Rc::clone(&self.named), subject)
        };
        blocks.map(section).collect()
    }

    /// The only block of a kind; further ones are listed.
    pub(super) fn block(&self, kind: &str) -> Option<Section<'a>> {
        let mut blocks = self.blocks(kind).into_iter();
        let first = blocks.next();
        for more in blocks {
            more.drop_whole("only the first of them is taken over");
        }
        first
    }

    /// Lists that a key cannot be taken over.
    pub(super) fn not_mapped(&self, key: &str, message: impl Into<String>) {
        let place = self.place_of(key);
        self.notes
            .add(NoteKind::NotMapped, place, &self.subject, message);
    }

    /// Lists the whole block, with no word about its keys.
    pub(super) fn drop_whole(self, message: impl Into<String>) {
        self.notes.add(
            NoteKind::NotMapped,
            &self.node.place,
            &self.subject,
            message,
        );
    }

    /// Lists the whole block as of no use.
    pub(super) fn not_needed(self, message: impl Into<String>) {
        self.notes.add(
            NoteKind::NotNeeded,
            &self.node.place,
            &self.subject,
            message,
        );
    }

    /// Lists a key that Weir has no use for.
    pub(super) fn useless(&self, key: &str, message: impl Into<String>) {
        let place = self.place_of(key);
        self.notes
            .add(NoteKind::NotNeeded, place, &self.subject, message);
    }

    /// Lists every key that has not been read, those of `useless` as that, and says whether
    /// there was none but those.
    pub(super) fn finish(self, useless: &[&str]) -> bool {
        let read = self.read.borrow();
        let attributes = self.node.attributes.iter();
        let attributes = attributes.filter(|(_, _, value)| !is_nothing(value));
        let keys = attributes.map(|(key, place, value)| (key, place, Some(value)));
        let blocks = self.node.blocks.iter();
        let kinds = blocks.map(|(kind, block)| (kind, &block.place, None));
        let mut skipped: Vec<&str> = Vec::new();
        let mut complete = true;
        for (key, place, value) in keys.chain(kinds) {
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
                .add(NoteKind::NotMapped, place, &self.subject, message);
            complete = false;
        }
        if !skipped.is_empty() {
            let message = format!("no use for `{}`", skipped.join("`, `"));
            self.notes.add(
                NoteKind::NotNeeded,
                &self.node.place,
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

    fn place_of(&self, key: &str) -> &Place {
        let attribute = self.node.attributes.iter().find(|(name, _, _)| name == key);
        let block = self.node.blocks.iter().find(|(name, _)| name == key);
        let place = attribute.map(|(_, place, _)| place);
        place
            .or(block.map(|(_, block)| &block.place))
            .unwrap_or(&self.node.place)
    }
}

/// What JSON has for a key that is not there.
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

/// `aws_alb…` is an older name of `aws_lb…`.
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

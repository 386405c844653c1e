//! Reading one block: every key of it is read, known to be of no use, or listed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::Value;

use super::scope::{self, Scope, reference_in};
use super::source::Block;
use crate::import::note::{NoteKind, Notes, Place};

/// What any block of Terraform may have and no load balancer cares about.
const META: [&str; 9] = [
    "depends_on",
    "lifecycle",
    "name",
    "name_prefix",
    "provider",
    "region",
    "tags",
    "tags_all",
    "timeouts",
];

/// A block that is being read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    block: &'a Block,
    scope: Rc<Scope>,
    notes: &'a Notes,
    /// How people find it: `aws_lb_listener.http`, ` default_action`.
    subject: String,
    read: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        block: &'a Block,
        scope: Rc<Scope>,
        notes: &'a Notes,
        subject: String,
    ) -> Self {
        Self {
            block,
            scope,
            notes,
            subject,
            read: RefCell::default(),
        }
    }

    /// One of those that its `for_each` makes.
    pub(super) fn instance(&self, key: &str, value: &Value) -> Self {
        let scope = Rc::new(self.scope.within(key, value));
        let subject = format!("{}[\"{key}\"]", self.subject);
        let instance = Self::new(self.block, scope, self.notes, subject);
        instance.value("for_each");
        instance
    }

    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    /// The value of a key; `None` if it is not there or `null`.
    pub(super) fn value(&self, key: &str) -> Option<Value> {
        let attribute = self.block.attributes.iter().find(|at| at.key == key)?;
        self.read.borrow_mut().insert(&attribute.key);
        let value = self.scope.value(&attribute.expression);
        Some(value).filter(|value| !value.is_null())
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

    pub(super) fn text(&self, key: &str) -> Option<String> {
        let value = self.known(key)?;
        if value.is_array() || value.is_object() {
            return self.wrong(key, "text");
        }
        Some(scope::text(&value))
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        let value = self.known(key)?;
        let number = scope::number(&value);
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

    pub(super) fn port(&self, key: &str) -> Option<u16> {
        let count = self.count(key)?;
        let port = u16::try_from(count).ok().filter(|port| *port > 0);
        port.or_else(|| self.wrong(key, "a port"))
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        match self.known(key)? {
            Value::Bool(value) => Some(value),
            Value::String(text) if text == "true" => Some(true),
            Value::String(text) if text == "false" => Some(false),
            _ => self.wrong(key, "true or false"),
        }
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
                None => texts.push(scope::text(&item)),
            }
        }
        texts
    }

    /// The resources of a type that a key names; others are listed.
    pub(super) fn references(&self, key: &str, kind: &str) -> Vec<String> {
        let mut names = Vec::new();
        for item in self.items(key) {
            match resource(&item) {
                Some((found, name)) if found == kind => names.push(name),
                _ => {
                    let written =
                        reference_in(&item).map_or_else(|| scope::text(&item), str::to_owned);
                    let message =
                        format!("`{key}` is `{written}`, and that is no {kind} of these files");
                    self.not_mapped(key, message);
                }
            }
        }
        names
    }

    pub(super) fn reference(&self, key: &str, kind: &str) -> Option<String> {
        self.references(key, kind).into_iter().next()
    }

    fn items(&self, key: &str) -> Vec<Value> {
        match self.value(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(value) => vec![value],
        }
    }

    /// The blocks of a kind in this one.
    pub(super) fn blocks(&self, kind: &str) -> Vec<Section<'a>> {
        let of_kind = self.block.blocks.iter().filter(|block| block.kind == kind);
        let section = |block: &'a Block| {
            self.read.borrow_mut().insert(&block.kind);
            let subject = format!("{} {kind}", self.subject);
            Section::new(block, Rc::clone(&self.scope), self.notes, subject)
        };
        of_kind.map(section).collect()
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
            &self.block.place,
            &self.subject,
            message,
        );
    }

    /// Lists the whole block as of no use.
    pub(super) fn not_needed(self, message: impl Into<String>) {
        self.notes.add(
            NoteKind::NotNeeded,
            &self.block.place,
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
        let keys = self.block.attributes.iter().map(|at| (&at.key, &at.place));
        let kinds = self
            .block
            .blocks
            .iter()
            .map(|block| (&block.kind, &block.place));
        let mut skipped: Vec<&str> = Vec::new();
        let mut complete = true;
        for (key, place) in keys.chain(kinds) {
            if read.contains(key.as_str()) || skipped.contains(&key.as_str()) {
                continue;
            }
            if useless.contains(&key.as_str()) || META.contains(&key.as_str()) {
                skipped.push(key);
                continue;
            }
            let message = match key.as_str() {
                "dynamic" => "a dynamic block is not unrolled".to_owned(),
                key => format!("`{key}` has no counterpart"),
            };
            self.notes
                .add(NoteKind::NotMapped, place, &self.subject, message);
            complete = false;
        }
        if !skipped.is_empty() {
            let message = format!("no use for `{}`", skipped.join("`, `"));
            self.notes.add(
                NoteKind::NotNeeded,
                &self.block.place,
                &self.subject,
                message,
            );
        }
        complete
    }

    fn wrong<T>(&self, key: &str, expected: &str) -> Option<T> {
        let written = self.block.attributes.iter().find(|at| at.key == key);
        let written = written.map_or("", |at| at.written.as_str());
        self.not_mapped(key, format!("`{key}` is `{written}`, not {expected}"));
        None
    }

    fn place_of(&self, key: &str) -> &'a Place {
        let attribute = self.block.attributes.iter().find(|at| at.key == key);
        let block = self.block.blocks.iter().find(|block| block.kind == key);
        let place = attribute.map(|at| &at.place);
        place
            .or(block.map(|block| &block.place))
            .unwrap_or(&self.block.place)
    }
}

/// Type and name of the resource that an unresolved reference is about.
pub(super) fn resource(value: &Value) -> Option<(String, String)> {
    let mut parts = reference_in(value)?.split('.');
    let (kind, name) = (parts.next()?, parts.next()?);
    let name = name.split('[').next().unwrap_or(name);
    Some((scope::kind(kind), name.to_owned()))
}

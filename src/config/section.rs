//! One table of the file: its values by key, and its unknown keys.

use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::context::Context;
use super::keys::{self, Key, Table, Words};
use super::node::Node;
use super::others;
use super::problem::{Code, Problem, Severity};
use super::span::Span;
use super::suggest::nearest;

/// Most unknown keys of one table that are taken for slips of known ones.
const MAX_SLIPS: usize = 50;

/// A table of the file; its unknown keys have been reported.
pub(super) struct Section<'a> {
    pub(super) cx: &'a Context<'a>,
    table: &'static Table,
    /// Its full name, empty at the top of the file.
    pub(super) key: String,
    /// Its header or, if inline, the whole of it.
    pub(super) span: Span,
    values: &'a DeTable<'a>,
}

impl<'a> Node<'a> {
    /// The value as the table of its key, if it is one. Reports nothing: its own reader does.
    pub(super) fn table(&self) -> Option<Section<'a>> {
        let DeValue::Table(values) = self.value else {
            return None;
        };
        Some(Section {
            cx: self.cx,
            table: self.spec.kind.table()?,
            key: self.key.clone(),
            span: self.span,
            values,
        })
    }

    /// The value as a table of a known kind; its unknown keys are reported.
    pub(super) fn section(&self, table: &'static Table) -> Option<Section<'a>> {
        if let DeValue::Table(values) = self.value {
            return Some(Section::open(self.cx, table, &self.key, self.span, values));
        }
        let example: Vec<_> = table
            .names()
            .take(2)
            .map(|key| format!("{key} = ..."))
            .collect();
        let help = format!(
            "write a table: {} = {{ {} }}",
            self.name(),
            example.join(", ")
        );
        self.refuse_type("a table", help)
    }
}

impl<'a> Section<'a> {
    /// The file itself.
    pub(super) fn root(cx: &'a Context<'a>, values: &'a DeTable<'a>) -> Self {
        Self::open(cx, &keys::FILE, "", Span::default(), values)
    }

    fn open(
        cx: &'a Context<'a>,
        table: &'static Table,
        key: &str,
        span: Span,
        values: &'a DeTable<'a>,
    ) -> Self {
        let section = Self {
            cx,
            table,
            key: key.to_owned(),
            span,
            values,
        };
        section.refuse_unknown_keys();
        section
    }

    /// The row of a key.
    pub(super) fn spec(&self, key: &str) -> Option<&'static Key> {
        self.table.key(key)
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        self.value(key, key)
    }

    /// The value that is written under `name`, as the value of `key`.
    fn value(&self, key: &str, name: &str) -> Option<Node<'a>> {
        let Some(spec) = self.table.key(key) else {
            unreachable!("`{key}` is not in the table of keys");
        };
        let value = self.values.get(name)?;
        Some(Node::new(self.cx, self.join(key), spec, value))
    }

    /// The value of a key in a table of this one, if both are there. The table's own reader
    /// has checked its keys.
    pub(super) fn child(&self, table: &str, key: &str) -> Option<Node<'a>> {
        let parent = self.get(table)?;
        let DeValue::Table(inside) = parent.value else {
            return None;
        };
        let spec = parent.spec.kind.table()?.key(key)?;
        let value = inside.get(key)?;
        Some(Node::new(
            self.cx,
            format!("{}.{key}", parent.key),
            spec,
            value,
        ))
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, key: &str, help: &str) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() && !self.is_meant(key) {
            let message = format!("`{key}` is missing in {}", self.heading());
            self.error(Code::MissingKey, key, message, help);
        }
        node
    }

    /// What a reader makes of a key: `Some(None)` if the key is not there, `None` if its value is
    /// wrong.
    #[allow(clippy::option_option)] // absent, wrong and right are three cases
    pub(super) fn optional<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Node<'a>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.get(key) {
            Some(node) => read(&node).map(Some),
            None => Some(None),
        }
    }

    /// What a reader makes of a key, or the default of the key; `None` if its value is wrong.
    pub(super) fn text(
        &self,
        key: &str,
        read: impl FnOnce(&Node<'a>) -> Option<String>,
    ) -> Option<String> {
        let given = self.optional(key, read)?;
        Some(given.unwrap_or_else(|| self.table.text(key).to_owned()))
    }

    /// The values of all keys that are there but these, in the order of the table of keys.
    pub(super) fn given_but(&self, keys: &[&str]) -> Vec<Node<'a>> {
        let others = self.table.names().filter(|key| !keys.contains(key));
        others.filter_map(|key| self.get(key)).collect()
    }

    /// The values of those of some keys that are there, in the order of the keys.
    pub(super) fn given(&self, keys: &[&str]) -> Vec<Node<'a>> {
        keys.iter().filter_map(|key| self.get(key)).collect()
    }

    /// Whether an unknown key was probably meant to be this one. It has been reported as such, so
    /// that the right one is not reported as missing.
    pub(super) fn is_meant(&self, key: &str) -> bool {
        let mut slips = self.unknown_keys().take(MAX_SLIPS);
        slips.any(|(name, _)| self.meaning(name) == Some(key))
    }

    /// The value of an unknown key that was probably meant to be this one, under the right name:
    /// what it holds is read, so that its name is all that is wrong with it.
    pub(super) fn meant(&self, key: &str) -> Option<Node<'a>> {
        let mut slips = self.unknown_keys().take(MAX_SLIPS);
        let (name, _) = slips.find(|(name, _)| self.meaning(name) == Some(key))?;
        self.value(key, name)
    }

    /// Which key of this table an unknown one probably stands for.
    fn meaning(&self, name: &str) -> Option<&'static str> {
        self.table
            .synonym(name)
            .or_else(|| nearest(name, self.table.names()))
    }

    /// Keys that do not belong here.
    pub(super) fn unknown_keys(&self) -> impl Iterator<Item = (&'a str, Span)> {
        self.values
            .keys()
            .map(|key| (&**key.get_ref(), Span::from(key.span())))
            .filter(|(name, _)| self.table.key(name).is_none())
    }

    /// All entries of a table of the operator's names, in the order of the file.
    pub(super) fn names(node: &Node<'a>) -> Vec<(String, Span, Node<'a>)> {
        let DeValue::Table(table) = node.value else {
            return Vec::new();
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
            .into_iter()
            .map(|(key, value)| {
                let name = key.get_ref().to_string();
                let child = Node::new(node.cx, format!("{}.{name}", node.key), node.spec, value);
                (name, Span::from(key.span()), child)
            })
            .collect()
    }

    /// Reports an error about this table, or about a key it lacks.
    pub(super) fn error(&self, code: Code, key: &str, message: String, help: &str) {
        let key = if key.is_empty() {
            self.key.clone()
        } else {
            self.join(key)
        };
        let help = Some(help.to_owned()).filter(|help| !help.is_empty());
        let span = Some(self.span).filter(|_| !self.is_file());
        let severity = Severity::Error;
        self.cx
            .report(Problem::new(severity, code, key, message, help, span));
    }

    /// A duration, or the default of its key.
    pub(super) fn duration(&self, key: &str) -> Duration {
        self.duration_or(key, self.table.duration(key))
    }

    /// A duration, or a default that depends on other keys.
    pub(super) fn duration_or(&self, key: &str, default: Duration) -> Duration {
        self.get(key)
            .and_then(|node| node.duration())
            .unwrap_or(default)
    }

    /// A whole number, or the default of its key.
    pub(super) fn count<T: TryFrom<i64>>(&self, key: &str) -> T {
        let Ok(default) = T::try_from(self.table.count(key)) else {
            unreachable!("the default of `{key}` does not fit its type");
        };
        self.count_or(key, default)
    }

    /// A whole number, or a default that depends on other keys.
    pub(super) fn count_or<T: TryFrom<i64>>(&self, key: &str, default: T) -> T {
        self.get(key)
            .and_then(|node| node.count())
            .unwrap_or(default)
    }

    /// A size in bytes, or the default of its key.
    pub(super) fn size(&self, key: &str) -> usize {
        let given = self.get(key).and_then(|node| node.size());
        usize::try_from(given.unwrap_or(self.table.size(key))).unwrap_or(usize::MAX)
    }

    /// A share in percent, or the default of its key.
    pub(super) fn percent(&self, key: &str) -> u8 {
        let given = self.get(key).and_then(|node| node.percent());
        given.unwrap_or(self.table.percent(key))
    }

    /// `true` or `false`, or the default of its key.
    pub(super) fn flag(&self, key: &str) -> bool {
        let given = self.get(key).and_then(|node| node.boolean());
        given.unwrap_or(self.table.flag(key))
    }

    /// One of a few words, or the default of its key.
    pub(super) fn word<T: Words>(&self, key: &str) -> T {
        let given = self.get(key).and_then(|node| node.word());
        given.unwrap_or_else(|| self.default_word(key))
    }

    /// The default of a word.
    pub(super) fn default_word<T: Words>(&self, key: &str) -> T {
        let Some(default) = T::of(self.table.text(key)) else {
            unreachable!("the default of `{key}` is none of its words");
        };
        default
    }

    /// What messages call this table.
    pub(super) fn heading(&self) -> String {
        self.table.heading(self.group())
    }

    /// The name of the group that this table is in.
    fn group(&self) -> Option<&str> {
        let name = self.key.strip_prefix("target_group.")?;
        name.split('.').next()
    }

    fn join(&self, key: &str) -> String {
        if self.key.is_empty() {
            return key.to_owned();
        }
        format!("{}.{key}", self.key)
    }

    fn is_file(&self) -> bool {
        self.table.path.is_empty()
    }

    fn refuse_unknown_keys(&self) {
        for (name, span) in self.unknown_keys() {
            let place = (Severity::Error, Code::UnknownKey, Some(span));
            self.cx.report_with(place, &self.join(name), || {
                let at = if self.is_file() { "at" } else { "in" };
                let message = format!("unknown key `{name}` {at} {}", self.heading());
                (message, self.way_out(name))
            });
        }
    }

    /// What to do with a key that does not belong here: first what is certain (a
    /// synonym, the same word in the table around or below), then what is similar.
    fn way_out(&self, name: &str) -> String {
        if let Some(known) = self.table.synonym(name) {
            return format!("Weir calls it {}", self.as_written(known));
        }
        if let Some(sentence) = self.sentence(name) {
            return sentence;
        }
        let has = |table: &&Table| table.key(name).is_some();
        if let Some(down) = self.table.children().find(has) {
            return format!("it belongs in {}", down.heading(self.group()));
        }
        if let Some(up) = self.table.around().find(has) {
            return self.belongs_up(up);
        }
        let longer: Vec<_> = self
            .table
            .names()
            .filter(|key| key.split('_').any(|part| part == name))
            .map(|key| format!("`{key}`"))
            .collect();
        if !longer.is_empty() {
            return format!("did you mean {}?", longer.join(" or "));
        }
        if let Some(sibling) = nearest(name, self.table.names()) {
            return format!("did you mean {}?", self.as_written(sibling));
        }
        self.elsewhere(name)
    }

    /// A table further away that has such a key, or a similar one.
    fn elsewhere(&self, name: &str) -> String {
        // Outside of a group the words of the providers of replicas are not meant.
        let in_group = self.group().is_some();
        let similar = keys::tables()
            .filter(|table| in_group || !table.path.contains(".replicas."))
            .filter_map(|table| Some((table, nearest(name, table.names())?)));
        match similar.min_by_key(|(_, key)| *key != name) {
            Some((table, key)) if key == name => {
                format!("it belongs in {}", table.heading(self.group()))
            }
            Some((table, key)) => format!(
                "did you mean `{key}`? that belongs in {}",
                table.heading(self.group())
            ),
            None => {
                let known: Vec<_> = self.table.names().collect();
                format!("known here are: {}", known.join(", "))
            }
        }
    }

    /// What is said about a key in particular, unless it is a typing error.
    fn sentence(&self, name: &str) -> Option<String> {
        if let Some(sentence) = others::sentence(self.table.path, name) {
            return Some(sentence.to_owned());
        }
        let near = nearest(name, self.table.names());
        if near.is_some_and(|key| key.len().abs_diff(name.len()) <= 1) {
            return None;
        }
        let mut parts = self.table.names().flat_map(|key| key.split('_'));
        let is_below = self.table.path == keys::RULE.path
            && self.table.children().any(|table| table.key(name).is_some());
        if parts.any(|part| part == name) || is_below {
            return None;
        }
        let remark = others::remark(self.table.path, name)?;
        Some(remark.replace("NAME", self.group().unwrap_or("NAME")))
    }

    /// A key as it stands in the file; at its top level listeners and groups are headers.
    fn as_written(&self, key: &str) -> String {
        match key {
            "listener" if self.is_file() => "[[listener]]".to_owned(),
            "target_group" if self.is_file() => "[target_group.NAME]".to_owned(),
            _ => format!("`{key}`"),
        }
    }

    fn belongs_up(&self, up: &'static Table) -> String {
        let is_parent = self
            .table
            .parent()
            .is_some_and(|parent| parent.path == up.path);
        let levels = if is_parent {
            "it belongs one level up"
        } else {
            "it belongs further up"
        };
        let is_top = up.path.is_empty();
        let at = if is_top { "at" } else { "in" };
        let place = format!("{levels}, {at} {}", up.heading(self.group()));
        let by_header = self.cx.text[self.span.start..].starts_with('[');
        if !by_header {
            return place;
        }
        let above = if is_top {
            "the first header".to_owned()
        } else {
            format!("line {}", self.cx.line(self.span))
        };
        format!(
            "{place};\n\
             in TOML a key written after a header is inside that table: move it above {above}"
        )
    }
}

/// Reports that keys of which one alone may be there exclude each other.
pub(super) fn exclude_each_other(given: &[Node<'_>], help: &str) {
    if let [first, others @ ..] = given {
        for other in others {
            let (first, second) = (first.name(), other.name());
            let message = format!("`{first}` and `{second}` exclude each other");
            other.error(Code::Conflict, message, help);
        }
    }
}

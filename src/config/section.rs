//! One table of the file: which keys it has, and which it should not have.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeTable;

use super::context::Context;
use super::node::Node;
use super::others;
use super::problem::{Code, Problem, Severity};
use super::schema::Place;
use super::span::Span;
use super::suggest::nearest;

/// Most unknown keys of one table that are taken for slips of known ones.
const MAX_SLIPS: usize = 50;

/// A table whose keys have been checked against the schema.
pub(super) struct Section<'a> {
    pub(super) cx: &'a Context<'a>,
    place: Place,
    /// Its full name, empty at the top of the file.
    pub(super) key: String,
    /// Its header or, if inline, the whole of it.
    pub(super) span: Span,
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// The file itself.
    pub(super) fn root(cx: &'a Context<'a>, table: &'a DeTable<'a>) -> Self {
        let root = Self {
            cx,
            place: Place::File,
            key: String::new(),
            span: Span::default(),
            table,
        };
        root.refuse_unknown_keys();
        root
    }

    pub(super) fn open(node: &Node<'a>, place: Place, table: &'a DeTable<'a>) -> Self {
        let section = Self {
            cx: node.cx,
            place,
            key: node.key.clone(),
            span: node.span,
            table,
        };
        section.refuse_unknown_keys();
        section
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        debug_assert!(
            self.place.keys().contains(&key),
            "{key} is not in the schema"
        );
        let value = self.table.get(key)?;
        Some(Node::new(self.cx, self.join(key), value))
    }

    /// The value of a key in a table of this one, if both are there. The table's own reader
    /// has checked its keys.
    pub(super) fn child(&self, table: &str, key: &str) -> Option<Node<'a>> {
        let parent = self.get(table)?;
        let toml::de::DeValue::Table(inside) = parent.value else {
            return None;
        };
        let value = inside.get(key)?;
        Some(Node::new(self.cx, format!("{}.{key}", parent.key), value))
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

    /// Whether an unknown key was probably meant to be this one. It has been reported
    /// as such; that the right one is missing would be the same news again.
    pub(super) fn is_meant(&self, key: &str) -> bool {
        let mut slips = self.unknown_keys().take(MAX_SLIPS);
        slips.any(|(name, _)| self.meaning(name) == Some(key))
    }

    /// The value of an unknown key that was probably meant to be this one, under the right name:
    /// what it holds is read, so that its name is all that is wrong with it.
    pub(super) fn meant(&self, key: &str) -> Option<Node<'a>> {
        let mut slips = self.unknown_keys().take(MAX_SLIPS);
        let (name, _) = slips.find(|(name, _)| self.meaning(name) == Some(key))?;
        let value = self.table.get(name)?;
        Some(Node::new(self.cx, self.join(key), value))
    }

    /// Which key of this table an unknown one probably stands for.
    fn meaning(&self, name: &str) -> Option<&'static str> {
        let similar = || nearest(name, self.place.keys().iter().copied());
        self.place.synonym(name).or_else(similar)
    }

    /// Keys that do not belong here.
    pub(super) fn unknown_keys(&self) -> impl Iterator<Item = (&'a str, Span)> {
        let known = self.place.keys();
        let keys = self
            .table
            .keys()
            .map(|key| (&**key.get_ref(), Span::from(key.span())));
        keys.filter(move |(name, _)| !known.contains(name))
    }

    /// All entries of a table whose keys are names, in the order of the file.
    pub(super) fn names(node: &Node<'a>) -> Vec<(String, Span, Node<'a>)> {
        let toml::de::DeValue::Table(table) = node.value else {
            return Vec::new();
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
            .into_iter()
            .map(|(key, value)| {
                let name = key.get_ref().to_string();
                let child = Node::new(node.cx, format!("{}.{name}", node.key), value);
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
        let span = Some(self.span).filter(|_| self.place != Place::File);
        let severity = Severity::Error;
        self.cx
            .report(Problem::new(severity, code, key, message, help, span));
    }

    /// A duration, or its default.
    pub(super) fn duration(
        &self,
        key: &str,
        bounds: &RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let given = self.get(key).and_then(|node| node.duration(bounds));
        given.unwrap_or(default)
    }

    /// A whole number, or its default.
    pub(super) fn integer<T>(&self, key: &str, bounds: RangeInclusive<T>, default: T) -> T
    where
        T: Copy + PartialOrd + TryFrom<i128> + std::fmt::Display,
    {
        let given = self.get(key).and_then(|node| node.integer(bounds));
        given.unwrap_or(default)
    }

    /// A size, or its default.
    pub(super) fn size(&self, key: &str, bounds: &RangeInclusive<u64>, default: u64) -> u64 {
        let given = self.get(key).and_then(|node| node.size(bounds));
        given.unwrap_or(default)
    }

    /// A share in percent, or its default.
    pub(super) fn percent(&self, key: &str, bounds: &RangeInclusive<u8>, default: u8) -> u8 {
        let given = self.get(key).and_then(|node| node.percent(bounds));
        given.unwrap_or(default)
    }

    /// How people find this table.
    pub(super) fn heading(&self) -> String {
        self.place.heading(self.group())
    }

    /// The group this table is of or in.
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

    fn refuse_unknown_keys(&self) {
        for (name, span) in self.unknown_keys() {
            let place = (Severity::Error, Code::UnknownKey, Some(span));
            self.cx.report_with(place, &self.join(name), || {
                let at = if self.place == Place::File {
                    "at"
                } else {
                    "in"
                };
                let message = format!("unknown key `{name}` {at} {}", self.heading());
                (message, self.way_out(name))
            });
        }
    }

    /// What to do with a key that does not belong here: first what is certain (a
    /// synonym, the same word in the table around or below), then what is similar.
    fn way_out(&self, name: &str) -> String {
        if let Some(known) = self.place.synonym(name) {
            return format!("Weir calls it {}", self.as_written(known));
        }
        if let Some(sentence) = self.sentence(name) {
            return sentence;
        }
        let has = |place: &Place| place.keys().contains(&name);
        let below = |place: &&Place| place.parent() == Some(self.place);
        if let Some(down) = Place::ALL.iter().filter(below).find(|place| has(place)) {
            return format!("it belongs in {}", down.heading(self.group()));
        }
        let mut around = std::iter::successors(self.place.parent(), |place| place.parent());
        if let Some(up) = around.find(has) {
            return self.belongs_up(up);
        }
        let siblings = self.place.keys().iter();
        let part = siblings.filter(|key| key.split('_').any(|part| part == name));
        let longer: Vec<_> = part.map(|key| format!("`{key}`")).collect();
        if !longer.is_empty() {
            return format!("did you mean {}?", longer.join(" or "));
        }
        if let Some(sibling) = nearest(name, self.place.keys().iter().copied()) {
            return format!("did you mean {}?", self.as_written(sibling));
        }
        // Outside of a group nobody looks for the words of those who run replicas.
        let in_group = self.group().is_some();
        let all = Place::ALL.iter();
        let near = all.filter(|place| in_group || place.parent() != Some(Place::Replicas));
        let elsewhere = near.filter_map(|place| {
            let key = nearest(name, place.keys().iter().copied())?;
            Some((key != name, *place, key))
        });
        match elsewhere.min_by_key(|(differs, _, _)| *differs) {
            Some((false, place, _)) => {
                format!("it belongs in {}", place.heading(self.group()))
            }
            Some((true, place, key)) => {
                format!(
                    "did you mean `{key}`? that belongs in {}",
                    place.heading(self.group())
                )
            }
            None => format!("known here are: {}", self.place.keys().join(", ")),
        }
    }

    /// What is said about a key in particular, unless it is a typing error.
    fn sentence(&self, name: &str) -> Option<String> {
        const ONE_LEVEL_UP: &str =
            "all target tracking of a group has one: `out_cooldown` and `in_cooldown` one level up";
        let special = match (self.place, name) {
            (Place::TargetGroup, "name") => {
                "a group has its name in its header: [target_group.NAME]"
            }
            (Place::TargetTracking, "cooldown" | "scale_in_cooldown" | "scale_out_cooldown") => {
                ONE_LEVEL_UP
            }
            (Place::Autoscaling, "cooldown") => "did you mean `out_cooldown` or `in_cooldown`?",
            (Place::Autoscaling | Place::TargetTracking, "disable_scale_in" | "DisableScaleIn") => {
                "write scale_in = false"
            }
            _ => "",
        };
        if !special.is_empty() {
            return Some(special.to_owned());
        }
        let near = nearest(name, self.place.keys().iter().copied());
        if near.is_some_and(|key| key.len().abs_diff(name.len()) <= 1) {
            return None;
        }
        let keys = self.place.keys().iter();
        let is_part = keys.flat_map(|key| key.split('_')).any(|part| part == name);
        let below = Place::ALL
            .iter()
            .filter(|place| place.parent() == Some(self.place));
        let is_below = self.place == Place::Rule
            && below.into_iter().any(|place| place.keys().contains(&name));
        if is_part || is_below {
            return None;
        }
        let remark = others::remark(self.place, name)?;
        Some(remark.replace("NAME", self.group().unwrap_or("NAME")))
    }

    /// A key as it stands in the file; at its top level listeners and groups are headers.
    fn as_written(&self, key: &str) -> String {
        match (self.place, key) {
            (Place::File, "listener") => "[[listener]]".to_owned(),
            (Place::File, "target_group") => "[target_group.NAME]".to_owned(),
            _ => format!("`{key}`"),
        }
    }

    fn belongs_up(&self, up: Place) -> String {
        let levels = if self.place.parent() == Some(up) {
            "it belongs one level up"
        } else {
            "it belongs further up"
        };
        let place = up.heading(self.group());
        let place = match up {
            Place::File => format!("{levels}, at {place}"),
            _ => format!("{levels}, in {place}"),
        };
        let by_header = self.cx.text[self.span.start..].starts_with('[');
        if !by_header {
            return place;
        }
        let above = match up {
            Place::File => "the first header".to_owned(),
            _ => format!("line {}", self.cx.line(self.span)),
        };
        format!(
            "{place};\n\
             in TOML a key written after a header is inside that table: move it above {above}"
        )
    }
}

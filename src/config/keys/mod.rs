//! Every key of a configuration file, in one table for each table of the file.
//!
//! A row says what a key is called, what its value is and within which bounds, what holds
//! without it, what it sets, and which words of other products mean it. The readers take bounds
//! and defaults from here, unknown keys are refused and guessed by these names, and tests compare
//! `config/full.toml` and the reference in `config/README.md` with the rows. A new key is a row
//! here, a field of its type and the reader of that field.

mod action;
mod autoscaling;
mod bounds;
mod filter;
mod health;
mod key;
mod listener;
mod replicas;
mod rule;
mod target_group;
mod top;
mod upstream;
mod words;

use std::borrow::Cow;
use std::sync::LazyLock;

pub(super) use action::{FIXED_RESPONSE, REDIRECT, WEIGHTED_GROUP};
pub(super) use autoscaling::{
    AUTOSCALING, CUSTOM_METRIC, PREDICTIVE, SCHEDULED, STEP, STEP_SCALING, TARGET_TRACKING,
};
pub(super) use bounds::{DAY, METRIC, PHASE, REPLICAS as MOST_REPLICAS, most_replicas};
pub(super) use filter::{FIELD_EDITS, REWRITE, REWRITE_PREFIX, REWRITE_REGEX};
pub(super) use health::{HEALTH, OUTLIER};
pub(super) use key::SWITCH;
pub use key::{DefaultValue, Key, Kind, Table};
pub(super) use listener::{
    ACME, CERTIFICATE, CLIENT, CLIENT_AUTH, EAB, FORWARDED, LISTENER, RATE_KEY, RATE_LIMIT, TLS,
};
pub(super) use replicas::{DOCKER, ECS, EXEC, KUBERNETES, REPLICAS, SWARM, WARM_UP, WEBHOOK};
pub(super) use rule::{RULE, THEN, WHEN};
pub(super) use target_group::{
    HASH, HASH_BODY, LEAST_SLOW_START, QUEUE, STICKY, TARGET, TARGET_GROUP, TARGET_TLS,
    ZERO_QUEUE_LENGTH, ZERO_QUEUE_TIMEOUT,
};
pub(super) use top::{ADMIN, FILE, LOG, OTLP, SHUTDOWN, TRACING};
pub(super) use upstream::{RETRY, UPSTREAM};
pub(super) use words::{
    CookieKind, OutputKind, PredictiveMode, ProbeKind, ProbeMethod, Words, names,
};

static TABLES: LazyLock<Vec<&'static Table>> = LazyLock::new(|| {
    let mut tables: Vec<&'static Table> = vec![&FILE];
    let mut next = 0;
    while let Some(table) = tables.get(next) {
        let mut new: Vec<&Table> = Vec::new();
        for inside in table.keys.iter().filter_map(|key| key.kind.table()) {
            if tables
                .iter()
                .chain(&new)
                .all(|known| known.path != inside.path)
            {
                new.push(inside);
            }
        }
        next += 1;
        tables.splice(next..next, new);
    }
    tables
});

/// Every table of the file, each before those inside it; one that several keys hold is there once.
pub fn tables() -> impl Iterator<Item = &'static Table> + Clone {
    TABLES.iter().copied()
}

impl Table {
    /// The dotted path of one of its keys.
    pub fn path_of(&self, key: &Key) -> String {
        let dot = if self.path.is_empty() { "" } else { "." };
        format!("{}{dot}{}", self.path, key.name)
    }

    /// The table that this one is in, by their paths.
    pub(super) fn parent(&self) -> Option<&'static Self> {
        let mut rest = self.path;
        while !rest.is_empty() {
            rest = rest.rsplit_once('.').map_or("", |(rest, _)| rest);
            if let Some(parent) = tables().find(|table| table.path == rest) {
                return Some(parent);
            }
        }
        None
    }

    /// The tables around it, the nearest first.
    pub(super) fn around(&self) -> impl Iterator<Item = &'static Self> {
        std::iter::successors(self.parent(), |table| table.parent())
    }

    /// The tables inside it.
    pub(super) fn children(&self) -> impl Iterator<Item = &'static Self> {
        tables().filter(|table| {
            table
                .parent()
                .is_some_and(|parent| parent.path == self.path)
        })
    }

    /// What messages call it; `group` is the group that it is in.
    pub(super) fn heading(&self, group: Option<&str>) -> String {
        if self.heading.is_empty() {
            format!("[{}]", self.path.replace('*', group.unwrap_or("NAME")))
        } else {
            self.heading.to_owned()
        }
    }

    /// The key that other products call by this word.
    pub(super) fn synonym(&self, word: &str) -> Option<&'static str> {
        let word = snake_case(word);
        self.keys
            .iter()
            .find(|key| key.synonyms.split_whitespace().any(|known| known == word))
            .map(|key| key.name)
    }
}

/// The keys of that name, of whichever table.
pub(super) fn named(name: &str) -> impl Iterator<Item = &'static Key> {
    tables().filter_map(move |table| table.key(name))
}

/// The names of all keys that hold a secret.
pub(super) fn secrets() -> impl Iterator<Item = &'static str> {
    tables()
        .flat_map(|table| table.keys)
        .filter(|key| matches!(key.kind, Kind::Secret(_)))
        .map(|key| key.name)
}

/// `MinCapacity`, as AWS's API has it, and `min-capacity` as `min_capacity`.
pub(super) fn snake_case(word: &str) -> Cow<'_, str> {
    if !word.contains(|c: char| c.is_ascii_uppercase() || "-. ".contains(c)) {
        return Cow::Borrowed(word);
    }
    let mut snake = String::new();
    let mut after_lower = false;
    for c in word.chars() {
        if c.is_ascii_uppercase() && after_lower {
            snake.push('_');
        }
        let c = if "-. ".contains(c) { '_' } else { c };
        after_lower = !c.is_ascii_uppercase() && c != '_';
        snake.push(c.to_ascii_lowercase());
    }
    Cow::Owned(snake)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_table_stands_where_its_path_says() {
        let holders = || tables().flat_map(|table| table.keys);
        let held = || holders().filter_map(|key| key.kind.table());
        assert!(
            tables().count() > 35,
            "found only {} tables",
            tables().count()
        );
        for table in tables() {
            for key in table.keys {
                // The name of a group is part of the path, and a table in several places has the
                // path of the first.
                let Some(inside) = key.kind.table() else {
                    continue;
                };
                let path = table.path_of(key);
                let is_shared = held().filter(|held| held.path == inside.path).count() > 1;
                let is_here = inside.path.trim_end_matches(".*") == path;
                assert!(is_here || is_shared, "{path} holds {}", inside.path);
            }
        }
    }

    #[test]
    fn a_word_of_other_products_means_one_key() {
        for table in tables() {
            let mut known: BTreeSet<_> = table.names().collect();
            assert_eq!(known.len(), table.keys.len(), "[{}]", table.path);
            for key in table.keys {
                for word in key.synonyms.split_whitespace() {
                    assert!(known.insert(word), "{} of [{}]", word, table.path);
                }
            }
        }
    }

    #[test]
    fn a_default_is_within_the_bounds_of_its_key() {
        for table in tables() {
            for key in table.keys {
                let is_legal = match (&key.kind, &key.default) {
                    (Kind::Duration(bounds), DefaultValue::Duration(value)) => {
                        bounds.contains(value)
                    }
                    (Kind::Size(bounds), DefaultValue::Size(value)) => bounds.contains(value),
                    (Kind::Count(bounds), DefaultValue::Count(value)) => bounds.contains(value),
                    (Kind::Percent(bounds), DefaultValue::Percent(value)) => bounds.contains(value),
                    (Kind::Word(words), DefaultValue::Text(word)) => words().contains(word),
                    (_, DefaultValue::Required | DefaultValue::Described(_))
                    | (Kind::Flag, DefaultValue::Flag(_))
                    | (Kind::Value(_) | Kind::Either(..), _) => true,
                    _ => false,
                };
                assert!(is_legal, "{}: {:?}", table.path_of(key), key.default);
            }
        }
    }
}

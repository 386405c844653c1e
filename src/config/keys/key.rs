//! What the table of keys is made of: a [`Table`] of the file and its [`Key`]s.
//!
//! All of it is constant data. The readers ask a table for the bounds and the default of a key
//! by its name; asking for a key that the table lacks, or for a default of another kind, is a
//! mistake in this crate and panics. Constants made of defaults fail to compile then.

use std::ops::RangeInclusive;
use std::time::Duration;

/// One table of the file.
#[derive(Debug)]
pub struct Table {
    /// The dotted path from the top of the file; `*` stands for a name of the operator's choice.
    /// A table that several keys hold, such as `redirect`, has the path of the first of them.
    pub path: &'static str,
    /// How messages name it; empty for the header `[path]`.
    pub heading: &'static str,
    /// In the order in which they are documented.
    pub keys: &'static [Key],
}

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    /// The last part of its path.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What holds where it is not written.
    pub default: DefaultValue,
    /// One line about what it sets; `config/full.toml` has the same words.
    pub help: &'static str,
    /// What other products call it: words in snake case, separated by spaces.
    pub synonyms: &'static str,
}

/// What a value is, and its bounds, both ends included.
#[derive(Debug)]
pub enum Kind {
    /// A string of numbers with units of time.
    Duration(RangeInclusive<Duration>),
    /// A string of a number with a unit, in bytes.
    Size(RangeInclusive<u64>),
    /// A whole number.
    Count(RangeInclusive<i64>),
    /// A number with or without a point.
    Number(RangeInclusive<f64>),
    /// A string of a whole number and a percent sign.
    Percent(RangeInclusive<u8>),
    /// `true` or `false`.
    Flag,
    /// One of a few words, in the order in which messages list them.
    Word(fn() -> Vec<&'static str>),
    /// A string that no message may show, of so many characters.
    Secret(RangeInclusive<usize>),
    /// What its reader understands, described.
    Value(&'static str),
    /// A table.
    Table(&'static Table),
    /// A list of tables, at most so many.
    Tables(&'static Table, usize),
    /// What is described, or a table.
    Either(&'static str, &'static Table),
}

/// What holds where a key is not written.
#[derive(Debug)]
pub enum DefaultValue {
    /// Nothing: it has to be there.
    Required,
    /// What is described, without a value of its own.
    Described(&'static str),
    /// A duration.
    Duration(Duration),
    /// Bytes.
    Size(u64),
    /// A whole number.
    Count(i64),
    /// A share in percent.
    Percent(u8),
    /// `true` or `false`.
    Flag(bool),
    /// A string.
    Text(&'static str),
}

/// The shape of [`Kind::Either`] for a table that `true` and `false` can stand for.
pub(in crate::config) const SWITCH: &str = "true or false";

/// For [`Kind::Tables`] of any number.
pub(super) const ANY: usize = usize::MAX;

impl Table {
    /// The key of that name.
    pub const fn key(&self, name: &str) -> Option<&'static Key> {
        let mut n = 0;
        while n < self.keys.len() {
            if is_same(self.keys[n].name, name) {
                return Some(&self.keys[n]);
            }
            n += 1;
        }
        None
    }

    /// The names of its keys.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.keys.iter().map(|key| key.name)
    }

    const fn default(&self, name: &str) -> &'static DefaultValue {
        match self.key(name) {
            Some(key) => &key.default,
            None => panic!("{}", name),
        }
    }

    /// The default of a duration.
    pub const fn duration(&self, name: &str) -> Duration {
        match self.default(name) {
            DefaultValue::Duration(duration) => *duration,
            _ => panic!("{}", name),
        }
    }

    /// The default of a size, in bytes.
    pub const fn size(&self, name: &str) -> u64 {
        match self.default(name) {
            DefaultValue::Size(bytes) => *bytes,
            _ => panic!("{}", name),
        }
    }

    /// The default of a whole number.
    pub const fn count(&self, name: &str) -> i64 {
        match self.default(name) {
            DefaultValue::Count(count) => *count,
            _ => panic!("{}", name),
        }
    }

    /// The default of a share, in percent.
    pub const fn percent(&self, name: &str) -> u8 {
        match self.default(name) {
            DefaultValue::Percent(percent) => *percent,
            _ => panic!("{}", name),
        }
    }

    /// The default of a flag.
    pub const fn flag(&self, name: &str) -> bool {
        match self.default(name) {
            DefaultValue::Flag(flag) => *flag,
            _ => panic!("{}", name),
        }
    }

    /// The default of a string or a word.
    pub const fn text(&self, name: &str) -> &'static str {
        match self.default(name) {
            DefaultValue::Text(text) => text,
            _ => panic!("{}", name),
        }
    }
}

/// `==` of strings, which constants cannot use.
const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut n = 0;
    while n < a.len() && n < b.len() && a[n] == b[n] {
        n += 1;
    }
    n == a.len() && n == b.len()
}

impl Kind {
    /// The table that a value may be.
    pub fn table(&self) -> Option<&'static Table> {
        match self {
            Self::Table(table) | Self::Tables(table, _) | Self::Either(_, table) => Some(table),
            Self::Duration(_)
            | Self::Size(_)
            | Self::Count(_)
            | Self::Number(_)
            | Self::Percent(_)
            | Self::Flag
            | Self::Word(_)
            | Self::Secret(_)
            | Self::Value(_) => None,
        }
    }

    /// Whether a value may be `true` or `false`.
    pub(in crate::config) fn is_flag(&self) -> bool {
        matches!(self, Self::Flag | Self::Either(SWITCH, _))
    }
}

/// A row of a table.
pub(super) const fn key(
    name: &'static str,
    kind: Kind,
    default: DefaultValue,
    help: &'static str,
) -> Key {
    Key {
        name,
        kind,
        default,
        help,
        synonyms: "",
    }
}

impl Key {
    /// The same with the words of other products.
    pub(super) const fn called(self, synonyms: &'static str) -> Self {
        Self { synonyms, ..self }
    }
}

/// The default of a duration.
pub(super) const fn secs(seconds: u64) -> DefaultValue {
    DefaultValue::Duration(Duration::from_secs(seconds))
}

/// The default of a size.
pub(super) const fn kib(kibibytes: u64) -> DefaultValue {
    DefaultValue::Size(kibibytes * 1024)
}

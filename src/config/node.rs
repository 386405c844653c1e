//! One value of the file, and how to read it as a string, a flag or a list.
//!
//! Readers report what is wrong and return `None`; nothing fails early, so that one run finds
//! everything.

use toml::Spanned;
use toml::de::DeValue;

use super::context::Context;
use super::keys::{Key, Kind, Words, names};
use super::problem::{Code, Problem, Severity};
use super::span::{Mark, Span};
use super::substitute::{SubstituteError, substitute};
use super::suggest::nearest;

/// A value with its place and its name.
#[derive(Clone)]
pub(super) struct Node<'a> {
    pub(super) cx: &'a Context<'a>,
    /// Its full name: `listener[0].rule[1].priority`.
    pub(super) key: String,
    /// Its row in the table of keys; that of the list or table for what is inside one.
    pub(super) spec: &'static Key,
    pub(super) span: Span,
    pub(super) value: &'a DeValue<'a>,
}

impl<'a> Node<'a> {
    pub(super) fn new(
        cx: &'a Context<'a>,
        key: String,
        spec: &'static Key,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Self {
        Self {
            cx,
            key,
            spec,
            span: value.span().into(),
            value: value.get_ref(),
        }
    }

    /// Whether it is a table, whatever its keys.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// The last part of its name, as the file writes it.
    pub(super) fn name(&self) -> &str {
        let last = self.key.rsplit('.').next().unwrap_or(&self.key);
        last.split('[').next().unwrap_or(last)
    }

    /// Reports an error here. `help` may be empty.
    pub(super) fn error(&self, code: Code, message: impl Into<String>, help: impl Into<String>) {
        self.report(Severity::Error, code, message.into(), help.into());
    }

    /// Reports an error here for a reader that has no value then. `help` may be empty.
    pub(super) fn refuse<T>(
        &self,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.error(code, message, help);
        None
    }

    /// Reports a warning here. `help` may be empty.
    pub(super) fn warn(&self, code: Code, message: impl Into<String>, help: impl Into<String>) {
        self.report(Severity::Warning, code, message.into(), help.into());
    }

    fn report(&self, severity: Severity, code: Code, message: String, help: String) {
        let help = Some(help).filter(|help| !help.is_empty());
        let (key, span) = (self.key.clone(), Some(self.span));
        self.cx
            .report(Problem::new(severity, code, key, message, help, span));
    }

    /// Another value with this place.
    pub(super) fn mark<T>(&self, value: T) -> Mark<T> {
        Mark {
            value,
            key: self.key.clone(),
            span: self.span,
        }
    }

    /// The values of a list; a single value is a list of one.
    pub(super) fn items(&self) -> Vec<Node<'a>> {
        let DeValue::Array(array) = self.value else {
            return vec![self.clone()];
        };
        array
            .iter()
            .enumerate()
            .map(|(n, item)| Node::new(self.cx, format!("{}[{n}]", self.key), self.spec, item))
            .collect()
    }

    /// Whether a list of tables is longer than its key allows, which is reported.
    pub(super) fn has_too_many(&self, items: &[Node<'_>]) -> bool {
        let Kind::Tables(_, most) = self.spec.kind else {
            unreachable!("`{}` is no list of tables", self.spec.name);
        };
        if items.len() <= most {
            return false;
        }
        let (name, count) = (self.name(), items.len());
        let message = format!("`{name}` has {count} entries, and {most} are the most");
        self.error(Code::OutOfRange, message, "take some out");
        true
    }

    /// The items of a list that may not be empty, read one by one. Returns `None` if one of them is
    /// wrong or there is none.
    pub(super) fn items_of<T>(&self, read: impl Fn(&Node<'a>) -> Option<T>) -> Option<Vec<T>> {
        let items = self.items();
        if items.is_empty() {
            let message = format!("`{}` is an empty list", self.name());
            self.error(
                Code::InvalidValue,
                message,
                "name at least one value, or leave it out",
            );
        }
        // All items are read, so that each is checked.
        let read: Vec<_> = items.iter().map(read).collect();
        let read: Option<Vec<_>> = read.into_iter().collect();
        read.filter(|items| !items.is_empty())
    }

    /// A string, with its variables replaced.
    pub(super) fn string(&self) -> Option<String> {
        let DeValue::String(text) = self.value else {
            let help = match self.value {
                DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                    format!("put it in quotes: \"{}\"", self.source())
                }
                _ => String::new(),
            };
            return self.refuse_type("a string", help);
        };
        self.substituted(text).map(|(text, _)| text)
    }

    /// A string that may not be empty.
    pub(super) fn text(&self) -> Option<String> {
        let text = self.string()?;
        if text.is_empty() {
            let message = format!("`{}` is empty", self.name());
            return self.refuse(
                Code::InvalidValue,
                message,
                "write a value, or leave the key out",
            );
        }
        Some(text)
    }

    /// A string that no message may show.
    pub(super) fn secret(&self) -> Option<String> {
        let DeValue::String(text) = self.value else {
            return self.refuse_type("a string", "put it in quotes");
        };
        let env = |name: &str| {
            self.cx.note(|notes| {
                notes.secrets.insert(name.to_owned());
            });
            (self.cx.around.env)(name)
        };
        let (message, help) = match substitute(text, &env) {
            Ok((text, _)) => return Some(text),
            Err(SubstituteError::Missing(name)) => (
                format!("the environment variable `{name}` is not set"),
                format!(
                    "set it, or keep the secret in a file: {}_file = \"...\"",
                    self.name()
                ),
            ),
            Err(SubstituteError::BadName(_) | SubstituteError::Unclosed) => (
                "a `${` that begins no variable".to_owned(),
                "write ${NAME}; a literal `${` is written `$${`".to_owned(),
            ),
        };
        self.refuse(Code::Variable, message, help)
    }

    /// One of a few words.
    pub(super) fn word<T: Words>(&self) -> Option<T> {
        let words = names::<T>();
        let known = format!("known are \"{}\"", words.join("\", \""));
        if !matches!(self.value, DeValue::String(_)) {
            return self.refuse_type("a string", known);
        }
        let text = self.string()?;
        if let Some(value) = T::of(&text) {
            return Some(value);
        }
        let help = match nearest(&text, words) {
            Some(word) => format!("did you mean \"{word}\"?\n{known}"),
            None => known,
        };
        let message = format!("`{text}` is not a value of `{}`", self.name());
        self.refuse(Code::InvalidValue, message, help)
    }

    /// `true` or `false`; a string counts if it came from a variable.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => return Some(*value),
            DeValue::String(text) => {
                let (text, found) = self.substituted(text)?;
                if found && let Ok(value) = text.trim().parse() {
                    return Some(value);
                }
            }
            _ => {}
        }
        self.refuse_type("true or false", "write true or false, without quotes")
    }

    /// Reports a value of another type than `expected`. `help` may be empty.
    pub(super) fn refuse_type<T>(&self, expected: &str, help: impl Into<String>) -> Option<T> {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let message = format!("`{}` must be {expected}, not {found}", self.name());
        self.refuse(Code::WrongType, message, help)
    }

    /// The value as the file writes it.
    pub(super) fn source(&self) -> &'a str {
        self.cx
            .text
            .get(self.span.start..self.span.end)
            .unwrap_or_default()
    }

    /// The text with its variables replaced, and whether there was one.
    pub(super) fn substituted(&self, text: &str) -> Option<(String, bool)> {
        let (message, help) = match substitute(text, self.cx.around.env) {
            Ok(done) => return Some(done),
            Err(SubstituteError::Missing(name)) => (
                format!("the environment variable `{name}` is not set"),
                format!("set it, or give a default: ${{{name}:-value}}"),
            ),
            Err(SubstituteError::BadName(name)) => (
                format!("`{name}` is not the name of an environment variable"),
                "write ${NAME} or ${NAME:-default}; a literal `${` is written `$${`".to_owned(),
            ),
            Err(SubstituteError::Unclosed) => (
                "a `${` without its `}`".to_owned(),
                "write ${NAME} or ${NAME:-default}; a literal `${` is written `$${`".to_owned(),
            ),
        };
        self.refuse(Code::Variable, message, help)
    }
}

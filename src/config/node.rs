//! One value of the file, and how to read it as what it should be.
//!
//! Readers report what is wrong and return `None`; nothing fails early, so one run
//! finds everything.

use toml::Spanned;
use toml::de::DeValue;

use super::context::Context;
use super::problem::{Code, Problem, Severity};
use super::schema::Place;
use super::section::Section;
use super::span::{Mark, Span};
use super::substitute::{SubstituteError, substitute};
use super::suggest::nearest;

/// A value, where it is, and what it is called.
#[derive(Clone)]
pub(super) struct Node<'a> {
    pub(super) cx: &'a Context<'a>,
    /// Its full name: `listener[0].rule[1].priority`.
    pub(super) key: String,
    pub(super) span: Span,
    pub(super) value: &'a DeValue<'a>,
}

impl<'a> Node<'a> {
    pub(super) fn new(cx: &'a Context<'a>, key: String, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self {
            cx,
            key,
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

    /// A value with this place.
    pub(super) fn mark<T>(&self, value: T) -> Mark<T> {
        Mark {
            value,
            key: self.key.clone(),
            span: self.span,
        }
    }

    /// The value as a table of a known kind; its unknown keys are reported.
    pub(super) fn section(&self, place: Place) -> Option<Section<'a>> {
        if let DeValue::Table(table) = self.value {
            return Some(Section::open(self, place, table));
        }
        let example = match place.keys() {
            [first, second, ..] => format!("{{ {first} = ..., {second} = ... }}"),
            [first] => format!("{{ {first} = ... }}"),
            [] => "{ }".to_owned(),
        };
        let help = format!("write a table: {} = {example}", self.name());
        self.wrong_type("a table", help);
        None
    }

    /// The values of a list; a single value is a list of one.
    pub(super) fn items(&self) -> Vec<Node<'a>> {
        let DeValue::Array(array) = self.value else {
            return vec![self.clone()];
        };
        let named = |(n, item)| Node::new(self.cx, format!("{}[{n}]", self.key), item);
        array.iter().enumerate().map(named).collect()
    }

    /// The items of a list that may not be empty, read one by one. `None` if one
    /// of them is broken or there is none.
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
        // All of them are read before one that failed spoils the list.
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
            self.wrong_type("a string", help);
            return None;
        };
        self.substituted(text).map(|(text, _)| text)
    }

    /// A string that may not be empty.
    pub(super) fn text(&self) -> Option<String> {
        let text = self.string()?;
        if text.is_empty() {
            let message = format!("`{}` is empty", self.name());
            self.error(
                Code::InvalidValue,
                message,
                "write a value, or leave the key out",
            );
            return None;
        }
        Some(text)
    }

    /// A string that no message may show.
    pub(super) fn secret(&self) -> Option<String> {
        let DeValue::String(text) = self.value else {
            self.wrong_type("a string", "put it in quotes");
            return None;
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
        self.error(Code::Variable, message, help);
        None
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let names = || words.iter().map(|(word, _)| *word);
        let list: Vec<_> = names().map(|word| format!("\"{word}\"")).collect();
        let known = format!("known are {}", list.join(", "));
        if !matches!(self.value, DeValue::String(_)) {
            self.wrong_type("a string", known);
            return None;
        }
        let text = self.string()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let help = match nearest(&text, names()) {
            Some(word) => format!("did you mean \"{word}\"?\n{known}"),
            None => known,
        };
        let message = format!("`{text}` is not a value of `{}`", self.name());
        self.error(Code::InvalidValue, message, help);
        None
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
        self.wrong_type("true or false", "write true or false, without quotes");
        None
    }

    pub(super) fn wrong_type(&self, expected: &str, help: impl Into<String>) {
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
        self.error(Code::WrongType, message, help);
    }

    /// The value as the file writes it.
    pub(super) fn source(&self) -> &'a str {
        let text = self.cx.text.get(self.span.start..self.span.end);
        text.unwrap_or_default()
    }

    /// Also whether there was a variable in it.
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
        self.error(Code::Variable, message, help);
        None
    }
}

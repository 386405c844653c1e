//! One value of the file, and how to read it as what it should be.
//!
//! Readers report what is wrong and return `None`; nothing fails early, so one run
//! finds everything.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::context::Context;
use super::problem::{Code, Problem, Severity};
use super::schema::Place;
use super::section::Section;
use super::span::{Mark, Span};
use super::substitute::{SubstituteError, substitute};
use super::suggest::nearest;
use super::units::{self, UnitError, display_duration, display_size};

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
        self.cx.report(Problem {
            severity,
            code,
            key: self.key.clone(),
            message,
            help: Some(help).filter(|help| !help.is_empty()),
            span: Some(self.span),
        });
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
        let (message, help) = match substitute(text, self.cx.around.env) {
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

    /// A whole number within bounds. A string counts if it came from a variable:
    /// TOML knows no variables outside of strings.
    pub(super) fn integer<T>(&self, bounds: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + PartialOrd + TryFrom<i128> + std::fmt::Display,
    {
        let (low, high) = (*bounds.start(), *bounds.end());
        let number = match self.value {
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(text) => {
                let (text, found) = self.substituted(text)?;
                if !found {
                    return self.quoted(
                        "a whole number",
                        text.trim().parse::<i128>().is_ok(),
                        &text,
                    );
                }
                let Ok(number) = text.trim().parse::<i128>() else {
                    let message = format!("`{}` is `{text}`, not a number", self.name());
                    self.error(Code::WrongType, message, "set the variable to a number");
                    return None;
                };
                Some(number)
            }
            _ => {
                let help = format!("write a whole number from {low} to {high}");
                self.wrong_type("a whole number", help);
                return None;
            }
        };
        // What does not fit is out of range too.
        let value = number.and_then(|number| T::try_from(number).ok());
        let value = value.filter(|value| bounds.contains(value));
        if value.is_none() {
            let least = T::try_from(number.unwrap_or(i128::MAX)).is_ok_and(|value| value < low)
                || number.is_some_and(|number| number < 0);
            self.out_of_range(least, &low.to_string(), &high.to_string());
        }
        value
    }

    fn quoted<T>(&self, expected: &str, is_number: bool, text: &str) -> Option<T> {
        let help = if is_number {
            format!("write it without quotes: {} = {}", self.name(), text.trim())
        } else {
            String::new()
        };
        self.wrong_type(expected, help);
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

    /// A number with or without a point.
    pub(super) fn float(&self) -> Option<f64> {
        let text = match self.value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => {
                self.wrong_type("a number", "write a number, without quotes");
                return None;
            }
        };
        text.parse().ok()
    }

    /// A number with or without a point, within bounds; a string counts if it came from a
    /// variable.
    pub(super) fn number(&self, bounds: &RangeInclusive<f64>) -> Option<f64> {
        let read = match self.value {
            DeValue::String(text) => {
                let (text, found) = self.substituted(text)?;
                if !found {
                    return self.quoted("a number", text.trim().parse::<f64>().is_ok(), &text);
                }
                let Ok(number) = text.trim().parse::<f64>() else {
                    let message = format!("`{}` is `{text}`, not a number", self.name());
                    self.error(Code::WrongType, message, "set the variable to a number");
                    return None;
                };
                number
            }
            _ => self.float()?,
        };
        if bounds.contains(&read) {
            return Some(read);
        }
        if read.is_nan() {
            let message = format!("`{}` must be a number", self.name());
            self.error(Code::OutOfRange, message, "`nan` is none");
            return None;
        }
        let (low, high) = (*bounds.start(), *bounds.end());
        self.out_of_range(read < low, &low.to_string(), &high.to_string());
        None
    }

    /// A duration within bounds.
    pub(super) fn duration(&self, bounds: &RangeInclusive<Duration>) -> Option<Duration> {
        let read = self.quantity("a duration", units::duration, units::bare_duration)?;
        if bounds.contains(&read) {
            return Some(read);
        }
        let (low, high) = (*bounds.start(), *bounds.end());
        self.out_of_range(read < low, &display_duration(low), &display_duration(high));
        None
    }

    /// A size in bytes within bounds.
    pub(super) fn size(&self, bounds: &RangeInclusive<u64>) -> Option<u64> {
        let read = self.quantity("a size", units::size, units::bare_size)?;
        if bounds.contains(&read) {
            return Some(read);
        }
        let (low, high) = (*bounds.start(), *bounds.end());
        self.out_of_range(read < low, &display_size(low), &display_size(high));
        None
    }

    /// A share within bounds, in percent.
    pub(super) fn percent(&self, bounds: &RangeInclusive<u8>) -> Option<u8> {
        let text = match self.value {
            DeValue::String(_) => self.text()?,
            DeValue::Integer(_) => {
                let help = format!("write \"{}%\"", self.source());
                self.error(Code::Unit, "a share needs a percent sign", help);
                return None;
            }
            _ => {
                let off = matches!(self.value, DeValue::Boolean(false)) && *bounds.start() == 0;
                let help = if off {
                    "\"0%\" turns it off"
                } else {
                    "write a share like \"20%\""
                };
                self.wrong_type("a share", help);
                return None;
            }
        };
        let Some(number) = text.strip_suffix('%').map(str::trim_end) else {
            let help = match text.parse::<u8>() {
                Ok(number) => format!("write \"{number}%\""),
                Err(_) => "write a share like \"20%\"".to_owned(),
            };
            self.error(Code::Unit, format!("`{text}` is not a share"), help);
            return None;
        };
        let Ok(percent) = number.parse::<i32>() else {
            let message = format!("`{text}` is not a share");
            self.error(Code::InvalidValue, message, "write a whole number: \"20%\"");
            return None;
        };
        let (low, high) = (*bounds.start(), *bounds.end());
        let read = u8::try_from(percent)
            .ok()
            .filter(|read| bounds.contains(read));
        if read.is_none() {
            let too_low = percent < i32::from(low);
            self.out_of_range(too_low, &format!("{low}%"), &format!("{high}%"));
        }
        read
    }

    fn quantity<T>(
        &self,
        noun: &str,
        read: fn(&str) -> Result<T, UnitError>,
        bare: fn(&str) -> UnitError,
    ) -> Option<T> {
        let error = match self.value {
            DeValue::String(_) => match read(&self.string()?) {
                Ok(value) => return Some(value),
                Err(error) => error,
            },
            DeValue::Integer(_) | DeValue::Float(_) => bare(self.source()),
            _ => {
                self.wrong_type(noun, bare("5").help);
                return None;
            }
        };
        self.error(Code::Unit, error.message, error.help);
        None
    }

    pub(super) fn out_of_range(&self, too_low: bool, low: &str, high: &str) {
        let message = format!("`{}` must be from {low} to {high}", self.name());
        let help = if too_low {
            format!("the least is {low}")
        } else {
            format!("the most is {high}")
        };
        self.error(Code::OutOfRange, message, help);
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
    fn source(&self) -> &'a str {
        let text = self.cx.text.get(self.span.start..self.span.end);
        text.unwrap_or_default()
    }

    fn substituted(&self, text: &str) -> Option<(String, bool)> {
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

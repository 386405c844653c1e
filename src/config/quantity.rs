//! Numbers, durations, sizes and shares: values that have bounds.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::node::Node;
use super::problem::Code;
use super::units::{self, UnitError, display_duration, display_size};

impl Node<'_> {
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
}

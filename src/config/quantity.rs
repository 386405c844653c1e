//! Numbers, durations, sizes and shares: values that have bounds.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::keys::Kind;
use super::node::Node;
use super::problem::Code;
use super::units::{self, UnitError, display_duration, display_size};

impl Node<'_> {
    /// A whole number within the bounds of its key.
    pub(super) fn count<T: TryFrom<i64>>(&self) -> Option<T> {
        let Kind::Count(bounds) = &self.spec.kind else {
            unreachable!("`{}` is no whole number", self.spec.name);
        };
        self.count_within(bounds)
    }

    /// A whole number within bounds. A string counts if it came from a variable: TOML knows no
    /// variables outside of strings.
    pub(super) fn count_within<T: TryFrom<i64>>(&self, bounds: &RangeInclusive<i64>) -> Option<T> {
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
                    return self.not_a_number(&text);
                };
                Some(number)
            }
            _ => {
                let help = format!("write a whole number from {low} to {high}");
                return self.refuse_type("a whole number", help);
            }
        };
        // What does not fit is out of range too.
        let value = number.and_then(|number| i64::try_from(number).ok());
        let value = value.filter(|value| bounds.contains(value));
        let value = value.and_then(|value| T::try_from(value).ok());
        if value.is_none() {
            let is_too_low = number.is_some_and(|number| number < i128::from(low));
            self.out_of_range(is_too_low, &low.to_string(), &high.to_string());
        }
        value
    }

    /// What a variable holds is not a number.
    fn not_a_number<T>(&self, text: &str) -> Option<T> {
        let message = format!("`{}` is `{text}`, not a number", self.name());
        self.refuse(Code::WrongType, message, "set the variable to a number")
    }

    fn quoted<T>(&self, expected: &str, is_number: bool, text: &str) -> Option<T> {
        let help = if is_number {
            format!("write it without quotes: {} = {}", self.name(), text.trim())
        } else {
            String::new()
        };
        self.refuse_type(expected, help)
    }

    /// A number with or without a point.
    pub(super) fn float(&self) -> Option<f64> {
        let text = match self.value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => {
                return self.refuse_type("a number", "write a number, without quotes");
            }
        };
        text.parse().ok()
    }

    /// A number with or without a point, within the bounds of its key.
    pub(super) fn number(&self) -> Option<f64> {
        let Kind::Number(bounds) = &self.spec.kind else {
            unreachable!("`{}` is no number", self.spec.name);
        };
        self.number_within(bounds)
    }

    /// A number with or without a point, within bounds; a string counts if it came from a
    /// variable.
    pub(super) fn number_within(&self, bounds: &RangeInclusive<f64>) -> Option<f64> {
        let read = match self.value {
            DeValue::String(text) => {
                let (text, found) = self.substituted(text)?;
                if !found {
                    return self.quoted("a number", text.trim().parse::<f64>().is_ok(), &text);
                }
                let Ok(number) = text.trim().parse::<f64>() else {
                    return self.not_a_number(&text);
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
            return self.refuse(Code::OutOfRange, message, "`nan` is none");
        }
        let (low, high) = (*bounds.start(), *bounds.end());
        self.out_of_range(read < low, &low.to_string(), &high.to_string());
        None
    }

    /// A duration within the bounds of its key.
    pub(super) fn duration(&self) -> Option<Duration> {
        let Kind::Duration(bounds) = &self.spec.kind else {
            unreachable!("`{}` is no duration", self.spec.name);
        };
        self.duration_within(bounds)
    }

    /// A duration within bounds.
    pub(super) fn duration_within(&self, bounds: &RangeInclusive<Duration>) -> Option<Duration> {
        let read = self.quantity("a duration", units::duration, units::bare_duration)?;
        if bounds.contains(&read) {
            return Some(read);
        }
        let (low, high) = (*bounds.start(), *bounds.end());
        self.out_of_range(read < low, &display_duration(low), &display_duration(high));
        None
    }

    /// A size in bytes within the bounds of its key.
    pub(super) fn size(&self) -> Option<u64> {
        let Kind::Size(bounds) = &self.spec.kind else {
            unreachable!("`{}` is no size", self.spec.name);
        };
        let read = self.quantity("a size", units::size, units::bare_size)?;
        if bounds.contains(&read) {
            return Some(read);
        }
        let (low, high) = (*bounds.start(), *bounds.end());
        self.out_of_range(read < low, &display_size(low), &display_size(high));
        None
    }

    /// A share in percent, within the bounds of its key.
    pub(super) fn percent(&self) -> Option<u8> {
        let Kind::Percent(bounds) = &self.spec.kind else {
            unreachable!("`{}` is no share", self.spec.name);
        };
        let text = match self.value {
            DeValue::String(_) => self.text()?,
            DeValue::Integer(_) => {
                let help = format!("write \"{}%\"", self.source());
                return self.refuse(Code::Unit, "a share needs a percent sign", help);
            }
            _ => {
                let off = matches!(self.value, DeValue::Boolean(false)) && *bounds.start() == 0;
                let help = if off {
                    "\"0%\" turns it off"
                } else {
                    "write a share like \"20%\""
                };
                return self.refuse_type("a share", help);
            }
        };
        let Some(number) = text.strip_suffix('%').map(str::trim_end) else {
            let help = match text.parse::<u8>() {
                Ok(number) => format!("write \"{number}%\""),
                Err(_) => "write a share like \"20%\"".to_owned(),
            };
            return self.refuse(Code::Unit, format!("`{text}` is not a share"), help);
        };
        let Ok(percent) = number.parse::<i32>() else {
            let message = format!("`{text}` is not a share");
            return self.refuse(Code::InvalidValue, message, "write a whole number: \"20%\"");
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
                return self.refuse_type(noun, bare("5").help);
            }
        };
        self.refuse(Code::Unit, error.message, error.help)
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

//! Lines whose fields have places instead of names, as other servers write them.
//!
//! What others have written is escaped as nginx does it: every byte which is not visible ASCII, a
//! quotation mark or a backslash becomes `\xHH`, so that a field ends where it seems to end. Outside
//! of quotation marks the same holds for spaces. What is not known is a hyphen.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::access_line::{is_plain_text, put_decimal};
use super::kept::{self, Times};
use crate::model::ClientAddress;

/// A line while its fields are added.
#[derive(Debug)]
pub(in crate::observe) struct PlainLine<'t> {
    text: &'t mut Vec<u8>,
    times: &'t mut Times,
}

/// Makes a line and passes it on in one piece.
pub(super) fn write(fields: impl FnOnce(&mut PlainLine<'_>), pass_on: impl FnOnce(&[u8])) {
    kept::line(|text, times| {
        fields(&mut PlainLine { text, times });
        text.push(b'\n');
        pass_on(text);
    });
}

/// The text of such a line.
#[cfg(test)]
pub(in crate::observe) fn line_in_places(fields: impl FnOnce(&mut PlainLine<'_>)) -> Vec<u8> {
    let mut written = Vec::new();
    write(fields, |line| written = line.to_vec());
    written
}

impl PlainLine<'_> {
    /// Adds a text of Weir's own as it is.
    pub(in crate::observe) fn put(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    pub(in crate::observe) fn space(&mut self) {
        self.text.push(b' ');
    }

    pub(in crate::observe) fn number(&mut self, number: impl Into<u64>) {
        put_decimal(self.text, number.into());
    }

    /// Adds a number, or a hyphen if there is none.
    pub(in crate::observe) fn number_or_hyphen(&mut self, number: Option<impl Into<u64>>) {
        match number {
            Some(number) => self.number(number),
            None => self.put("-"),
        }
    }

    /// Adds a text in which spaces are escaped too; a hyphen if it is empty.
    pub(in crate::observe) fn token(&mut self, value: &[u8]) {
        if value.is_empty() {
            self.put("-");
        }
        self.escaped(value, |byte| byte == b' ');
    }

    /// Adds a text in quotation marks; a hyphen in them if it is empty.
    pub(in crate::observe) fn quoted(&mut self, value: &[u8]) {
        self.text.push(b'"');
        self.part(if value.is_empty() { b"-" } else { value });
        self.text.push(b'"');
    }

    /// Adds a part of what stands between quotation marks.
    pub(in crate::observe) fn part(&mut self, value: &[u8]) {
        if is_plain_text(value) {
            self.text.extend_from_slice(value);
        } else {
            self.escaped(value, |_| false);
        }
    }

    fn escaped(&mut self, value: &[u8], is_odd: fn(u8) -> bool) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        for byte in value.iter().copied() {
            let is_plain = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
            if is_plain && !is_odd(byte) {
                self.text.push(byte);
            } else {
                let (high, low) = (
                    DIGITS[usize::from(byte >> 4)],
                    DIGITS[usize::from(byte & 15)],
                );
                self.text.extend_from_slice(&[b'\\', b'x', high, low]);
            }
        }
    }

    /// Adds seconds with three decimals; -1 if the moment never came.
    pub(in crate::observe) fn seconds(&mut self, time: Option<Duration>) {
        let Some(time) = time else {
            return self.put("-1");
        };
        self.number(time.as_secs());
        self.fraction(1000, time.subsec_millis());
    }

    /// Adds a time of UTC with microseconds, as in ISO 8601.
    pub(in crate::observe) fn iso_time(&mut self, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = self.times.iso(since.as_secs());
        self.text.extend_from_slice(second.as_bytes());
        self.fraction(1_000_000, since.subsec_micros());
        self.put("Z");
    }

    /// Adds a time as in the Common Log Format.
    pub(in crate::observe) fn common_time(&mut self, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = self.times.common(since.as_secs());
        self.text.push(b'[');
        self.text.extend_from_slice(second.as_bytes());
        self.text.push(b']');
    }

    /// A point and the digits of `part`, which is below `whole`, a power of ten.
    fn fraction(&mut self, whole: u32, part: u32) {
        // With a digit before them, so that none is left out, which becomes the point.
        let digits = self.text.len();
        self.number(whole + part);
        if let Some(first) = self.text.get_mut(digits) {
            *first = b'.';
        }
    }

    /// Adds the address of a client; a hyphen if it has none.
    pub(in crate::observe) fn client(&mut self, client: ClientAddress) {
        match client.canonical_ip() {
            Some(address) => self.put(&address.to_string()),
            None => self.put("-"),
        }
    }

    /// Adds address and port of a client; a hyphen if it has none.
    pub(in crate::observe) fn client_and_port(&mut self, client: ClientAddress, port: u16) {
        match client.canonical_ip() {
            Some(IpAddr::V4(address)) => self.put(&address.to_string()),
            Some(IpAddr::V6(address)) => self.put(&format!("[{address}]")),
            None => return self.put("-"),
        }
        self.put(":");
        self.number(port);
    }
}

//! The lines of the access log, written without the detour through an event: there is one for each
//! request. They look like those of events.

use std::fmt::{self, Display, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::format::LogFormat;
use super::kept;
use crate::model::{ClientAddress, Escaping, escape_json};

/// The form of the lines of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineForm {
    pub(super) format: LogFormat,
    /// Colours, for [`LogFormat::Pretty`].
    pub(super) is_coloured: bool,
}

impl LineForm {
    /// The index of what stands around names.
    fn style(self) -> usize {
        match (self.format, self.is_coloured) {
            (LogFormat::Json, _) => 0,
            (LogFormat::Pretty, false) => 1,
            (LogFormat::Pretty, true) => 2,
        }
    }
}

/// Writes a line with a message, which is [plain text](is_plain_text), and the fields that `fields`
/// adds, and passes it on in one piece.
pub(super) fn write(
    form: LineForm,
    now: SystemTime,
    message: &'static str,
    fields: impl FnOnce(&mut AccessLine<'_>),
    pass_on: impl FnOnce(&[u8]),
) {
    kept::line(|text, times| {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = times.iso(since.as_secs());
        let mut line = AccessLine {
            form,
            style: form.style(),
            text: &mut *text,
        };
        line.begin(time, since.subsec_micros(), message);
        fields(&mut line);
        line.end();
        pass_on(text);
    });
}

/// A short text that is copied in one piece of constant length, which takes a few instructions
/// instead of a call.
#[derive(Clone, Copy, Debug)]
pub(in crate::observe) struct Piece<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

/// Room for every name and what stands around it.
pub(in crate::observe) type NamePiece = Piece<40>;

impl<const N: usize> Piece<N> {
    pub(in crate::observe) const fn new(text: &str) -> Self {
        let (text, mut bytes) = (text.as_bytes(), [0; N]);
        let mut at = 0;
        while at < text.len() {
            bytes[at] = text[at];
            at += 1;
        }
        Self {
            bytes,
            length: text.len(),
        }
    }

    #[inline]
    fn put(&self, text: &mut Vec<u8>) {
        let end = text.len() + self.length;
        text.extend_from_slice(&self.bytes);
        text.truncate(end);
    }
}

/// Adds a number to a line.
#[inline]
pub(super) fn put_decimal(text: &mut Vec<u8>, number: u64) {
    match usize::try_from(number)
        .ok()
        .and_then(|number| SMALL_NUMBERS.get(number))
    {
        Some(piece) => piece.put(text),
        None => text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
    }
}

/// The numbers of which most lines are made.
static SMALL_NUMBERS: [Piece<3>; 1000] = {
    let mut numbers = [Piece::new(""); 1000];
    let mut number = 0;
    while number < numbers.len() {
        let digits = [number / 100, number / 10 % 10, number % 10];
        let length = if number < 10 {
            1
        } else if number < 100 {
            2
        } else {
            3
        };
        let mut at = 0;
        while at < length {
            numbers[number].bytes[at] = b'0' + digits[3 - length + at] as u8;
            at += 1;
        }
        numbers[number].length = length;
        number += 1;
    }
    numbers
};

/// The name of a field, with what stands around it in each form of a line; that of a text with the
/// quotation mark before its value.
#[derive(Debug)]
pub(in crate::observe) struct FieldName {
    /// By [`LineForm::style`].
    pub(in crate::observe) before_value: [NamePiece; 3],
    pub(in crate::observe) before_text: [NamePiece; 3],
}

/// The [`FieldName`] of a word.
macro_rules! field_name {
    ($name:literal) => {
        const {
            use $crate::observe::log::{FieldName, NamePiece};
            &FieldName {
                before_value: [
                    NamePiece::new(concat!(",\"", $name, "\":")),
                    NamePiece::new(concat!(" ", $name, "=")),
                    NamePiece::new(concat!(" \x1b[3m", $name, "\x1b[0m\x1b[2m=\x1b[0m")),
                ],
                before_text: [
                    NamePiece::new(concat!(",\"", $name, "\":\"")),
                    NamePiece::new(concat!(" ", $name, "=\"")),
                    NamePiece::new(concat!(" \x1b[3m", $name, "\x1b[0m\x1b[2m=\x1b[0m\"")),
                ],
            }
        }
    };
}
pub(in crate::observe) use field_name;

/// A line of the access log while its fields are added.
#[derive(Debug)]
pub(in crate::observe) struct AccessLine<'t> {
    form: LineForm,
    style: usize,
    text: &'t mut Vec<u8>,
}

impl AccessLine<'_> {
    fn begin(&mut self, time: &str, micros: u32, message: &str) {
        debug_assert!(is_plain_text(message.as_bytes()), "{message:?}");
        let is_coloured = self.form.is_coloured;
        self.put(match self.form.format {
            LogFormat::Json => "{\"timestamp\":\"",
            LogFormat::Pretty if is_coloured => "\x1b[2m",
            LogFormat::Pretty => "",
        });
        self.put(time);
        // With a digit before the six, so that none is left out, which becomes the point.
        let digits = self.text.len();
        self.decimal(u64::from(1_000_000 + micros));
        self.text[digits] = b'.';
        self.put(match self.form.format {
            LogFormat::Json => "Z\",\"level\":\"INFO\",\"message\":\"",
            LogFormat::Pretty if is_coloured => "Z\x1b[0m \x1b[32m INFO\x1b[0m ",
            LogFormat::Pretty => "Z  INFO ",
        });
        self.put(message);
        self.quote();
    }

    fn end(&mut self) {
        self.put(match self.form.format {
            LogFormat::Json => "}\n",
            LogFormat::Pretty => "\n",
        });
    }

    /// Adds a text that others have written: quoted, and escaped where it has to be. What is not
    /// UTF-8 in it is replaced.
    pub(in crate::observe) fn string(&mut self, name: &FieldName, value: &[u8]) {
        if is_plain_text(value) {
            self.plain_string(name, value);
        } else {
            self.name(name);
            self.escape(&String::from_utf8_lossy(value));
        }
    }

    /// As [`Self::string`], for what is [plain text](is_plain_text).
    pub(in crate::observe) fn plain_string(&mut self, name: &FieldName, value: &[u8]) {
        self.put_piece(&name.before_text[self.style]);
        self.text.extend_from_slice(value);
        self.text.push(b'"');
    }

    #[cold]
    fn escape(&mut self, value: &str) {
        match self.form.format {
            LogFormat::Json => {
                // Writing a string to a string does not fail.
                let quoted = serde_json::to_string(value).unwrap_or_default();
                self.put(&escape_json(&quoted));
            }
            LogFormat::Pretty => {
                let _ = write!(Escaping(Text(self.text)), "{value:?}");
            }
        }
    }

    /// Adds a text that Weir or its configuration has made: without quotes for people.
    pub(in crate::observe) fn word(&mut self, name: &FieldName, value: &str) {
        match self.form.format {
            LogFormat::Json => self.string(name, value.as_bytes()),
            LogFormat::Pretty => {
                self.name(name);
                if is_plain_text(value.as_bytes()) {
                    self.put(value);
                } else {
                    let _ = Escaping(Text(self.text)).write_str(value);
                }
            }
        }
    }

    /// As [`Self::word`], for what is seldom there.
    #[cold]
    pub(in crate::observe) fn shown(&mut self, name: &FieldName, value: impl Display) {
        self.word(name, &value.to_string());
    }

    pub(in crate::observe) fn client(&mut self, name: &FieldName, client: ClientAddress) {
        match client {
            ClientAddress::Ip(IpAddr::V4(address)) => {
                self.name(name);
                self.quote();
                self.ipv4(address);
                self.quote();
            }
            ClientAddress::Ip(IpAddr::V6(_)) | ClientAddress::Unix => self.shown(name, client),
        }
    }

    pub(in crate::observe) fn number(&mut self, name: &FieldName, value: impl Into<u64>) {
        self.name(name);
        self.decimal(value.into());
    }

    /// Adds milliseconds with up to three decimals: enough to tell a local hop from a slow one.
    pub(in crate::observe) fn millis(&mut self, name: &FieldName, value: Duration) {
        self.number(name, u64::try_from(value.as_millis()).unwrap_or(u64::MAX));
        let micros = value.subsec_micros() % 1000;
        let [hundreds, tens, ones] = [micros / 100, micros / 10 % 10, micros % 10];
        let used = if ones > 0 {
            4
        } else if tens > 0 {
            3
        } else {
            2
        };
        let [hundreds, tens, ones] = [hundreds, tens, ones].map(|digit| b'0' + digit as u8);
        self.put_piece(&Piece {
            bytes: [b'.', hundreds, tens, ones],
            length: used,
        });
    }

    /// Where the next field begins.
    pub(in crate::observe) fn position(&self) -> usize {
        self.text.len()
    }

    /// The fields that were added since [`Self::position`] was `begin`, for
    /// [`Self::same_fields`] of a later line.
    pub(in crate::observe) fn fields_since(&self, begin: usize) -> &[u8] {
        self.text.get(begin..).unwrap_or_default()
    }

    /// Adds fields again.
    pub(in crate::observe) fn same_fields(&mut self, fields: &[u8]) {
        self.text.extend_from_slice(fields);
    }

    fn name(&mut self, name: &FieldName) {
        self.put_piece(&name.before_value[self.style]);
    }

    /// Around what JSON has no type for.
    fn quote(&mut self) {
        if self.form.format == LogFormat::Json {
            self.text.push(b'"');
        }
    }

    fn ipv4(&mut self, address: Ipv4Addr) {
        let [first, rest @ ..] = address.octets();
        self.decimal(first.into());
        for octet in rest {
            self.text.push(b'.');
            self.decimal(octet.into());
        }
    }

    fn decimal(&mut self, number: u64) {
        put_decimal(self.text, number);
    }

    fn put_piece<const N: usize>(&mut self, piece: &Piece<N>) {
        piece.put(self.text);
    }

    fn put(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }
}

/// Whether a text means itself in all forms of lines, also between quotes: visible ASCII and
/// spaces, without quotation marks and backslashes.
pub(in crate::observe) fn is_plain_text(text: &[u8]) -> bool {
    let (whole, rest) = text.as_chunks();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = whole.iter().chain([&last]);
    words.fold(0, |odd, word| odd | odd_bytes(u64::from_ne_bytes(*word))) == 0
}

/// Looks at eight bytes at once. Not zero if one of them has to be escaped: is below a space, above
/// a tilde, a quotation mark or a backslash.
fn odd_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // Sets the highest bit of the lowest byte that is below `limit`, and of none if there is none.
    let has_below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let has = |byte: u8| has_below(word ^ (ONES * u64::from(byte)), 1);
    let has_above = word.wrapping_add(ONES) | word;
    (has_below(word, b' ') | has_above | has(b'"') | has(b'\\')) & HIGH
}

/// Memory as a target of formatted text.
struct Text<'t>(&'t mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRETTY: LineForm = LineForm {
        format: LogFormat::Pretty,
        is_coloured: false,
    };
    const JSON: LineForm = LineForm {
        format: LogFormat::Json,
        is_coloured: false,
    };

    fn line(form: LineForm, fields: impl FnOnce(&mut AccessLine<'_>)) -> String {
        let mut written = String::new();
        let now = UNIX_EPOCH + Duration::new(1_796_000_000, 42_000);
        write(form, now, "request", fields, |line| {
            written = String::from_utf8(line.to_vec()).unwrap();
        });
        written
    }

    #[test]
    fn lines_are_those_of_events() {
        let fields = |line: &mut AccessLine<'_>| {
            line.client(
                field_name!("client"),
                ClientAddress::Ip([192, 0, 2, 10].into()),
            );
            line.string(field_name!("path"), b"/a b");
            line.word(field_name!("listener"), "web");
            line.word(field_name!("target"), "10.0.0.1:6400");
            line.number(field_name!("sent"), 1024_u64);
            line.millis(field_name!("ms"), Duration::from_micros(1_530));
            line.millis(field_name!("queued_ms"), Duration::from_secs(2));
        };
        let time = "2026-11-30T00:53:20.000042Z";
        assert_eq!(
            line(PRETTY, fields),
            format!(
                "{time}  INFO request client=192.0.2.10 path=\"/a b\" listener=web \
                 target=10.0.0.1:6400 sent=1024 ms=1.53 queued_ms=2000.0\n"
            )
        );
        assert_eq!(
            line(JSON, fields),
            format!(
                "{{\"timestamp\":\"{time}\",\"level\":\"INFO\",\"message\":\"request\",\
                 \"client\":\"192.0.2.10\",\"path\":\"/a b\",\"listener\":\"web\",\
                 \"target\":\"10.0.0.1:6400\",\"sent\":1024,\"ms\":1.53,\"queued_ms\":2000.0}}\n"
            )
        );
    }

    #[test]
    fn every_byte_that_has_to_be_escaped_is_found_at_every_place() {
        for byte in 0..=u8::MAX {
            let is_plain = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
            for (length, at) in (1..20).flat_map(|length| (0..length).map(move |at| (length, at))) {
                for around in [b' ', b'~', b'!', b'['] {
                    let mut text = vec![around; length];
                    text[at] = byte;
                    assert_eq!(is_plain_text(&text), is_plain, "{text:?}");
                }
            }
        }
        assert!(is_plain_text(b""));
    }

    #[test]
    fn no_text_forges_a_line() {
        const HOSTILE: &str = "a\0\n\r\u{1b}[31m\"\\\u{7f}\u{9b}\u{202e}\u{2028}b";
        for form in [PRETTY, JSON] {
            let line = line(form, |line| {
                line.string(field_name!("text"), HOSTILE.as_bytes());
                line.word(field_name!("word"), HOSTILE);
            });
            let text = line.strip_suffix('\n').unwrap();
            assert!(!text.contains(crate::model::is_unsafe), "{line:?}");
            if form == JSON {
                let object: serde_json::Value = serde_json::from_str(text).unwrap();
                assert_eq!(
                    (&object["text"], &object["word"]),
                    (&HOSTILE.into(), &HOSTILE.into())
                );
            }
        }
    }
}

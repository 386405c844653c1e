//! The lines of the access log, written without the detour through an event: there is one for each
//! request. They look like those of events.

use std::cell::RefCell;
use std::fmt::{self, Display, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::format::LogFormat;
use crate::model::{ClientAddress, Endpoint, Escaping, escape_json};

/// The form of the lines of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineForm {
    pub(super) format: LogFormat,
    /// Colours, for [`LogFormat::Pretty`].
    pub(super) is_coloured: bool,
}

thread_local! {
    static LINE: RefCell<Kept> = const { RefCell::new(Kept::new()) };
}

/// What a thread keeps from one line to the next.
struct Kept {
    text: Vec<u8>,
    /// The second for which `time` was made.
    second: u64,
    /// `2026-11-29T20:04:58`
    time: String,
}

/// Memory that is kept for the next line; more is freed.
const KEPT_TEXT: usize = 4 * 1024;

/// The access log has lines of one level.
const LEVEL: &str = "INFO";

impl Kept {
    const fn new() -> Self {
        Self {
            text: Vec::new(),
            second: u64::MAX,
            time: String::new(),
        }
    }

    /// The time of a second, made once.
    fn time(&mut self, second: u64) -> &str {
        if self.second != second {
            self.second = second;
            self.time = i64::try_from(second)
                .ok()
                .and_then(|second| jiff::Timestamp::from_second(second).ok())
                .map(|time| time.to_string().trim_end_matches('Z').to_owned())
                .unwrap_or_default();
        }
        &self.time
    }
}

/// Writes a line with a message and the fields that `fields` adds, and passes it on in one piece.
pub(super) fn write(
    form: LineForm,
    now: SystemTime,
    message: &str,
    fields: impl FnOnce(&mut AccessLine<'_>),
    pass_on: impl FnOnce(&[u8]),
) {
    LINE.with_borrow_mut(|kept| {
        let mut text = std::mem::take(&mut kept.text);
        text.clear();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = kept.time(since.as_secs());
        let mut line = AccessLine {
            form,
            text: &mut text,
        };
        line.begin(time, since.subsec_micros(), message);
        fields(&mut line);
        line.end();
        pass_on(&text);
        text.shrink_to(KEPT_TEXT);
        kept.text = text;
    });
}

/// A line of the access log while its fields are added.
#[derive(Debug)]
pub(in crate::observe) struct AccessLine<'t> {
    form: LineForm,
    text: &'t mut Vec<u8>,
}

impl AccessLine<'_> {
    fn begin(&mut self, time: &str, micros: u32, message: &str) {
        let is_coloured = self.form.is_coloured;
        self.put(match self.form.format {
            LogFormat::Json => "{\"timestamp\":\"",
            LogFormat::Pretty if is_coloured => "\x1b[2m",
            LogFormat::Pretty => "",
        });
        self.put(time);
        let mut digits = *b".000000Z";
        let mut left = u64::from(micros);
        for place in digits[1..7].iter_mut().rev() {
            *place = digit(left % 10);
            left /= 10;
        }
        self.text.extend_from_slice(&digits);
        self.put(match self.form.format {
            LogFormat::Json => "\",\"level\":\"",
            LogFormat::Pretty if is_coloured => "\x1b[0m \x1b[32m ",
            LogFormat::Pretty => "  ",
        });
        self.put(LEVEL);
        match self.form.format {
            LogFormat::Json => {
                self.put("\"");
                self.string("message", message);
            }
            LogFormat::Pretty => {
                self.put(if is_coloured { "\x1b[0m " } else { " " });
                self.put(message);
            }
        }
    }

    fn end(&mut self) {
        self.put(match self.form.format {
            LogFormat::Json => "}\n",
            LogFormat::Pretty => "\n",
        });
    }

    /// Adds a text that others have written: quoted, and escaped where it has to be.
    pub(in crate::observe) fn string(&mut self, name: &str, value: &str) {
        self.name(name);
        // Nearly all texts stand for themselves.
        if is_plain_text(value) {
            self.put("\"");
            self.put(value);
            self.put("\"");
            return;
        }
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
    pub(in crate::observe) fn word(&mut self, name: &str, value: &str) {
        match self.form.format {
            LogFormat::Json => self.string(name, value),
            LogFormat::Pretty => {
                self.name(name);
                if is_plain_text(value) {
                    self.put(value);
                } else {
                    let _ = Escaping(Text(self.text)).write_str(value);
                }
            }
        }
    }

    /// As [`Self::word`], for what is seldom there.
    pub(in crate::observe) fn shown(&mut self, name: &str, value: impl Display) {
        self.word(name, &value.to_string());
    }

    pub(in crate::observe) fn client(&mut self, name: &str, client: ClientAddress) {
        match client {
            ClientAddress::Ip(IpAddr::V4(address)) => {
                self.name(name);
                self.quote();
                self.ipv4(address.octets());
                self.quote();
            }
            ClientAddress::Ip(IpAddr::V6(_)) | ClientAddress::Unix => self.shown(name, client),
        }
    }

    pub(in crate::observe) fn endpoint(&mut self, name: &str, endpoint: &Endpoint) {
        match endpoint {
            Endpoint::Address(SocketAddr::V4(address)) => {
                self.name(name);
                self.quote();
                self.ipv4(address.ip().octets());
                self.put(":");
                self.decimal(address.port().into());
                self.quote();
            }
            Endpoint::Address(SocketAddr::V6(_)) | Endpoint::Unix(_) => self.shown(name, endpoint),
        }
    }

    pub(in crate::observe) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.decimal(value);
    }

    /// Adds milliseconds with up to three decimals: enough to tell a local hop from a slow one.
    pub(in crate::observe) fn millis(&mut self, name: &str, value: Duration) {
        self.name(name);
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.decimal(micros / 1000);
        let rest = micros % 1000;
        let digits = [rest / 100, rest / 10 % 10, rest % 10].map(digit);
        let used = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(0);
        self.put(".");
        self.text.extend_from_slice(&digits[..=used]);
    }

    fn name(&mut self, name: &str) {
        match (self.form.format, self.form.is_coloured) {
            (LogFormat::Json, _) => {
                self.put(",\"");
                self.put(name);
                self.put("\":");
            }
            (LogFormat::Pretty, false) => {
                self.put(" ");
                self.put(name);
                self.put("=");
            }
            (LogFormat::Pretty, true) => {
                self.put(" \x1b[3m");
                self.put(name);
                self.put("\x1b[0m\x1b[2m=\x1b[0m");
            }
        }
    }

    /// Around what JSON has no type for.
    fn quote(&mut self) {
        if self.form.format == LogFormat::Json {
            self.put("\"");
        }
    }

    fn ipv4(&mut self, octets: [u8; 4]) {
        for (index, octet) in octets.into_iter().enumerate() {
            if index > 0 {
                self.put(".");
            }
            self.decimal(octet.into());
        }
    }

    fn decimal(&mut self, number: u64) {
        // The largest number has twenty digits.
        let mut digits = [0; 20];
        let mut start = digits.len();
        let mut left = number;
        loop {
            start -= 1;
            digits[start] = digit(left % 10);
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.text.extend_from_slice(&digits[start..]);
    }

    fn put(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }
}

/// The digit of a number below ten.
fn digit(number: u64) -> u8 {
    b'0' + number as u8
}

/// Whether a text means itself in all forms of lines, also between quotes. Looks at all bytes, of
/// which compilers make vector instructions.
fn is_plain_text(text: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    text.bytes().fold(true, |all, byte| all & is_plain(byte))
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
            line.client("client", ClientAddress::Ip([192, 0, 2, 10].into()));
            line.string("path", "/a b");
            line.word("listener", "web");
            line.endpoint("target", &Endpoint::from(([10, 0, 0, 1], 6400)));
            line.number("sent", 1024);
            line.millis("ms", Duration::from_micros(1_530));
            line.millis("queued_ms", Duration::from_secs(2));
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
    fn no_text_forges_a_line() {
        const HOSTILE: &str = "a\0\n\r\u{1b}[31m\"\\\u{7f}\u{9b}\u{202e}\u{2028}b";
        for form in [PRETTY, JSON] {
            let line = line(form, |line| {
                line.string("text", HOSTILE);
                line.word("word", HOSTILE);
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
